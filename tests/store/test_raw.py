import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from splat_assets.store.activations import SparseRows
from splat_assets.store.errors import (
    CorruptStoreError,
    FingerprintMismatchError,
    InvalidActivationsError,
    LayoutError,
)
from splat_assets.store.raw import (
    RawActivations,
    begin_raw_activations,
    read_shard_receipt,
    shard_is_valid,
    write_shard,
)
from tests.contracts.sources import sample_table, sparse_random
from tests.store.making import DENSE, SAE, bytes_below, flip_byte, write_raw


@pytest.mark.parametrize("rows_per_shard", [3, 10, 40])
@pytest.mark.parametrize("block_rows", [1, 3, 10, 100])
def test_blocks_run_on_across_shard_boundaries(rows_per_shard: int, block_rows: int, tmp_path: Path) -> None:
    dense = sparse_random(40, 12, 0.3)

    raw = write_raw(tmp_path, dense, rows_per_shard)

    blocks = list(raw.rows(block_rows))
    assert [block.n_rows for block in blocks[:-1]] == [block_rows] * (len(blocks) - 1)
    np.testing.assert_array_equal(np.concatenate([block.to_dense(12) for block in blocks]), dense)
    assert (raw.n_samples, raw.n_features, raw.nnz) == (40, 12, np.count_nonzero(dense))


def test_rows_can_be_read_from_the_middle(tmp_path: Path) -> None:
    dense = sparse_random(40, 12, 0.3)

    raw = write_raw(tmp_path, dense, 7)

    result = np.concatenate([block.to_dense(12) for block in raw.rows(10, start=13)])
    np.testing.assert_array_equal(result, dense[13:])


def test_samples_and_embeddings_come_back(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, DENSE, 2, embeddings=True)

    assert raw.samples()["global_index"].to_list() == [0, 1, 2, 3, 4]
    assert raw.samples()["sample_id"].to_list() == [0, 1, 0, 1, 0]
    assert raw.embedding_names == ["input"]
    np.testing.assert_array_equal(np.concatenate(list(raw.embeddings("input"))), DENSE[:, :2] * 2)
    with pytest.raises(LayoutError, match="keeps no embeddings 'logits'; kept: input"):
        next(raw.embeddings("logits"))


def test_the_same_shard_has_the_same_bytes(tmp_path: Path) -> None:
    write_raw(tmp_path / "a", DENSE, 2, embeddings=True)
    write_raw(tmp_path / "b", DENSE, 2, embeddings=True)

    assert bytes_below(tmp_path / "a") == bytes_below(tmp_path / "b")
    assert RawActivations(tmp_path / "a").fingerprint == RawActivations(tmp_path / "b").fingerprint


def test_a_valid_shard_is_recognised_only_for_its_own_rows_and_inputs(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 2)
    shard = tmp_path / "shard-00001"

    assert shard_is_valid(shard, 2, 2, SAE)
    assert not shard_is_valid(shard, 0, 2, SAE)
    assert not shard_is_valid(shard, 2, 3, SAE)
    assert not shard_is_valid(shard, 2, 2, {"sae": "b" * 64})
    assert not shard_is_valid(tmp_path / "shard-00009", 2, 2, SAE)


@pytest.mark.parametrize(
    "name", ["indptr.npy", "feature_ids.npy", "values.npy", "samples.parquet", "embeddings/input.npy"]
)
def test_a_flipped_byte_in_any_file_is_detected_and_the_file_named(name: str, tmp_path: Path) -> None:
    raw = write_raw(tmp_path, DENSE, 2, embeddings=True)

    flip_byte(tmp_path / "shard-00001" / name, -2)

    assert not shard_is_valid(tmp_path / "shard-00001", 2, 2, SAE, deep=True)
    assert [problem.split(" holds other bytes")[0] for problem in raw.problems()] == [
        str(tmp_path / "shard-00001" / name)
    ]


def test_a_sample_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, DENSE, 2)
    table = tmp_path / "shard-00001" / "samples.parquet"
    table.write_bytes(b"x" * table.stat().st_size)

    with pytest.raises(CorruptStoreError, match=r"shard-00001/samples\.parquet cannot be read as a table"):
        raw.samples()


def test_a_damaged_receipt_means_the_shard_is_not_valid(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 2)
    (tmp_path / "shard-00000" / "receipt.json").write_text("{")

    assert not shard_is_valid(tmp_path / "shard-00000", 0, 2, SAE)
    with pytest.raises(CorruptStoreError, match="write the shard again"):
        RawActivations(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 2)
    shutil.rmtree(tmp_path / "shard-00001")

    with pytest.raises(LayoutError, match="shard-00001 is missing"):
        RawActivations(tmp_path)


def test_a_folder_whose_writer_was_cut_off_is_unfinished(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 2)
    shutil.rmtree(tmp_path / "shard-00002")

    with pytest.raises(LayoutError, match="is unfinished: shard-00002 is missing .1 of 3 shards are"):
        RawActivations(tmp_path)


def test_shards_that_hold_other_samples_than_were_to_come_are_refused(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 2)
    begin_raw_activations(tmp_path, n_samples=6, n_shards=3)

    with pytest.raises(LayoutError, match="holds samples 0 to 4 in 3 shards; 6 samples were expected"):
        RawActivations(tmp_path)


def test_beginning_a_shorter_cut_removes_later_shards_and_nothing_else(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 1)
    for name in ("shard-backup", "shard-7"):
        (tmp_path / name).mkdir()
    (tmp_path / "shard-notes.txt").touch()

    begin_raw_activations(tmp_path, n_samples=2, n_shards=2)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "raw_activations.json",
        "shard-00000",
        "shard-00001",
        "shard-7",
        "shard-backup",
        "shard-notes.txt",
    ]
    assert RawActivations(tmp_path).n_samples == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"n_samples": 5}', '{"n_samples": "x", "n_shards": 1}'])
def test_a_damaged_description_is_named(text: str, tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 2)
    (tmp_path / "raw_activations.json").write_text(text)

    with pytest.raises(CorruptStoreError, match=r"raw_activations\.json does not describe raw activations"):
        RawActivations(tmp_path)


def test_a_missing_file_of_a_shard_is_named(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 2)
    (tmp_path / "shard-00001" / "values.npy").unlink()

    with pytest.raises(CorruptStoreError, match=r"shard-00001/values\.npy is missing"):
        RawActivations(tmp_path)


def test_shards_of_two_saes_are_not_mixed(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE, 2)
    write_raw(tmp_path / "other", DENSE, 2, inputs={"sae": "b" * 64})
    shutil.rmtree(tmp_path / "shard-00001")
    (tmp_path / "other" / "shard-00001").rename(tmp_path / "shard-00001")

    with pytest.raises(FingerprintMismatchError, match="shard-00001 was not made from what shard-00000"):
        RawActivations(tmp_path)


def test_an_empty_folder_holds_no_raw_activations(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"does not hold raw activations: raw_activations\.json is missing"):
        RawActivations(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_a_value_that_is_not_above_zero_is_refused_and_nothing_is_written(bad: float, tmp_path: Path) -> None:
    rows = SparseRows(np.array([0, 1, 2]), np.array([0, 3], np.uint16), np.array([1.0, bad], np.float32))

    with pytest.raises(InvalidActivationsError, match="row 1 holds feature 3"):
        write_shard(tmp_path / "shard-00000", rows, sample_table(2), {}, 4, SAE)

    assert list(tmp_path.iterdir()) == []


def test_embeddings_must_be_finite_and_fit(tmp_path: Path) -> None:
    rows = SparseRows.from_dense(DENSE)

    with pytest.raises(InvalidActivationsError, match=r"'input' have shape \(4, 2\) for 5 rows"):
        write_shard(tmp_path / "s", rows, sample_table(5), {"input": np.zeros((4, 2), np.float32)}, 4, SAE)
    with pytest.raises(InvalidActivationsError, match="NaN or infinity in row 2"):
        broken = np.zeros((5, 2), np.float32)
        broken[2, 1] = np.nan
        write_shard(tmp_path / "s", rows, sample_table(5), {"input": broken}, 4, SAE)


def test_rows_and_samples_must_be_as_many(tmp_path: Path) -> None:
    with pytest.raises(InvalidActivationsError, match="5 rows of activations come with 4 samples"):
        write_shard(tmp_path / "s", SparseRows.from_dense(DENSE), sample_table(4), {}, 4, SAE)


def test_a_receipt_says_what_the_shard_holds(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, DENSE, 2)

    receipt = read_shard_receipt(tmp_path / "shard-00001")

    assert (receipt.first_row, receipt.n_rows, receipt.n_features, receipt.nnz) == (2, 2, 4, 4)
    assert receipt.inputs == SAE
    assert receipt == raw.receipts[1]
    assert receipt.size_bytes == sum(
        path.stat().st_size for path in (tmp_path / "shard-00001").iterdir() if path.name != "receipt.json"
    )


def test_sample_tables_must_be_in_order(tmp_path: Path) -> None:
    swapped = sample_table(5)[[0, 2, 1, 3, 4]]

    with pytest.raises(InvalidActivationsError, match="row 1 has global_index 2 instead of 1"):
        write_shard(tmp_path / "s", SparseRows.from_dense(DENSE), swapped, {}, 4, SAE)
    with pytest.raises(InvalidActivationsError, match="agreed columns"):
        write_shard(
            tmp_path / "s", SparseRows.from_dense(DENSE), sample_table(5).select(pl.col("global_index")), {}, 4, SAE
        )
