"""Incoming inputs of a data root: each complete base model, ready-made SAE and dataset becomes one run, by its content.

    saved_models/<name>/   model.pth or model.safetensors, vocab.json, weapon_vocab.json
    saved_saes/<name>/     sae_weights.safetensors with cfg.json, or sae_model_final.pth
    datasets/<name>/       tokenized_data.csv or one .parquet

An input is complete when all its files exist and have not changed since the previous scan. A new base model is run on
the newest dataset, a new dataset or SAE with the newest base model, unless `automation.toml` names others. The newest
input is the one whose content was first seen last: a ledger, `<data root>/arrivals.json`, keeps the order, and file
times, which every copy changes, only tell when to hash contents again. Content that already has a run gets no second
one, whatever its name.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from splat_assets.automation.activity import record_activity
from splat_assets.automation.settings import Automation, as_options, read_settings
from splat_assets.errors import InputError, SplatError
from splat_assets.runs import BASE_MODEL_FILES, SAE_FILES, RunInputs, open_run
from splat_assets.sae.recipe import TRAINING_FLAGS, flag_of
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.files import FileMark, file_mark, locked, sha256_of_file, sha256_of_json, write_json
from splat_assets.store.layout import DataRoot, is_name

Kind = Literal["base model", "SAE", "dataset"]
State = Literal["waiting", "run", "known", "refused"]
_NEEDED = ("vocab.json", "weapon_vocab.json")
_REFUSED = 2
"""Exit code of a command that refuses with a message."""
_LONGEST_NAME = 80
_SIGHTINGS = ".sightings.json"
"""In the data root: the last scan of this machine. It is valid for these files at this location alone, and safe to
delete.
"""
MakeRun = Callable[[str, Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class InputFolder:
    """A folder with an incoming input. files: its required files. waits: why it is incomplete; empty when complete."""

    kind: Kind
    folder: Path
    files: tuple[Path, ...]
    waits: str = ""

    @property
    def main(self) -> Path:
        """The file with the weights or the builds."""
        return self.files[0]

    def signature(self) -> str:
        """Names, sizes, times and inodes, to detect changes. OSError when a file disappears meanwhile."""
        return sha256_of_json([[(path.name, *_mark(path)) for path in self.files], self.waits])[:16]

    def old_signature(self) -> str:
        """The signature of an older release."""
        facts = [(path.name, mark[3], mark[0]) for path in self.files if (mark := _mark(path))]
        return sha256_of_json([facts, self.waits])[:16]

    def content(self, hashed: Callable[[Path], str]) -> str:
        """Identity of the contents, kept by copies and renames. hashed: sha256 of a file. OSError when a file disappears."""
        return sha256_of_json([self.kind, [hashed(path) for path in self.files]])[:16]


@dataclass(frozen=True, slots=True)
class Record:
    """The record of a folder. content: identity of its files, empty until they were complete.

    partners: contents of the inputs it was run with, and a hash of the recipe. before: while its files change, the
    previous record, restored if the content turns out to be the same. signature: the content identity of an older
    release.
    """

    state: State
    said: str
    run: str = ""
    partners: tuple[str, ...] = ()
    content: str = ""
    before: "Record | None" = None
    signature: str = ""

    def is_of(self, one: InputFolder) -> bool:
        """Whether an older release wrote this record of the current files."""
        return bool(self.signature) and self.signature == one.old_signature()


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A folder at the last scan on this machine. content: empty until two scans saw the same files."""

    signature: str
    content: str = ""


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What `arrivals.json` keeps. records: by path below the data root. made: runs. seen: contents, by when they came first."""

    records: dict[str, Record]
    made: set[str]
    seen: dict[str, int]


def scan_for_inputs(root: DataRoot, make_run: MakeRun | None = None) -> list[str]:
    """Scan for new inputs and make their runs; one process at a time scans a data root.

    Args:
        make_run: From a name and the options of `splat run new` to an error message, empty if the run was made;
            `new_run` if None.

    Returns:
        The names of all existing runs made this way, by this call or an earlier one. A new input takes two calls: the second
        sees that its files no longer change.

    Raises:
        InputError: `automation.toml` or `arrivals.json` cannot be read.

    Examples:
        >>> with TemporaryDirectory() as folder:
        ...     scan_for_inputs(DataRoot(Path(folder)))
        []
    """
    settings = read_settings(root)
    hashed = cache(sha256_of_file)  # what several are run with is hashed once
    with locked(root.path / ".arrivals.lock"):
        ledger = _read(root)
        records, made = ledger.records, ledger.made
        inputs = input_folders(root)
        whole: list[InputFolder] = []
        sightings, before = {}, _sightings(root)
        for one in inputs:
            key = _key(root, one)
            try:
                sighting = _sighting(one, before.get(key), hashed)
                known = records.get(key)
                if sighting.content:
                    records[key] = _identified(known, sighting.content, one)
                    ledger.seen.setdefault(sighting.content, 1 + max(ledger.seen.values(), default=0))
                    whole.append(one)
                elif known is None or not known.is_of(one):
                    records[key] = _changing(known, one.waits or "its files have just changed")
            except OSError:
                continue  # it is being moved; the next scan sees where to
            sightings[key] = sighting
            if sighting.content and sighting != before.get(
                key
            ):  # after an interruption while contents are read, the next scan resumes here
                _write_sightings(root, {**before, **sightings})
        _write_sightings(root, sightings)

        def made_by_us(name: str, words: Sequence[str]) -> str:
            made.add(name)  # before it is made: who is killed in between finds it as one of these
            _write(root, ledger)
            return make_run(name, words) if make_run else new_run(root, name, words)

        for one in whole:
            key = _key(root, one)
            sound = {
                other: record.content for other in whole if (record := records[_key(root, other)]).state != "refused"
            }
            in_order = sorted(sound.items(), key=lambda item: (ledger.seen[item[1]], item[0].folder.name))
            settled = _settled(root, settings, one, records[key], dict(in_order), hashed, made_by_us)
            if settled != records[key]:
                records[key] = settled
                _write(root, ledger)
                _say(root, key, one, settled)
        there = {_key(root, one) for one in inputs}
        _write(root, replace(ledger, records={key: record for key, record in records.items() if key in there}))
    return [name for name in root.run_names() if name in made]


def input_folders(root: DataRoot) -> list[InputFolder]:
    """All folders in the input places, complete or not: models first, then by name."""
    kinds: tuple[tuple[Path, Callable[[Path], InputFolder | None]], ...] = (
        (root.models, _model_in),
        (root.saes, _sae_in),
        (root.datasets, _dataset_in),
    )
    return [
        one
        for parent, kind in kinds
        if parent.is_dir()
        for folder in sorted(parent.iterdir())
        if folder.is_dir() and not folder.name.startswith(".") and (one := _named(kind(folder))) is not None
    ]


def _named(one: InputFolder | None) -> InputFolder | None:
    if one is None or is_name(one.folder.name):
        return one
    return replace(one, waits="not a valid run name: rename the folder (letters, digits, '_', '-', '.')")


def records_of(root: DataRoot) -> dict[str, Record]:
    """The record of each folder, by its path below the data root."""
    return _read(root).records


def new_run(root: DataRoot, name: str, words: Sequence[str]) -> str:
    """Make a run by `splat run new`, in a child process, which frees torch and the dataset when it exits."""
    command = [sys.executable, "-m", "splat_assets.cli", "run", "new", name, *words]
    environment = {**os.environ, "SPLAT_DATA": str(root.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 0:
        return ""
    messages = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode != _REFUSED or not messages:
        return f"`splat run new {name}` failed with exit code {done.returncode}: {' '.join(messages[-3:])}"
    return " ".join(line.strip() for line in messages if not line.startswith(("Usage:", "Try "))).removeprefix(
        "Error: "
    )


def _mark(path: Path) -> FileMark:
    mark = file_mark(path)
    if mark is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return mark


def _sighting(one: InputFolder, before: _Sighting | None, hashed: Callable[[Path], str]) -> _Sighting:
    """The current state of a folder; contents are hashed when it is complete and unchanged since the previous scan."""
    signature = one.signature()
    if one.waits or before is None or before.signature != signature:
        return _Sighting(signature)
    return before if before.content else _Sighting(signature, one.content(hashed))


def _changing(known: Record | None, why: str) -> Record:
    """The record of an incomplete or changed input, whose content may turn out to be the same."""
    return Record("waiting", why, before=known if known is None or known.content else known.before)


def _identified(known: Record | None, content: str, one: InputFolder) -> Record:
    """The record of a complete input, by its content; a previous record of the same content is restored."""
    for record in (known, known.before if known else None):
        if record is not None and record.content == content:
            return record
    if known is not None and known.is_of(one):
        return replace(known, content=content, signature="")
    return Record("waiting", "it is whole", content=content)


def _sightings(root: DataRoot) -> dict[str, _Sighting]:
    """The last scan of this machine; empty where it cannot be read."""
    try:
        raw = read_json(root.path / _SIGHTINGS)
        return {key: _Sighting(*row) for key, row in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _write_sightings(root: DataRoot, sightings: Mapping[str, _Sighting]) -> None:
    if sightings != _sightings(root):
        write_json(root.path / _SIGHTINGS, {key: [one.signature, one.content] for key, one in sightings.items()})


def _settled(
    root: DataRoot,
    settings: Automation,
    one: InputFolder,
    record: Record,
    sound: Mapping[InputFolder, str],
    hashed: Callable[[Path], str],
    make_run: MakeRun,
) -> Record:
    """Decide about a complete input. sound: the complete inputs in order of first sight, with their contents. hashed:
    sha256 of a file.
    """
    if record.state in ("run", "known"):
        return record
    try:
        partners = _partners(one, settings, [*sound])
        if isinstance(partners, str):
            return replace(record, state="waiting", said=partners)
        tried = (*(sound[partner] for partner in partners), sha256_of_json(settings.recipe)[:16])
        if record.state == "refused" and record.partners == tried:
            return record
        parts = {part.kind: part for part in (one, *partners)}
        digests = {kind: tuple(hashed(path) for path in part.files) for kind, part in parts.items()}
    except OSError:
        return record  # it is being moved or written; the next scan sees it
    settled = replace(record, partners=tried)
    same = _run_of(digests, root)
    if same:
        return replace(settled, state="known", said=f"run {same} already has the same content", run=same)
    name = f"{one.folder.name[:_LONGEST_NAME]}-{sha256_of_json(sorted(digests.items()))[:8]}"
    refusal = make_run(name, _words(parts, settings))
    if refusal:
        return replace(settled, state="refused", said=refusal)
    others = " and ".join(f"{partner.kind} {partner.folder.name}" for partner in partners)
    return replace(settled, state="run", said=f"run {name}, with {others}", run=name)


def _partners(one: InputFolder, settings: Automation, sound: Sequence[InputFolder]) -> list[InputFolder] | str:
    """The partner inputs, or the reason why there are none yet. sound: in order of first sight."""
    chosen = []
    for kind, named in (("base model", settings.model), ("dataset", settings.dataset)):
        if kind == one.kind:
            continue
        there = [other for other in sound if other.kind == kind]
        if named is not None:
            there = [other for other in there if other.folder.name == named]
        if not there:
            return f"waiting for a complete {kind}{f' {named}' if named else ''} to run it with"
        chosen.append(there[-1])
    return chosen


def _run_of(digests: Mapping[Kind, tuple[str, ...]], root: DataRoot) -> str:
    """The run already made of these files, whatever its recipe; empty for none."""
    for name in root.run_names():
        try:
            inputs = open_run(root, name).config.inputs
        except SplatError:
            continue
        if _is_made_of(inputs, digests):
            return name
    return ""


def _is_made_of(inputs: RunInputs, digests: Mapping[Kind, tuple[str, ...]]) -> bool:
    model = (inputs.model_checkpoint.sha256, inputs.vocab.sha256, inputs.weapon_vocab.sha256)
    sae = tuple(file.sha256 for file in (inputs.sae_checkpoint, inputs.sae_config) if file is not None)
    return (model, (inputs.data.sha256,), sae) == (
        digests["base model"][:3],
        digests["dataset"],
        digests.get("SAE", ()),
    )


def _words(parts: Mapping[Kind, InputFolder], settings: Automation) -> list[str]:
    """The options of `splat run new`."""
    words = ["--model-checkpoint", str(parts["base model"].main), "--data-csv", str(parts["dataset"].main)]
    recipe = settings.recipe
    if "SAE" in parts:
        words += ["--sae-checkpoint", str(parts["SAE"].main)]
        recipe = {name: value for name, value in recipe.items() if flag_of(name) not in TRAINING_FLAGS}
    return [*words, *as_options(recipe)]


def _model_in(folder: Path) -> InputFolder | None:
    weights = [folder / name for name in BASE_MODEL_FILES if (folder / name).is_file()]
    needed = [folder / name for name in _NEEDED]
    missing = [path.name for path in needed if not path.is_file()]
    if len(weights) != 1:
        missing.insert(
            0, " or ".join(BASE_MODEL_FILES) if not weights else "single file of weights (both kinds are there)"
        )
    parameters = folder / "model_params.json"
    files = [*weights, *(path for path in needed if path.is_file()), *([parameters] if parameters.is_file() else [])]
    return InputFolder("base model", folder, tuple(files), _lacks(" and no ".join(missing))) if files else None


def _sae_in(folder: Path) -> InputFolder | None:
    for name in SAE_FILES:
        if (folder / name).is_file():
            config = folder / "cfg.json"
            beside = [config] if name.endswith(".safetensors") and config.is_file() else []
            missing = "cfg.json" if name.endswith(".safetensors") and not beside else ""
            return InputFolder("SAE", folder, (folder / name, *beside), _lacks(missing))
    return None


def _dataset_in(folder: Path) -> InputFolder | None:
    csv = folder / "tokenized_data.csv"
    tables = [csv] if csv.is_file() else sorted(folder.glob("*.parquet"))
    if not tables:
        return None
    missing = "single table (several .parquet are there)" if len(tables) > 1 else ""
    return InputFolder("dataset", folder, tuple(tables), _lacks(missing))


def _lacks(missing: str) -> str:
    return f"it has no {missing} yet" if missing else ""


def _say(root: DataRoot, key: str, one: InputFolder, record: Record) -> None:
    if record.state in ("run", "known"):
        record_activity(root, "arrived", key, f"new {one.kind}: {record.said}")
    elif record.state == "refused":
        record_activity(root, "refused", key, f"this {one.kind} was not made a run: {record.said}")


def _key(root: DataRoot, one: InputFolder) -> str:
    """Its path below the data root; undecodable bytes escaped."""
    return os.fsencode(one.folder.relative_to(root.path)).decode("utf-8", errors="backslashreplace")


def _read(root: DataRoot) -> _Ledger:
    """The record of each folder, the runs made, and the order of first sight."""
    try:
        raw: dict[str, Any] = read_json(root.arrivals)
        records = {key: _record(row) for key, row in raw["brought"].items()}
        return _Ledger(records, set(raw["made"]), {content: int(at) for content, at in raw.get("seen", {}).items()})
    except FileNotFoundError:
        return _Ledger({}, set(), {})
    except WRONG_CONTENT as error:
        raise InputError(
            f"{root.arrivals} cannot be read ({error}): move it away; inputs are then scanned again, and existing "
            f"runs are not made twice"
        ) from error


def _record(row: dict[str, Any]) -> Record:
    before = row.get("before")
    return Record(**{**row, "partners": tuple(row["partners"]), "before": _record(before) if before else None})


def _write(root: DataRoot, ledger: _Ledger) -> None:
    if not root.arrivals.is_file() or _read(root) != ledger:
        known = {
            "brought": {key: asdict(record) for key, record in ledger.records.items()},
            "made": sorted(ledger.made),
            "seen": ledger.seen,
        }
        write_json(root.arrivals, known)
