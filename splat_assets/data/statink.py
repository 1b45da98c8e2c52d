"""From stat.ink's battle exports (.csv, plain, .gz or .zip, as they are) to a tokenised dataset that accounts for every gear set.

A battle row holds eight players, `A1` to `A4` and `B1` to `B4`, each with a weapon and an ability cell. Which rows can
be read is decided in `statink_rows`, what becomes of a cell in `statink_cells`. Builds keep the order of files, rows
and players. The vocabulary always holds all 138 ability tokens; the weapon vocabulary holds the weapons that occur,
numbered by the game's number.
Builds for an existing model follow its own vocabularies instead. There names decide, never positions: `swim_speed_up_21`
has the id that vocab.json gives it, and a weapon the one of `weapon_id_<the game's number>` in weapon_vocab.json. Entries
that are not known weapons keep their ids and get no builds.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.data.builds import Builds
from splat_assets.data.packed_files import on_disk
from splat_assets.data.statink_cells import Cell, Fate, read_cell
from splat_assets.data.statink_rows import Rows, read_rows
from splat_assets.data.tokenised import write_tokenised
from splat_assets.domain.abilities import FULL_AP
from splat_assets.domain.tokens import ABILITY_TOKENS
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary, standard_vocabulary, weapon_vocabulary
from splat_assets.domain.weapons import all_weapons, weapons_by_key, weapons_by_vocabulary_key
from splat_assets.errors import InputError
from splat_assets.store.activations import offsets_of
from splat_assets.store.files import remove_leftovers, replaceable_folder, replacing_folder, sha256_of_file, write_json
from splat_assets.store.sums import SUMS, record_sums
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

PLAYERS = ("A1", "A2", "A3", "A4", "B1", "B2", "B3", "B4")
OUTPUTS = ("tokenized_data.csv", "vocab.json", "weapon_vocab.json", "ingest_report.json")

_COLUMNS = [f"{player}-{what}" for player in PLAYERS for what in ("weapon", "abilities")]
_FATES = tuple(Fate)
_N_PROBLEMS_SHOWN = 20
_EXAMPLE = "sshooter"
_Key = TypeVar("_Key", bound=str)


@dataclass(frozen=True)
class ModelVocabularies:
    """Token ids by name, weapon ids by the game's number, and the bytes of both files."""

    token_ids: dict[str, int]
    weapon_ids: dict[int, int]
    vocab: bytes
    weapon_vocab: bytes


def read_model_vocabularies(vocab_path: Path, weapon_vocab_path: Path) -> ModelVocabularies:
    """Both vocabularies of a model.

    Raises InputError when a file is missing or not a vocabulary, or when it names no ability token, or no known weapon, at all.
    """
    token_ids = {token.name: token.id for token in read_vocabulary(vocab_path).tokens}
    if token_ids.keys().isdisjoint(ABILITY_TOKENS):
        other = next((name for name in token_ids if not name.startswith("<")), next(iter(token_ids)))
        raise InputError(
            f"{vocab_path} names none of the {counted(len(ABILITY_TOKENS), 'ability tokens')}: its names are "
            f"such as {other!r}, not such "
            f"as {ABILITY_TOKENS[0]!r}"
        )
    known, contexts = weapons_by_vocabulary_key(), read_contexts(weapon_vocab_path).items
    weapon_ids = {known[context.key].splatnet_id: context.id for context in contexts if context.key in known}
    if not weapon_ids:
        raise InputError(
            f"{weapon_vocab_path} names none of the {counted(len(all_weapons()), 'known weapons')}: its keys are such as "
            f"{contexts[0].key!r}, not weapon_id_<the game's number> such as {weapons_by_key()[_EXAMPLE].vocabulary_key!r}"
        )
    return ModelVocabularies(token_ids, weapon_ids, vocab_path.read_bytes(), weapon_vocab_path.read_bytes())


@dataclass(frozen=True)
class FileAccount:
    """What one file held. fates: gear sets per Fate, which add up to eight per battle, damaged rows included."""

    path: Path
    sha256: str
    n_battles: int
    fates: dict[Fate, int]


@dataclass(frozen=True)
class VocabularyAccount:
    """Which files of a model the builds follow (sha256 per name), and gear sets per weapon and token that these lack.

    A set that lacks several tokens counts for each; one on a missing weapon counts for its weapon alone.
    """

    sha256: dict[str, str]
    missing_weapons: dict[str, int]
    missing_tokens: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The account as `ingest_report.json` holds it."""
        return {
            **self.sha256,
            "missing_weapons": self.missing_weapons,
            "weapon_names": {key: weapons_by_vocabulary_key()[key].name for key in self.missing_weapons},
            "missing_tokens": self.missing_tokens,
        }


@dataclass(frozen=True)
class IngestReport:
    """The fate of every gear set of every file.

    n_weapons: weapons that the builds are on. unknown_weapons: gear sets per unknown weapon key. problems: the first damaged
    rows and unparseable cells, each as file, row (blank lines not counted), player if a cell, why. vocabularies: None where
    the builds follow no model's.
    """

    files: tuple[FileAccount, ...]
    min_ap: int
    n_weapons: int
    n_distinct: int
    unknown_weapons: dict[str, int]
    problems: tuple[str, ...]
    vocabularies: VocabularyAccount | None = None

    @property
    def n_battles(self) -> int:
        """Battles in all files."""
        return sum(file.n_battles for file in self.files)

    @property
    def fates(self) -> dict[Fate, int]:
        """Gear sets per fate over all files; they add up to eight per battle."""
        return _sums([file.fates for file in self.files])

    @property
    def n_kept(self) -> int:
        """Gear sets that became builds."""
        return sum(n for fate, n in self.fates.items() if fate.is_kept)

    def as_json(self) -> dict[str, Any]:
        """The report as `ingest_report.json` holds it."""
        return {
            "format_version": 1,
            "n_battles": self.n_battles,
            "n_gear_sets": len(PLAYERS) * self.n_battles,
            "n_kept": self.n_kept,
            "n_distinct_kept": self.n_distinct,
            "n_weapons": self.n_weapons,
            "min_ap": self.min_ap,
            "fates": dict(self.fates),
            "meanings": {fate: fate.meaning for fate in self.fates},
            "over_57": "Kept where ability_doubler accounts for it (it counts its piece's subs twice), else "
            "dropped: no gear "
            "has more than nine subs, and it is unknown which of them are wrong.",
            "unknown_weapons": self.unknown_weapons,
            "problems": list(self.problems),
            **({"vocabularies": self.vocabularies.as_json()} if self.vocabularies else {}),
            "files": [
                {"name": f.path.name, "sha256": f.sha256, "n_battles": f.n_battles, "fates": dict(f.fates)}
                for f in self.files
            ],
        }


def ingest_statink(
    files: Sequence[Path],
    out: Path,
    *,
    min_ap: int = 0,
    vocabularies: ModelVocabularies | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Write tokenized_data.csv, vocab.json, weapon_vocab.json, ingest_report.json and SHA256SUMS to out, all or nothing.

    An earlier result in out is replaced, and what a killed ingest left beside it is swept.

    Args:
        files: exports, plain, gzip or zip; also pipes, which are read once.
        min_ap: gear sets of less AP are dropped.
        vocabularies: of a model: builds have its ids, both files are written as they are, and a set whose weapon or token the
            model lacks is dropped.
        progress: where to report progress, in files.

    Raises:
        InputError: a file is missing, passed twice (under two names too) or not a stat.ink export, out holds anything else,
            min_ap is not 0 to 57, or not one gear set can be kept.

    Examples:
        >>> cells = ['sshooter,"{""run_speed_up"": 1.0}"'] + [","] * 7
        >>> header = ",".join(f"{player}-weapon,{player}-abilities" for player in PLAYERS)
        >>> size = (folder / "battles.csv").write_text(f"{header}\\n{','.join(cells)}\\n")
        >>> report = ingest_statink([folder / "battles.csv"], folder / "out")
        >>> report.n_kept, report.fates[Fate.EMPTY]
        (1, 7)
    """
    _check_request(files, out, min_ap)
    with on_disk(files) as kept, (progress or SilentProgress()).task("reading battles", len(files), "files") as task:
        read = []
        for path, sha256 in zip(kept, _distinct_hashes(kept), strict=True):
            read.append(_read_file(path, sha256, min_ap, vocabularies))
            task.advance(1)
    if not any(file.builds.n_builds for file in read):
        raise InputError(f"no gear set of {', '.join(map(str, files))} can be kept: {_in_words(read)}")
    builds, own_weapons = _joined([file.builds for file in read], vocabularies)
    report = _report(read, min_ap, builds, vocabularies)
    remove_leftovers(out.resolve().parent, out.resolve().name)
    with replacing_folder(out) as aside:
        write_tokenised(aside / OUTPUTS[0], builds)
        if vocabularies is None:
            write_json(aside / OUTPUTS[1], standard_vocabulary())
            write_json(aside / OUTPUTS[2], own_weapons)
        else:
            (aside / OUTPUTS[1]).write_bytes(vocabularies.vocab)
            (aside / OUTPUTS[2]).write_bytes(vocabularies.weapon_vocab)
        write_json(aside / OUTPUTS[3], report.as_json())
        record_sums(aside, OUTPUTS)
    return report


@dataclass(frozen=True)
class _ReadFile:
    """One file; the weapons of its builds are the game's numbers."""

    account: FileAccount
    builds: Builds
    unknown_weapons: Counter[str]
    problems: list[str]
    missing_weapons: Counter[str]
    missing_tokens: Counter[str]


def _read_file(path: Path, sha256: str, min_ap: int, vocabularies: ModelVocabularies | None) -> _ReadFile:
    rows = read_rows(path, _COLUMNS)
    frame = pl.DataFrame(rows.cells, schema=dict.fromkeys(_COLUMNS, pl.String), orient="row")
    pairs = [frame.select(weapon=f"{player}-weapon", abilities=f"{player}-abilities") for player in PLAYERS]
    sets = pl.concat(pairs).select(pl.all().str.strip_chars())
    order = np.arange(sets.height).reshape(len(PLAYERS), frame.height).T.ravel()  # by row, then by player
    sets = sets[order]
    texts, text_of = _coded(sets["abilities"])
    keys, key_of = _coded(sets["weapon"])
    cells = [read_cell(text, min_ap) for text in texts]
    known = weapons_by_key()
    numbers = np.array([known[key].splatnet_id if key in known else -1 for key in keys], dtype=np.int32)[key_of]
    fates = np.array([_FATES.index(cell.fate) for cell in cells], dtype=np.int8)[text_of]
    recorded = ~np.isin(fates, [_FATES.index(Fate.EMPTY), _FATES.index(Fate.UNPARSEABLE)])
    nameless = recorded & (numbers < 0)
    fates[nameless] = _FATES.index(Fate.UNKNOWN_WEAPON)
    fates.reshape(-1, len(PLAYERS))[list(rows.damage)] = _FATES.index(Fate.DAMAGED_ROW)
    missing_weapons, missing_tokens = Counter[str](), Counter[str]()
    if vocabularies is not None:
        lacking_weapon, lacking_token = _lacking(_are_kept(fates), numbers, cells, text_of, vocabularies)
        fates[lacking_weapon] = _FATES.index(Fate.DROPPED_WEAPON_NOT_IN_VOCABULARY)
        fates[lacking_token] = _FATES.index(Fate.DROPPED_TOKEN_NOT_IN_VOCABULARY)
        missing_weapons.update(weapons_by_key()[keys[at]].vocabulary_key for at in key_of[lacking_weapon])
        missing_tokens.update(
            name for at in text_of[lacking_token] for name in cells[at].tokens if name not in vocabularies.token_ids
        )
    kept = np.flatnonzero(_are_kept(fates))
    counts = np.bincount(fates, minlength=len(_FATES)).tolist()
    possible = {
        fate: n for fate, n in zip(_FATES, counts, strict=True) if vocabularies is not None or not fate.is_for_a_model
    }
    unparseable = np.flatnonzero(fates == _FATES.index(Fate.UNPARSEABLE))[:_N_PROBLEMS_SHOWN].tolist()
    token_ids = standard_vocabulary() if vocabularies is None else vocabularies.token_ids
    return _ReadFile(
        FileAccount(path, sha256, frame.height, possible),
        _builds_of(cells, text_of[kept], numbers[kept], token_ids),
        Counter(keys[at] for at in key_of[nameless]),
        _problems_of(path, rows, {at: cells[text_of[at]].problem for at in unparseable}),
        missing_weapons,
        missing_tokens,
    )


def _are_kept(fates: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    return np.isin(fates, [at for at, fate in enumerate(_FATES) if fate.is_kept])


def _lacking(
    kept: npt.NDArray[np.bool_],
    numbers: npt.NDArray[np.int32],
    cells: list[Cell],
    cell_of: npt.NDArray[np.int64],
    vocabularies: ModelVocabularies,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which kept sets are on a weapon that the vocabularies lack, and which of the others have a token that they lack."""
    known = np.array([vocabularies.token_ids.keys() >= set(cell.tokens) for cell in cells], dtype=bool)[cell_of]
    weapon_known = np.isin(numbers, list(vocabularies.weapon_ids))
    return kept & ~weapon_known, kept & weapon_known & ~known


def _coded(column: pl.Series) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The distinct texts in order of appearance, and which of them each row has."""
    distinct = column.unique(maintain_order=True)
    codes: npt.NDArray[np.int64] = column.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int64)
    return distinct.to_list(), codes


def _builds_of(
    cells: list[Cell], cell_of: npt.NDArray[np.int64], numbers: npt.NDArray[np.int32], ids: dict[str, int]
) -> Builds:
    used, place = np.unique(cell_of, return_inverse=True)
    tokens = [[ids[name] for name in cells[at].tokens] for at in used]
    lengths = np.array([len(names) for names in tokens], dtype=np.int64)
    flat = np.array([token for names in tokens for token in names], dtype=np.int32)
    nothing = np.zeros(used.size, dtype=np.int32)
    distinct = Builds(flat, offsets_of(lengths), nothing, nothing.astype(np.uint8), nothing.astype(np.int64))
    builds = distinct.take(place)
    return Builds(builds.tokens, builds.offsets, numbers, builds.split, np.arange(numbers.size, dtype=np.int64))


def _joined(parts: list[Builds], vocabularies: ModelVocabularies | None) -> tuple[Builds, dict[str, int]]:
    """All builds with weapon ids in place of the game's numbers, and the vocabulary of just their weapons.

    The ids are the model's where it has vocabularies, else those of the returned one.
    """
    numbers = np.concatenate([part.weapons for part in parts])
    values, place = np.unique(numbers, return_inverse=True)
    own = weapon_vocabulary(weapon for weapon in all_weapons() if weapon.splatnet_id in values)
    ids = (
        range(values.size) if vocabularies is None else [vocabularies.weapon_ids[number] for number in values.tolist()]
    )
    tokens = np.concatenate([part.tokens for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    n = numbers.size
    weapons = np.array(ids, dtype=np.int32)[place]
    builds = Builds(tokens, offsets_of(lengths), weapons, np.zeros(n, dtype=np.uint8), np.arange(n, dtype=np.int64))
    return builds, own


def _report(read: list[_ReadFile], min_ap: int, builds: Builds, vocabularies: ModelVocabularies | None) -> IngestReport:
    problems = [problem for file in read for problem in file.problems]
    account = None
    if vocabularies is not None:
        account = VocabularyAccount(
            {
                name: hashlib.sha256(raw).hexdigest()
                for name, raw in zip(OUTPUTS[1:3], (vocabularies.vocab, vocabularies.weapon_vocab), strict=True)
            },
            _sums([file.missing_weapons for file in read]),
            _sums([file.missing_tokens for file in read]),
        )
    return IngestReport(
        files=tuple(file.account for file in read),
        min_ap=min_ap,
        n_weapons=np.unique(builds.weapons).size,
        n_distinct=builds.to_frame().select("tokens", "weapon").n_unique(),
        unknown_weapons=_sums([file.unknown_weapons for file in read]),
        problems=tuple(problems[:_N_PROBLEMS_SHOWN]),
        vocabularies=account,
    )


def _sums(parts: Sequence[Mapping[_Key, int]]) -> dict[_Key, int]:
    total = Counter[_Key]()
    for part in parts:
        total.update(part)
    return dict(total)


def _problems_of(path: Path, rows: Rows, wrong_sets: dict[int, str]) -> list[str]:
    """The first problems of a file by row; a set is eight times its row plus its player."""
    problems = [(row, f"damaged, {why}") for row, why in rows.damage.items()]
    problems += [(at // len(PLAYERS), f"{PLAYERS[at % len(PLAYERS)]}: {why}") for at, why in wrong_sets.items()]
    ordered = sorted(problems, key=lambda problem: problem[0])
    return [f"{path.name}, row {row + 1}, {what}" for row, what in ordered[:_N_PROBLEMS_SHOWN]]


def _in_words(read: list[_ReadFile]) -> str:
    counts = _sums([file.account.fates for file in read])
    return ", ".join(f"{n:,} {fate}" for fate, n in counts.items() if n) or "the files do not hold battles"


def _check_request(files: Sequence[Path], out: Path, min_ap: int) -> None:
    if not files:
        raise InputError("no stat.ink file was passed")
    for path in files:
        if not path.exists() or path.is_dir():
            raise InputError(f"{path} is a folder, not a file" if path.is_dir() else f"the file {path} does not exist")
    twice = [str(path) for path, n in Counter(path.resolve() for path in files).items() if n > 1]
    if twice:
        raise InputError(f"{twice[0]} is listed twice; its builds would count twice")
    if not 0 <= min_ap <= FULL_AP:
        raise InputError(f"the least AP must be 0 to {FULL_AP}, not {min_ap}")
    replaceable_folder(out, {*OUTPUTS, SUMS}.__contains__)


def _distinct_hashes(files: Sequence[Path]) -> list[str]:
    """The sha256 of each file. Raises InputError when two are equal."""
    hashes = [sha256_of_file(path) for path in files]
    for at, (path, sha256) in enumerate(zip(files, hashes, strict=True)):
        first = hashes.index(sha256)
        if first < at:
            raise InputError(f"{files[first]} and {path} hold the same bytes; their builds would count twice")
    return hashes
