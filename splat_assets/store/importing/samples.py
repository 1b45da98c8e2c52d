"""Sample metadata of a folder made elsewhere, as a table of SAMPLE_SCHEMA: what is missing is marked, never guessed.

Rows are matched by position. A `global_index` that does not run from 0 on is renumbered and reported.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from splat_assets.store.documents import is_regular, read_bytes
from splat_assets.store.errors import LayoutError
from splat_assets.store.guide.batch_reader import batch_paths
from splat_assets.store.importing.report import Finding
from splat_assets.store.samples import SAMPLE_SCHEMA
from splat_assets.store.tables import explaining_damage
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.wording import counted

_TOKENS = ("ability_tokens", "ability_input_tokens", "tokens")
_WEAPON = ("weapon_id_token", "weapon_id")
_IS_NULL = ("is_null_token", "is_null")
_SHOWN = 3


def read_metadata(path: Path) -> pl.DataFrame:
    """A table in a `.parquet` file or an Arrow file (`.ipc`, `.arrow`, `.feather`); LayoutError when it is neither."""
    with explaining_damage(path):
        if not is_regular(path):
            raise LayoutError(f"the metadata table {path} does not exist")
        if path.suffix == ".parquet":
            return pl.read_parquet(path.absolute(), glob=False)
        if path.suffix in (".ipc", ".arrow", ".feather"):
            return pl.read_ipc(io.BytesIO(read_bytes(path)))
    raise LayoutError(f"{path} is not a metadata table: use .parquet, .ipc, .arrow or .feather")


def metadata_tables(path: Path) -> list[Path]:
    """The table or tables at path: a file, a folder of `batch_0000.parquet` .., or a batch tree with a folder `metadata`.

    Raises LayoutError when there are none, or one is missing between others.
    """
    if path.is_file():
        return [path]
    for folder in (path / "metadata", path):
        tables = batch_paths(folder, ".parquet")
        if tables:
            return tables
    raise LayoutError(f"{path} holds no metadata: neither metadata/batch_0000.parquet nor batch_0000.parquet")


def imported_samples(
    tables: Sequence[pl.DataFrame],
    names: Sequence[str],
    vocabulary: Vocabulary | None,
    contexts: Contexts | None,
) -> tuple[pl.DataFrame, list[Finding]]:
    """The sample table (one row per sample, SAMPLE_SCHEMA) of consecutive tables called `names`, and what was wrong with them.

    Args:
        tables: one per batch, rows in sample order.
        names: their file names, for messages and to compare with `batch_id`.
        vocabulary: bounds the token ids; without one they are only >= 0.
        contexts: gives the weapon names; without them those of the tables are used.

    Raises:
        LayoutError: a table lacks a usable tokens column, has ids that are not whole numbers, or another batch's `batch_id`.

    Without a column that says so, a sample is a null row where a vocabulary shows its tokens to be just the null token. What a
    row is otherwise (`kind`) is `unknown` unless the table says it.
    """
    findings: list[Finding] = []
    parts, first = [], 0
    for table, name in zip(tables, names, strict=True):
        _refuse_other_batch(table, name)
        ordered = _in_row_order(table, name, findings)
        _report_numbering(ordered, name, first, findings)
        parts.append(_converted(ordered, name, vocabulary, contexts, first, findings))
        first += table.height
    whole = pl.concat(parts) if parts else pl.DataFrame(schema=SAMPLE_SCHEMA)
    return whole, _merged(findings)


def unknown_samples(n_samples: int) -> pl.DataFrame:
    """The table of samples of which nothing is known: no tokens, weapon -1, kind `unknown`."""
    return (
        pl.select(global_index=pl.int_range(n_samples, dtype=pl.Int64))
        .select(
            "global_index",
            sample_id="global_index",
            source_row=-1,
            kind=pl.lit("unknown"),
            is_null=False,
            split=pl.lit("none"),
            weapon_id_token=-1,
            weapon_name=pl.lit(""),
            tokens=pl.lit([], dtype=SAMPLE_SCHEMA["tokens"]),
            token_position=-1,
        )
        .cast(SAMPLE_SCHEMA)
    )


def _refuse_other_batch(table: pl.DataFrame, name: str) -> None:
    """Raise LayoutError when `batch_id` names another batch than the file does."""
    named = re.fullmatch(r"batch_(\d+)\.\w+", name)
    if named is None or "batch_id" not in table.columns:
        return
    ids = _ids(table, "batch_id", name)
    others = ids.filter(ids != int(named[1]))
    if others.len():
        raise LayoutError(f"{name} has rows of batch {others[0]} (batch_id): use the table of this batch")


def _in_row_order(table: pl.DataFrame, name: str, findings: list[Finding]) -> pl.DataFrame:
    """The table sorted by `sample_id` (the row in the batch) where that is a permutation of the rows."""
    if "sample_id" not in table.columns:
        return table
    ids = _ids(table, "sample_id", name).fill_null(-1).to_numpy()
    if np.array_equal(ids, np.arange(table.height)):
        return table
    if not np.array_equal(np.sort(ids), np.arange(table.height)):
        findings.append(
            Finding(name, "sample_id does not number the rows of its batch", "rows are taken in their order")
        )
        return table
    findings.append(Finding(name, "rows are not in sample_id order", "sorted by sample_id"))
    return table.sort("sample_id")


def _report_numbering(table: pl.DataFrame, name: str, first: int, findings: list[Finding]) -> None:
    if "global_index" not in table.columns:
        findings.append(Finding(name, "global_index is missing", "rows are numbered by position"))
    elif table.height:
        index = _ids(table, "global_index", name).fill_null(-1).to_numpy()
        if not np.array_equal(index, np.arange(first, first + table.height)):
            wrong = (
                f"global_index runs {index.min()} to {index.max()} where {first} to {first + table.height - 1} belongs"
            )
            findings.append(Finding(name, wrong, "renumbered by position"))


def _converted(
    table: pl.DataFrame,
    name: str,
    vocabulary: Vocabulary | None,
    contexts: Contexts | None,
    first: int,
    findings: list[Finding],
) -> pl.DataFrame:
    tokens = _tokens(table, name, vocabulary, findings)
    weapons = _weapons(table, name, findings)
    is_null, known = _is_null(table, name, tokens, vocabulary, findings)
    rows = np.arange(table.height)
    if "kind" in table.columns:
        kind = _cast(table, "kind", pl.String, name).fill_null("unknown")
    else:
        kind = pl.Series(np.where(is_null.to_numpy() & known, "null", "unknown"))
        findings.append(
            Finding(
                name,
                "nothing says whether rows are whole builds (upstream's generator drops tokens at random)",
                "rows that are not null rows have kind unknown",
            )
        )
    return pl.DataFrame(
        {
            "global_index": first + rows,
            "sample_id": rows,
            "source_row": _or_else(table, "source_row", -1, pl.Int64, name),
            "kind": kind,
            "is_null": is_null,
            "split": _or_else(table, "split", "none", pl.String, name),
            "weapon_id_token": weapons,
            "weapon_name": _weapon_names(table, name, weapons, contexts, findings),
            "tokens": tokens,
            "token_position": _or_else(table, "token_position", -1, pl.Int32, name),
        },
        schema=SAMPLE_SCHEMA,
    )


def _tokens(table: pl.DataFrame, name: str, vocabulary: Vocabulary | None, findings: list[Finding]) -> pl.Series:
    column = next((column for column in _TOKENS if column in table.columns), None)
    if column is None:
        raise LayoutError(f"{name} has none of the columns {', '.join(_TOKENS)}; it has {', '.join(table.columns)}")
    tokens = _cast(table, column, pl.List(pl.Int32), name)
    _refuse_fractions(table[column].explode(), tokens.explode(), column, name)
    missing = tokens.is_null() | tokens.list.eval(pl.element().is_null().any()).list.first().fill_null(False)
    if missing.any():
        raise LayoutError(f"{name}: row {missing.arg_max()} lacks tokens in {column}; every sample needs a list of ids")
    flat = tokens.explode().drop_nulls().to_numpy()
    if flat.size and flat.min() < 0:
        raise LayoutError(f"{name}: {column} holds token {flat.min()}; ids of tokens count from 0")
    if vocabulary is not None and flat.size and flat.max() >= len(vocabulary):
        strange = flat[flat >= len(vocabulary)][0]
        raise LayoutError(
            f"{name} names token {strange}; the vocabulary has tokens 0 to {len(vocabulary) - 1}: use the "
            f"vocabulary it was made with"
        )
    n_empty = int((tokens.list.len() == 0).sum())
    if n_empty:
        findings.append(
            Finding(
                name, f"{counted(n_empty, 'rows', 'have')} no token at all, not even the null token", "kept as they are"
            )
        )
    return tokens


def _weapons(table: pl.DataFrame, name: str, findings: list[Finding]) -> pl.Series:
    column = next((column for column in _WEAPON if column in table.columns), None)
    if column is None:
        findings.append(Finding(name, "weapon_id_token is missing", "weapons are -1, unknown"))
        return pl.Series(np.full(table.height, -1), dtype=pl.Int32)
    return _ids(table, column, name, pl.Int32).fill_null(-1)


def _is_null(
    table: pl.DataFrame, name: str, tokens: pl.Series, vocabulary: Vocabulary | None, findings: list[Finding]
) -> tuple[pl.Series, bool]:
    """Which rows are null rows, and whether that is known."""
    column = next((column for column in _IS_NULL if column in table.columns), None)
    if column is not None:
        return _cast(table, column, pl.Boolean, name).fill_null(False), True
    if vocabulary is not None and vocabulary.null_id is not None:
        alone = (tokens.list.len() == 1) & (tokens.list.first() == vocabulary.null_id).fill_null(False)
        findings.append(
            Finding(name, "is_null_token is missing", "null rows are those whose only token is the null token")
        )
        return alone, True
    findings.append(
        Finding(name, "is_null_token is missing, and a vocabulary was not passed", "no row is marked as a null row")
    )
    return pl.Series(np.zeros(table.height, dtype=bool)), False


def _weapon_names(
    table: pl.DataFrame, name: str, weapons: pl.Series, contexts: Contexts | None, findings: list[Finding]
) -> pl.Series:
    """Names from the contexts if passed, else as the table has them."""
    if contexts is not None:
        names = {item.id: item.name for item in contexts.items}
        if int((~weapons.is_in(list(names)) & (weapons != -1)).sum()):
            raise LayoutError(
                f"{name} names weapons outside the weapon vocabulary (0 to {len(contexts) - 1}); use its own"
            )
        return weapons.replace_strict(names, default="", return_dtype=pl.String)
    if "weapon_name" not in table.columns:
        findings.append(
            Finding(name, "weapon_name is missing, and a weapon vocabulary was not passed", "names are left empty")
        )
        return pl.Series([""] * table.height, dtype=pl.String)
    return _cast(table, "weapon_name", pl.String, name).fill_null("")


def _or_else(table: pl.DataFrame, column: str, value: int | str, dtype: type[pl.DataType], name: str) -> pl.Series:
    if column not in table.columns:
        return pl.Series([value] * table.height, dtype=dtype)
    values = _cast(table, column, dtype, name) if dtype == pl.String else _ids(table, column, name, dtype)
    return values.fill_null(value)


def _ids(table: pl.DataFrame, column: str, name: str, dtype: type[pl.DataType] = pl.Int64) -> pl.Series:
    """The column as whole numbers; LayoutError when it holds anything else."""
    ids = _cast(table, column, dtype, name)
    _refuse_fractions(table[column], ids, column, name)
    return ids


def _refuse_fractions(values: pl.Series, ids: pl.Series, column: str, name: str) -> None:
    if values.dtype.is_float() and (values != ids).any():
        fraction = values.filter(values != ids)[0]
        raise LayoutError(f"{name}: {column} holds {fraction}; ids are whole numbers")


def _cast(table: pl.DataFrame, column: str, dtype: type[pl.DataType] | pl.DataType, name: str) -> pl.Series:
    try:
        return table[column].cast(dtype)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise LayoutError(
            f"{name}: {column} is {table[column].dtype} and cannot be read as {dtype}: {reason}"
        ) from error


def _merged(findings: list[Finding]) -> list[Finding]:
    """Findings that differ only in where, as one."""
    places: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        places.setdefault((finding.wrong, finding.done), []).append(finding.where)
    return [
        Finding(", ".join(where[:_SHOWN]) + (f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else ""), *what)
        for what, where in places.items()
    ]
