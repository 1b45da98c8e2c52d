"""Parquet tables of a store: written whole, equal content as equal bytes, with the facts that describe them inside.

The facts (how many bins, which seed, which tokens) are one JSON object in the file's key-value metadata, so that a table can
be read, and checked, without knowing the call that made it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.files import replacing_file

_FACTS = "splat"
_ROW_GROUP_ROWS = 122_880


def write_table(path: Path, frame: pl.DataFrame, facts: dict[str, Any] | None = None) -> None:
    """Write frame to path atomically, with its facts (anything JSON can say, no NaN) in the file's metadata."""
    text = json.dumps(facts or {}, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with explaining_write_errors("a table", path.parent), replacing_file(path) as aside:
        frame.write_parquet(
            aside,
            compression="zstd",
            compression_level=3,
            statistics=True,
            row_group_size=_ROW_GROUP_ROWS,
            metadata={_FACTS: text},
        )


def read_table(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The whole table, or some columns; LayoutError when there is none, CorruptStoreError when it cannot be read."""
    _must_exist(path)
    try:
        return pl.read_parquet(path, columns=list(columns) if columns is not None else None, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CorruptStoreError(f"{path} cannot be read as a table: {error}; make it again") from error


def table_facts(path: Path) -> dict[str, Any]:
    """The facts that were written with a table; LayoutError when there is no table or it carries none."""
    _must_exist(path)
    try:
        text = pl.read_parquet_metadata(path).get(_FACTS)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CorruptStoreError(f"{path} cannot be read as a table: {error}; make it again") from error
    if text is None:
        raise LayoutError(f"{path} is a table without the facts that a store's tables carry; make it again")
    facts: dict[str, Any] = json.loads(text)
    return facts


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise LayoutError(f"there is no table at {path}; make it first")
