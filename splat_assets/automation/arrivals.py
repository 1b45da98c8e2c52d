"""What was brought into a data root: each complete base model, ready-made SAE and dataset becomes one run, by its content.

    saved_models/<name>/   model.pth or model.safetensors, vocab.json, weapon_vocab.json
    saved_saes/<name>/     sae_weights.safetensors with cfg.json, or sae_model_final.pth
    datasets/<name>/       tokenized_data.csv or one .parquet

Something counts as whole when all its files are there and have not changed since the look before. A new base model is run on
the dataset that was brought last, a new dataset or SAE with the base model that was, unless `automation.toml` names others. What
a run was made of already becomes no second one, whatever it is called. What was seen is kept in `<data root>/arrivals.json`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from splat_assets.automation.activity import tell
from splat_assets.automation.settings import Automation, as_options, read_settings
from splat_assets.commands.recipe_options import TRAINING_FLAGS, flag_of
from splat_assets.errors import InputError, SplatError
from splat_assets.runs import BASE_MODEL_FILES, SAE_FILES, RunInputs, open_run
from splat_assets.store.files import locked, sha256_of_file, sha256_of_json, write_json
from splat_assets.store.layout import DataRoot, is_name

Kind = Literal["base model", "SAE", "dataset"]
State = Literal["waiting", "run", "known", "refused"]
_NEEDED = ("vocab.json", "weapon_vocab.json")
_REFUSED = 2
"""Exit code of a command that says in a sentence why it does not do what is asked."""
_LONGEST_NAME = 80
MakeRun = Callable[[str, Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class Brought:
    """A folder that somebody brought. files: those that make it what it is. waits: why it is not whole; empty where it is."""

    kind: Kind
    folder: Path
    files: tuple[Path, ...]
    waits: str = ""

    @property
    def main(self) -> Path:
        """The file with the weights or the builds."""
        return self.files[0]

    def signature(self) -> str:
        """What changes when a file does: names, sizes, times. OSError when one goes meanwhile."""
        facts = [(path.name, (found := path.stat()).st_size, found.st_mtime_ns) for path in self.files]
        return sha256_of_json([facts, self.waits])[:16]

    def brought_at(self) -> int:
        """When its main file was written last, in nanoseconds."""
        return self.main.stat().st_mtime_ns


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a folder. signature: as it was when that was found out. partners: signatures of what it was tried with,
    and of the recipe."""

    signature: str
    state: State
    said: str
    run: str = ""
    partners: tuple[str, ...] = ()


def look(root: DataRoot, make_run: MakeRun | None = None) -> list[str]:
    """See what was brought since the look before and make its runs; the names of all runs that were ever made so and are there.

    make_run: from a name and the words of `splat run new` to a refusal in words, empty if the run was made. Raises InputError
    when `automation.toml` or `arrivals.json` cannot be read.
    """
    settings = read_settings(root)
    with locked(root.path / ".arrivals.lock"):
        records, made = _read(root)
        found = brought(root)
        whole: list[Brought] = []
        for one in found:
            key = _key(root, one)
            try:
                signature = one.signature()
            except OSError:
                continue  # it is being moved; the next look sees where to
            before = records.get(key)
            if one.waits:
                records[key] = Record(signature, "waiting", one.waits)
            elif before is None or before.signature != signature:
                records[key] = Record(signature, "waiting", "its files have just changed")
            else:
                whole.append(one)

        def made_by_us(name: str, words: Sequence[str]) -> str:
            made.add(name)  # before it is made: who is killed in between finds it as one of these
            _write(root, records, made)
            return make_run(name, words) if make_run else new_run(root, name, words)

        hashed = cache(sha256_of_file)  # what several are run with is hashed once
        for one in whole:
            key = _key(root, one)
            sound = {
                other: record.signature for other in whole if (record := records[_key(root, other)]).state != "refused"
            }
            settled = _settled(root, settings, one, records[key], sound, hashed, made_by_us)
            if settled != records[key]:
                records[key] = settled
                _write(root, records, made)
                _say(root, key, one, settled)
        there = {_key(root, one) for one in found}
        _write(root, {key: record for key, record in records.items() if key in there}, made)
    return [name for name in root.run_names() if name in made]


def brought(root: DataRoot) -> list[Brought]:
    """Everything that lies where base models, SAEs and datasets are brought, whole or not: models first, then by name."""
    kinds: tuple[tuple[Path, Callable[[Path], Brought | None]], ...] = (
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


def _named(one: Brought | None) -> Brought | None:
    if one is None or is_name(one.folder.name):
        return one
    return replace(one, waits="a run cannot be called so: rename the folder (letters, digits, '_', '-', '.')")


def records_of(root: DataRoot) -> dict[str, Record]:
    """What was found out of each folder, by its path below the data root."""
    return _read(root)[0]


def new_run(root: DataRoot, name: str, words: Sequence[str]) -> str:
    """Make a run by `splat run new`, in a process of its own: torch and the dataset leave the memory with it."""
    command = [sys.executable, "-m", "splat_assets.cli", "run", "new", name, *words]
    environment = {**os.environ, "SPLAT_DATA": str(root.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode != _REFUSED or not said:
        return f"`splat run new {name}` broke off with exit code {done.returncode}: {' '.join(said[-3:])}"
    return " ".join(line.strip() for line in said if not line.startswith(("Usage:", "Try "))).removeprefix("Error: ")


def _settled(
    root: DataRoot,
    settings: Automation,
    one: Brought,
    record: Record,
    sound: Mapping[Brought, str],
    hashed: Callable[[Path], str],
    make_run: MakeRun,
) -> Record:
    """What becomes of something whole. sound: what it may be run with, and the signature of each. hashed: sha256 of a file."""
    if record.state in ("run", "known"):
        return record
    try:
        partners = _partners(one, settings, [*sound])
        if isinstance(partners, str):
            return replace(record, state="waiting", said=partners)
        signatures = (*(sound[partner] for partner in partners), sha256_of_json(settings.recipe)[:16])
        if record.state == "refused" and record.partners == signatures:
            return record
        parts = {part.kind: part for part in (one, *partners)}
        digests = {kind: tuple(hashed(path) for path in part.files) for kind, part in parts.items()}
    except OSError:
        return record  # it is being moved or written; the next look sees it
    settled = replace(record, partners=signatures)
    same = _run_of(digests, root)
    if same:
        return replace(settled, state="known", said=f"run {same} is made of the same content already", run=same)
    name = f"{one.folder.name[:_LONGEST_NAME]}-{sha256_of_json(sorted(digests.items()))[:8]}"
    refusal = make_run(name, _words(parts, settings))
    if refusal:
        return replace(settled, state="refused", said=refusal)
    others = " and ".join(f"{partner.kind} {partner.folder.name}" for partner in partners)
    return replace(settled, state="run", said=f"run {name}, with {others}", run=name)


def _partners(one: Brought, settings: Automation, sound: Sequence[Brought]) -> list[Brought] | str:
    """What something is run with, or why there is nothing yet."""
    chosen = []
    for kind, named in (("base model", settings.model), ("dataset", settings.dataset)):
        if kind == one.kind:
            continue
        there = [other for other in sound if other.kind == kind]
        if named is not None:
            there = [other for other in there if other.folder.name == named]
        if not there:
            return f"there is no whole {kind}{f' {named}' if named else ''} to run it with yet"
        chosen.append(max(there, key=lambda other: (other.brought_at(), other.folder.name)))
    return chosen


def _run_of(digests: Mapping[Kind, tuple[str, ...]], root: DataRoot) -> str:
    """The run that is made of these files already, whatever its recipe; empty for none."""
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


def _words(parts: Mapping[Kind, Brought], settings: Automation) -> list[str]:
    """The options of `splat run new`."""
    words = ["--model-checkpoint", str(parts["base model"].main), "--data-csv", str(parts["dataset"].main)]
    recipe = settings.recipe
    if "SAE" in parts:
        words += ["--sae-checkpoint", str(parts["SAE"].main)]
        recipe = {name: value for name, value in recipe.items() if flag_of(name) not in TRAINING_FLAGS}
    return [*words, *as_options(recipe)]


def _model_in(folder: Path) -> Brought | None:
    weights = [folder / name for name in BASE_MODEL_FILES if (folder / name).is_file()]
    needed = [folder / name for name in _NEEDED]
    missing = [path.name for path in needed if not path.is_file()]
    if len(weights) != 1:
        missing.insert(
            0, " or ".join(BASE_MODEL_FILES) if not weights else "single file of weights (both kinds are there)"
        )
    parameters = folder / "model_params.json"
    files = [*weights, *(path for path in needed if path.is_file()), *([parameters] if parameters.is_file() else [])]
    return Brought("base model", folder, tuple(files), _lacks(" and no ".join(missing))) if files else None


def _sae_in(folder: Path) -> Brought | None:
    for name in SAE_FILES:
        if (folder / name).is_file():
            config = folder / "cfg.json"
            beside = [config] if name.endswith(".safetensors") and config.is_file() else []
            missing = "cfg.json" if name.endswith(".safetensors") and not beside else ""
            return Brought("SAE", folder, (folder / name, *beside), _lacks(missing))
    return None


def _dataset_in(folder: Path) -> Brought | None:
    csv = folder / "tokenized_data.csv"
    tables = [csv] if csv.is_file() else sorted(folder.glob("*.parquet"))
    if not tables:
        return None
    missing = "single table (several .parquet are there)" if len(tables) > 1 else ""
    return Brought("dataset", folder, tuple(tables), _lacks(missing))


def _lacks(missing: str) -> str:
    return f"it has no {missing} yet" if missing else ""


def _say(root: DataRoot, key: str, one: Brought, record: Record) -> None:
    if record.state in ("run", "known"):
        tell(root, "arrived", key, f"new {one.kind}: {record.said}")
    elif record.state == "refused":
        tell(root, "refused", key, f"this {one.kind} became no run: {record.said}")


def _key(root: DataRoot, one: Brought) -> str:
    """Its path below the data root; bytes of it that are no text, escaped."""
    return os.fsencode(one.folder.relative_to(root.path)).decode("utf-8", errors="backslashreplace")


def _read(root: DataRoot) -> tuple[dict[str, Record], set[str]]:
    """What is known of each folder, and the runs that were made."""
    try:
        raw: dict[str, Any] = json.loads(root.arrivals.read_text(encoding="utf-8"))
        records = {key: Record(**{**row, "partners": tuple(row["partners"])}) for key, row in raw["brought"].items()}
        return records, set(raw["made"])
    except FileNotFoundError:
        return {}, set()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{root.arrivals} cannot be read ({error}): move it away; what was brought is then looked at anew, and what became a "
            "run already becomes no second one"
        ) from error


def _write(root: DataRoot, records: Mapping[str, Record], made: set[str]) -> None:
    if not root.arrivals.is_file() or _read(root) != (dict(records), made):
        known = {"brought": {key: asdict(record) for key, record in records.items()}, "made": sorted(made)}
        write_json(root.arrivals, known)
