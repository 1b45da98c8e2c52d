from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from splat_assets.errors import InputError
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError, LayoutError, SampleNotFoundError
from splat_assets.store.samples import SAMPLE_SCHEMA, SampleTable, write_samples
from tests.contracts.sources import sample_table


def test_both_files_hold_the_table_as_it_was(tmp_path: Path) -> None:
    samples = sample_table(20)

    parquet, arrow = write_samples(samples, tmp_path)

    assert pl.read_parquet(parquet).equals(samples)
    assert SampleTable.open(arrow).all().equals(samples)
    assert SampleTable.open(arrow).all().schema == SAMPLE_SCHEMA


def test_rows_are_taken_in_the_requested_order(tmp_path: Path) -> None:
    samples = sample_table(20)
    _, arrow = write_samples(samples, tmp_path)

    result = SampleTable.open(arrow).take(np.array([17, 0, 17]))

    assert result.equals(samples[[17, 0, 17]])
    assert SampleTable.open(arrow).take([]).schema == SAMPLE_SCHEMA


@pytest.mark.parametrize("given", [np.arange(20) % 2 == 0, [1.9, 2.2], [float("nan")], ["3"], [None], [2**70]])
def test_only_whole_numbers_are_ids_of_samples(given: npt.ArrayLike, tmp_path: Path) -> None:
    _, arrow = write_samples(sample_table(20), tmp_path)

    with pytest.raises(InputError, match="must be whole numbers, not .*; np.flatnonzero converts a mask to ids"):
        SampleTable.open(arrow).take(given)


@pytest.mark.parametrize("ids", [np.array([3, 0], np.uint16), np.array([3, 0], np.uint64), pl.Series([3, 0]), (3, 0)])
def test_whole_numbers_of_any_kind_are_ids(ids: npt.ArrayLike, tmp_path: Path) -> None:
    _, arrow = write_samples(sample_table(20), tmp_path)

    assert SampleTable.open(arrow).take(ids)["global_index"].to_list() == [3, 0]


@pytest.mark.parametrize("sample_id", [-1, 20, 2**64 - 1])
def test_a_sample_outside_the_table_names_the_valid_range(sample_id: int, tmp_path: Path) -> None:
    _, arrow = write_samples(sample_table(20), tmp_path)

    with pytest.raises(SampleNotFoundError, match=f"sample {sample_id} .*samples 0 to 19"):
        SampleTable.open(arrow).take([sample_id])


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_samples(sample_table(3000), tmp_path / "a")]
    in_parts = pl.concat([sample_table(3000).slice(0, 1000), sample_table(3000).slice(1000)], rechunk=False)
    again = [path.read_bytes() for path in write_samples(in_parts, tmp_path / "b")]

    assert first == again


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (pl.col("global_index") + 1, "row 0 has global_index 1 instead of 0"),
        (pl.col("split").replace("train", "training"), "split 'training' is not one of train, validation"),
        (pl.col("tokens").list.len().alias("tokens"), "tokens is UInt32 instead of List"),
        (pl.lit(None, pl.String).alias("weapon_name"), "missing values in weapon_name"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(change: pl.Expr, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidActivationsError, match=complaint):
        write_samples(sample_table(9).with_columns(change), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_missing_table_and_a_damaged_one_are_distinguished(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="is not there"):
        SampleTable.open(tmp_path / "samples.arrow")

    (tmp_path / "samples.arrow").write_bytes(b"ARROW1 but not really")
    with pytest.raises(CorruptStoreError, match="cannot be read as an Arrow file"):
        SampleTable.open(tmp_path / "samples.arrow")


def test_whichever_byte_is_changed_the_process_goes_on(tmp_path: Path) -> None:
    _, arrow = write_samples(sample_table(9), tmp_path)
    whole = arrow.read_bytes()
    n_refused = 0

    for at in range(0, len(whole), 3):
        changed = tmp_path / f"changed-{at}.arrow"
        changed.write_bytes(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :])
        try:
            table = SampleTable.open(changed)
            table.take(range(table.n_samples))
            table.all()
        except CorruptStoreError as error:
            assert f"{changed} cannot be read as an Arrow file" in str(error)
            n_refused += 1

    assert n_refused > 50
