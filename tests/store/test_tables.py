from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.tables import read_table, table_facts, write_table

FRAME = pl.DataFrame({"feature_id": [0, 1], "name": ["a", "b"]})


def test_a_table_comes_back_with_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table [1].parquet"

    write_table(path, FRAME, {"n_bins": 3, "rule": "größer"})

    assert read_table(path).equals(FRAME)
    assert read_table(path, ["name"]).columns == ["name"]
    assert table_facts(path, "n_bins") == {"n_bins": 3, "rule": "größer"}


def test_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", FRAME, {"x": 1, "y": 2})
    write_table(tmp_path / "b.parquet", FRAME.clone(), {"y": 2, "x": 1})

    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_other_readers_open_it(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", FRAME)

    assert pq.read_table(tmp_path / "a.parquet").to_pydict() == FRAME.to_dict(as_series=False)


def test_an_absent_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"the table .*a\.parquet does not exist"):
        read_table(tmp_path / "a.parquet")
    with pytest.raises(LayoutError, match=r"the table .*a\.parquet does not exist"):
        table_facts(tmp_path / "a.parquet")


def test_a_table_without_the_facts_needed_is_refused(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "foreign.parquet")

    with pytest.raises(LayoutError, match="does not record its n_bins, seed"):
        table_facts(tmp_path / "foreign.parquet", "n_bins", "seed")


def test_a_damaged_table_is_an_error_or_reads_at_all_whichever_byte_is_flipped(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", FRAME, {"n_bins": 3})
    whole = (tmp_path / "a.parquet").read_bytes()
    damaged = tmp_path / "damaged.parquet"
    n_refused = 0

    for at in range(0, len(whole), 7):
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_table(damaged)
            table_facts(damaged)
        except CorruptStoreError as error:
            assert "damaged.parquet cannot be read as a table" in str(error)
            n_refused += 1

    assert n_refused > 10


def test_a_file_cut_short_is_an_error(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", FRAME)
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(CorruptStoreError, match="make it again"):
        read_table(tmp_path / "a.parquet")
