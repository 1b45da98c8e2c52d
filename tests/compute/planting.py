"""Faults planted in a finished table, so that a test can see the check that guards it go red."""

from pathlib import Path

import polars as pl

from splat_assets.store.tables import read_table, table_facts, write_table


def rewrite(path: Path, row: int, **values: object) -> None:
    """Give columns of one row other values."""
    table = read_table(path)
    here = pl.int_range(pl.len()) == row
    changed = [
        pl.when(here).then(pl.lit(value, dtype=table.schema[name])).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    ]
    write_table(path, table.with_columns(changed), table_facts(path))


def swap_rows(path: Path, a: int, b: int) -> None:
    """Let two rows change places."""
    table = read_table(path)
    order = list(range(table.height))
    order[a], order[b] = b, a
    write_table(path, table[order], table_facts(path))


def drop_row(path: Path, row: int) -> None:
    """Leave a row out."""
    table = read_table(path)
    write_table(path, table[[i for i in range(table.height) if i != row]], table_facts(path))
