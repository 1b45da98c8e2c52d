"""Parquet tables of a store: written whole, equal content as equal bytes, with the facts that describe them inside.

The facts (how many bins, which seed, which tokens) are one JSON object in the file's key-value metadata, so that a table can
be read, and checked, without knowing the call that made it.
"""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import access_denied, first_line, is_regular, json_of
from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.files import replacing_file

_FACTS = "splat"
_ROW_GROUP_ROWS = 122_880
TABLE_FAULTS = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # no Exception: some damage makes polars panic
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
)
"""What reading a damaged table raises, in polars or pyarrow."""


def write_table(path: Path, frame: pl.DataFrame, facts: dict[str, Any] | None = None) -> None:
    """Write frame to path atomically, with its facts (anything JSON can say, no NaN) in the file's metadata."""
    text = json.dumps(facts or {}, sort_keys=True, allow_nan=False, ensure_ascii=False)
    # Written in memory first, so that a full disk is an OSError and not one of polars' own.
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=3,
        statistics=True,
        row_group_size=_ROW_GROUP_ROWS,
        metadata={_FACTS: text},
    )
    with explaining_write_errors("a table", path.parent), replacing_file(path) as aside:
        aside.write_bytes(buffer.getbuffer())


def read_table(path: Path, columns: Sequence[str] | None = None, content: bytes | None = None) -> pl.DataFrame:
    """The whole table, or some columns; LayoutError when it does not exist, CorruptStoreError when it cannot be read.

    content: the bytes of the file at path, where they were read already.
    """
    with explaining_damage(path):
        return pl.read_parquet(
            _source(path, content), columns=list(columns) if columns is not None else None, glob=False
        )


def read_rows(path: Path, column: str, value: int, content: bytes | None = None) -> pl.DataFrame:
    """The rows with this value in the column; row groups that cannot hold it are not read. content, errors: as `read_table`."""
    with explaining_damage(path):
        return pl.scan_parquet(_source(path, content), glob=False).filter(pl.col(column) == value).collect()


def table_facts(path: Path, *needed: str, content: bytes | None = None) -> dict[str, Any]:
    """The facts that were written with a table; LayoutError when the table does not exist, or lacks facts that are needed.

    content: as `read_table`.
    """
    with explaining_damage(path):
        facts: dict[str, Any] = dict(json_of(pl.read_parquet_metadata(_source(path, content)).get(_FACTS, "{}")))
    missing = [name for name in needed if name not in facts]
    if missing:
        raise LayoutError(
            f"{path} does not record its {', '.join(missing)}, as a store's own tables do; compute it again"
        )
    return facts


def spot_check_ids(n: int, n_sampled: int, seed: int) -> list[int]:
    """Up to n_sampled random ids of 0..n - 1, rising; the same for the same seed."""
    chosen = np.random.default_rng(seed).choice(n, size=min(n, n_sampled), replace=False)
    return sorted(int(i) for i in chosen)


def misplaced_ids(ids: pl.Series, n: int) -> list[int]:
    """Which of 0..n - 1 do not stand at their own place in a column that should hold just these, in order."""
    actual = ids.cast(pl.Int64).fill_null(-1).to_numpy()
    expected = np.arange(max(n, actual.size))
    placed = np.full(expected.size, -1, dtype=np.int64)
    placed[: actual.size] = actual
    return [int(i) for i in np.flatnonzero((placed != expected) | (expected >= n))]


def _source(path: Path, content: bytes | None) -> Path | io.BytesIO:
    if content is not None:
        return io.BytesIO(content)
    if not is_regular(path):
        raise LayoutError(f"the table {path} does not exist; compute it first")
    return path.absolute()  # polars takes a leading ~ for somebody's home


@contextmanager
def explaining_damage(path: Path) -> Iterator[None]:
    """Raise CorruptStoreError, which names path, for whatever polars raises while it reads a table there."""
    try:
        yield
    except PermissionError as error:
        raise access_denied(error, path) from error
    except TABLE_FAULTS as error:
        raise CorruptStoreError(f"{path} cannot be read as a table: {first_line(error)}; make it again") from error
