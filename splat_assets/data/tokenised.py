"""The tokenised file: one build per row, as token ids and a weapon id, checked before anything else sees it.

Either tab-separated text with a header and the columns `ability_tags` (a JSON list of ids) and `weapon_id` (whatever the
file's ending), or `.parquet` with the same columns as list<int> and int. Other columns are ignored. A build without
abilities is the single token `<NULL>`. Every refusal names the data row, counted from 1 after the header.

Parquet written here holds a sha256 of its builds, which is compared when it is read, as page checksums of other writers are.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from splat_assets.data.builds import Builds
from splat_assets.data.packed_files import is_packed, unpacked
from splat_assets.domain.abilities import DOUBLER, highest_possible_ap
from splat_assets.domain.tokens import ap_of_token
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.errors import InputError
from splat_assets.store.activations import offsets_of
from splat_assets.store.documents import access_denied
from splat_assets.store.files import replacing_file
from splat_assets.store.tables import TABLE_FAULTS
from splat_assets.store.vocabulary import Contexts, Vocabulary

TAGS = "ability_tags"
WEAPON = "weapon_id"

_DIGEST = b"splat_builds_sha256"
_LOOKED_AT_BYTES = 2**20
_MANY = 0.1
"""Share of rows that can be no builds from which on not they but all ids are likely to be wrong."""
_MEND = (
    "ingest it again for this model, `splat ingest statink FILES --out FOLDER --vocab-path ... "
    "--weapon-vocab-path ...` with both "
    "vocabularies of the model, or use the model of the file's own vocabularies"
)
_ID = r"(0|[1-9][0-9]{0,8})"
_LIST_OF_IDS = rf"^\s*\[\s*{_ID}(\s*,\s*{_ID})*\s*\]\s*$"
_REPEATED = "_duplicated_0"
"""What polars puts behind the name of a column that was there before."""
_EMPTY_LIST = r"^\s*\[\s*\]\s*$"


def read_tokenised(path: Path, vocabulary: Vocabulary, contexts: Contexts) -> Builds:
    """The builds of a tokenised file, all in split 0, with `source_row` = 0-based data row.

    Raises:
        InputError: the file is missing or empty, is not separated by tabs, was tokenised with another vocabulary (by the one
            beside it, or since many rows cannot be builds), or has a row that is not a list of ids, an id outside the
            vocabularies, an empty build, `<PAD>`, a repeated token, `<NULL>` beside abilities, or more AP than a full build
            has (57; 66 with ability_doubler), by the highest rung of each ability. Names the first row at fault.

    Examples:
        >>> vocabulary = Vocabulary((Token(0, "haunt", "haunt"), Token(1, "<PAD>", "<PAD>")), pad_id=1, null_id=None)
        >>> size = (folder / "builds.csv").write_text("ability_tags\\tweapon_id\\n[0]\\t0\\n")
        >>> read_tokenised(folder / "builds.csv", vocabulary, Contexts((Context(0, "weapon_id_0", "Splattershot"),))).tokens
        array([0], dtype=int32)
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a tokenised file")
    if not path.exists():
        raise InputError(f"the tokenised file {path} does not exist")
    raw = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    if not raw.weapons.size:
        raise InputError(f"{path} has a header but no rows: a tokenised file needs at least one build")
    _refuse_other_vocabularies(raw, vocabulary, contexts)
    builds = Builds(
        tokens=_checked_ids(
            raw.tokens,
            len(vocabulary),
            lambda at: f"{path}, row {raw.row_of_token(at) + 1}: token id {raw.tokens[at]} is not in the vocabulary",
            "such id",
        ),
        offsets=raw.offsets,
        weapons=_checked_ids(
            raw.weapons,
            len(contexts),
            lambda row: f"{path}, row {row + 1}: weapon_id {raw.weapons[row]} is not in the weapon vocabulary",
            "such row",
            f"{WEAPON} is the id there, not the game's number, and ",
        ),
        split=np.zeros(raw.weapons.size, dtype=np.uint8),
        source_row=np.arange(raw.weapons.size, dtype=np.int64),
    )
    _check_builds(path, builds, vocabulary)
    return builds


def write_tokenised(path: Path, builds: Builds) -> None:
    """Write builds as a tokenised file, atomically: Parquet when path ends in .parquet, else tab-separated text."""
    frame = builds.to_frame().select(pl.col("tokens").alias(TAGS), pl.col("weapon").alias(WEAPON))
    with replacing_file(path) as aside:
        if path.suffix == ".parquet":
            table = frame.to_arrow().replace_schema_metadata({_DIGEST: _digest_of(builds)})
            pq.write_table(table, aside, compression="zstd", write_statistics=False)
            return
        joined = pl.col(TAGS).cast(pl.List(pl.String)).list.join(", ")
        frame = frame.with_columns(pl.concat_str(pl.lit("["), joined, pl.lit("]")).alias(TAGS))
        frame.write_csv(aside, separator="\t", quote_style="never")


@dataclass(frozen=True)
class _Raw:
    """A file's columns before any id was compared with a vocabulary."""

    path: Path
    tokens: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    weapons: npt.NDArray[np.int64]

    def row_of_token(self, position: int) -> int:
        return int(np.searchsorted(self.offsets, position, side="right")) - 1


def _digest_of(builds: "_Raw | Builds") -> str:
    """sha256 of token ids, where builds begin, and weapon ids."""
    columns = (builds.tokens, builds.offsets, builds.weapons)
    return hashlib.sha256(b"".join(column.astype("<i8").tobytes() for column in columns)).hexdigest()


def _read_text(path: Path) -> _Raw:
    source: Path | bytes = path
    try:
        source = _text_of(path)
        _check_columns(path, pl.read_csv(source, separator="\t", n_rows=0, infer_schema=False, glob=False).columns)
        frame = pl.read_csv(source, separator="\t", columns=[TAGS, WEAPON], infer_schema=False, glob=False)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot read the tokenised file {path}: {_long_row(source) or _reason(error)}") from error
    written = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    frame = frame.head(written[-1] + 1 if len(written) else 0)  # blank lines at the end are not builds
    tags, weapon = frame[TAGS], frame[WEAPON].str.strip_chars()
    _refuse_empty(path, tags.str.contains(_EMPTY_LIST).fill_null(True))
    _refuse(path, ~tags.str.contains(_LIST_OF_IDS), tags, f"{TAGS} must be a JSON list of token ids such as [3, 17]")
    _refuse(path, ~weapon.str.contains(rf"^{_ID}$").fill_null(False), weapon, f"{WEAPON} must be a whole number")
    lists = tags.str.replace_all(r"[\s\[\]]", "").str.split(",")
    return _Raw(path, _ints(lists.explode()), offsets_of(lists.list.len().to_numpy()), _ints(weapon))


def _text_of(path: Path) -> Path | bytes:
    """The file, or its text in memory where it is packed, a pipe, or has the line ends of old Macs, which polars cannot read."""
    with unpacked(path) as file:
        if not path.is_file() or is_packed(path):
            text = file.read()
        else:
            start = file.read(_LOOKED_AT_BYTES)
            if b"\n" in start or b"\r" not in start:
                return path
            text = start + file.read()
    return text if b"\n" in text else text.replace(b"\r", b"\n")


def _read_parquet(path: Path) -> _Raw:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_columns(path, file.schema_arrow.names)
            recorded = (file.metadata.metadata or {}).get(_DIGEST)
            frame = pl.DataFrame(file.read(columns=[TAGS, WEAPON]))
    except PermissionError as error:
        raise access_denied(error, path) from error
    except TABLE_FAULTS as error:
        raise InputError(f"cannot read the tokenised file {path}: {_reason(error)}") from error
    tags, weapon = frame[TAGS], frame[WEAPON]
    inner = tags.dtype.inner if isinstance(tags.dtype, pl.List) else None
    if inner is None or not inner.is_integer() or not weapon.dtype.is_integer():
        raise InputError(
            f"{path}: {TAGS} must be list<int> and {WEAPON} int, but they are {tags.dtype} and {weapon.dtype}"
        )
    _refuse_empty(path, (tags.list.len() == 0).fill_null(True))
    _refuse(path, tags.list.eval(pl.element().is_null()).list.any(), tags, f"{TAGS} must not hold nulls")
    _refuse(path, weapon.is_null(), weapon, f"{WEAPON} must be a whole number")
    raw = _Raw(path, _ints(tags.explode()), offsets_of(tags.list.len().to_numpy()), _ints(weapon))
    if recorded is not None and recorded.decode(errors="replace") != _digest_of(raw):
        raise InputError(
            f"{path} is damaged or was changed: its builds are not those whose sha256 it holds; copy it again, "
            f"or, if the change is intended, write it without the file metadata {_DIGEST.decode()}"
        )
    return raw


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [name for name in (TAGS, WEAPON) if name not in columns]
    twice = next((name for name in (TAGS, WEAPON) if f"{name}{_REPEATED}" in columns), None)
    if twice is not None:
        raise InputError(f"{path} has more than one column {twice}, so it is ambiguous which one counts")
    if not missing:
        return
    separators = [
        what for what, mark in (("commas", ","), ("semicolons", ";")) if any(mark in name for name in columns)
    ]
    hint = f"; it looks separated by {separators[0]}, the separator is a tab" if separators else ""
    raise InputError(f"{path} lacks the column {' and '.join(missing)}: its columns are {columns}{hint}")


def _refuse_other_vocabularies(raw: _Raw, vocabulary: Vocabulary, contexts: Contexts) -> None:
    """Raise InputError where a vocabulary beside the file, as `splat ingest` leaves it, names an id of the file otherwise."""
    tokens, keys = vocabulary.names(range(len(vocabulary))), [item.key for item in contexts.items]
    beside = raw.path.with_name("vocab.json")
    _refuse_other_names(
        raw, raw.tokens, tokens, beside, lambda path: [token.name for token in read_vocabulary(path).tokens]
    )
    beside = raw.path.with_name("weapon_vocab.json")
    _refuse_other_names(raw, raw.weapons, keys, beside, lambda path: [item.key for item in read_contexts(path).items])


def _refuse_other_names(
    raw: _Raw, ids: npt.NDArray[np.int64], ours: list[str], beside: Path, names_in: Callable[[Path], list[str]]
) -> None:
    try:
        theirs = names_in(beside) if beside.is_file() else []
    except InputError:
        return  # it is not a vocabulary, so it does not say what the file was tokenised with
    for used in np.unique(ids[(ids >= 0) & (ids < min(len(theirs), len(ours)))]).tolist():
        if theirs[used] != ours[used]:
            raise InputError(
                f"{raw.path} was tokenised with another vocabulary than the model's: {used} is {theirs[used]} in {beside}, and "
                f"{ours[used]} in the model's; {_MEND}"
            )


def _checked_ids(
    ids: npt.NDArray[np.int64], n_known: int, where: Callable[[int], str], each: str, hint: str = ""
) -> npt.NDArray[np.int32]:
    """Ids of a vocabulary of n_known; InputError for the first one outside. where: its row and vocabulary, for messages."""
    outside = np.flatnonzero((ids < 0) | (ids >= n_known))
    if outside.size:
        raise InputError(
            f"{where(int(outside[0]))}, which holds 0 to {n_known - 1}{_and_others(outside.size, each)}; {hint}the file was "
            f"probably tokenised with another vocabulary: {_MEND}"
        )
    return ids.astype(np.int32)


def _check_builds(path: Path, builds: Builds, vocabulary: Vocabulary) -> None:
    """Raise InputError for the first build that no gear could be; where many are, for what all of them have in common."""
    broken: list[tuple[npt.NDArray[np.bool_], str]] = [
        (
            _holding(builds, vocabulary.pad_id),
            f"it holds <PAD> (id {vocabulary.pad_id}), which only fills up batches",
        ),
        (_repeating(builds, len(vocabulary)), "it holds a token twice; a build is a set of tokens"),
    ]
    if vocabulary.null_id is not None:
        beside = _holding(builds, vocabulary.null_id) & (builds.lengths > 1)
        broken.append((beside, f"it holds <NULL> (id {vocabulary.null_id}) beside abilities; <NULL> stands alone"))
    doubler = vocabulary.by_name.get(DOUBLER)
    doubled = _holding(builds, doubler.id) if doubler else np.zeros(builds.n_builds, dtype=bool)
    ap = least_ap(builds, vocabulary)
    over = ap > np.where(doubled, highest_possible_ap(True), highest_possible_ap(False))
    worst = int(ap[np.argmax(over)])
    broken.append((over, f"it has at least {worst} AP, more than a full build (57; 66 with ability_doubler)"))
    n_wrong = int(np.logical_or.reduce([wrong for wrong, _ in broken]).sum())
    for wrong, why in broken:
        rows = np.flatnonzero(wrong)
        if rows.size and n_wrong >= max(2, _MANY * builds.n_builds):
            raise InputError(
                f"{path} was probably tokenised with another vocabulary, since {n_wrong:,} of its "
                f"{builds.n_builds:,} rows cannot be builds in this one: {_MEND}. The first is row {rows[0] + 1}: "
                f"{why}{_and_others(rows.size, 'such row')}"
            )
        if rows.size:
            raise InputError(f"{path}, row {rows[0] + 1}: {why}{_and_others(rows.size, 'such row')}")


def least_ap(builds: Builds, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """int64, shape (n,): the AP that the highest rung of each ability adds up to; what was worn is at least that."""
    groups = {name: number for number, name in enumerate(dict.fromkeys(token.group for token in vocabulary.tokens))}
    group_of = np.array([groups[token.group] for token in vocabulary.tokens])
    ap_of = np.array([ap_of_token(token.name) for token in vocabulary.tokens], dtype=np.int8)
    highest = np.zeros((builds.n_builds, len(groups)), dtype=np.int8)
    np.maximum.at(highest, (builds.build_of_token, group_of[builds.tokens]), ap_of[builds.tokens])
    total: npt.NDArray[np.int64] = highest.sum(axis=1, dtype=np.int64)
    return total


def _holding(builds: Builds, token_id: int) -> npt.NDArray[np.bool_]:
    holding = np.zeros(builds.n_builds, dtype=bool)
    holding[builds.build_of_token[builds.tokens == token_id]] = True
    return holding


def _repeating(builds: Builds, n_tokens: int) -> npt.NDArray[np.bool_]:
    pairs = np.sort(builds.build_of_token * n_tokens + builds.tokens, kind="stable")
    repeating = np.zeros(builds.n_builds, dtype=bool)
    repeating[pairs[1:][pairs[1:] == pairs[:-1]] // n_tokens] = True
    return repeating


def _refuse_empty(path: Path, empty: pl.Series) -> None:
    rows = empty.arg_true()
    if len(rows):
        raise InputError(
            f"{path}, row {rows[0] + 1}: the build is empty{_and_others(len(rows), 'such row')}; a build without abilities is "
            "the single token <NULL>"
        )


def _refuse(path: Path, wrong: pl.Series, values: pl.Series, rule: str) -> None:
    rows = wrong.arg_true()
    if len(rows):
        value = values[rows[0]]
        shown = "missing" if value is None else repr(str(value)[:80])
        raise InputError(f"{path}, row {rows[0] + 1}: {rule}, but it is {shown}{_and_others(len(rows), 'such row')}")


def _long_row(source: Path | bytes) -> str:
    """Which row of a text that could not be read has more fields than the header, if one has."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as lines:
        n_tabs = next(lines, b"").count(b"\t")
        for row, line in enumerate(lines, start=1):
            if line.count(b"\t") > n_tabs:
                return f"row {row} has more fields than the header"
    return ""


def _ints(column: pl.Series) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = column.cast(pl.Int64).to_numpy()
    return values


def _and_others(n: int, what: str) -> str:
    return f" ({n - 1:,} more {what}{'s' if n > 2 else ''})" if n > 1 else ""


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error).strip().splitlines()[0]
