"""The guide's batch tree: shapes, names and columns, row order across batches, repetition, and damage."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zarr

from splat_assets.store.activations import ActivationReader, SparseRows
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError, LayoutError, SampleNotFoundError
from splat_assets.store.files import files_below, sha256_of_file, staging_path
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.guide.batches import write_batches
from tests.contracts.reader import CASES, Dense, ReaderContract
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random


def written(dense: Dense, root: Path, batch_rows: int = 7) -> Path:
    target = root / "activations_efficient"
    embeddings = {"sae_input": [np.arange(2 * len(dense), dtype=np.float32).reshape(-1, 2)]}
    write_batches(DenseSource(dense), sample_table(len(dense)), embeddings, VOCABULARY, target, batch_rows)
    return target


class TestBatchReader(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        return BatchReader(written(dense, root, batch_rows=max(1, len(dense) // 3)))


def test_the_tree_has_the_guides_files_and_shapes(tmp_path: Path) -> None:
    dense = sparse_random(13, 6, 0.4)

    target = written(dense, tmp_path, batch_rows=5)

    for i, rows in enumerate((5, 5, 3)):
        array = zarr.open_array(str(target / f"activations/batch_{i:04d}.zarr"), mode="r")
        assert array.shape == (rows, 6)
        assert array.dtype == np.float32
        assert {k: array.attrs[k] for k in ("batch_index", "n_samples", "n_features")} == {
            "batch_index": i,
            "n_samples": rows,
            "n_features": 6,
        }
        np.testing.assert_array_equal(array[:], dense[5 * i : 5 * i + rows])
    seal = json.loads((target / "conversion_metadata.json").read_text())
    assert (seal["n_batches"], seal["total_samples"], seal["n_features"], seal["batch_size"]) == (3, 13, 6, 5)
    assert {"compression", "compression_level", "chunk_size", "average_compression_ratio"} <= seal.keys()
    assert [stats["n_samples"] for stats in seal["batch_stats"]] == [5, 5, 3]


def test_metadata_has_upstreams_columns_and_a_running_global_index(tmp_path: Path) -> None:
    samples = sample_table(13)

    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=5)

    tables = [pl.read_parquet(target / f"metadata/batch_{i:04d}.parquet") for i in range(3)]
    whole = pl.concat(tables)
    assert whole.columns[:7] == [
        "batch_id",
        "sample_id",
        "ability_tokens",
        "weapon_id_token",
        "is_null_token",
        "weapon_name",
        "global_index",
    ]
    assert whole["global_index"].to_list() == list(range(13))
    assert [table["sample_id"].to_list() for table in tables] == [list(range(n)) for n in (5, 5, 3)]
    assert whole["ability_tokens"].to_list() == samples["tokens"].to_list()
    names = [token.name for token in VOCABULARY.tokens]
    assert whole["abilities"].to_list() == [[names[t] for t in own] for own in samples["tokens"].to_list()]
    assert whole["is_null_token"].to_list() == [False] * 12 + [True]


def test_embeddings_are_one_array_with_the_row_range_of_each_batch(tmp_path: Path) -> None:
    dense = sparse_random(13, 6, 0.4)
    vectors = np.random.default_rng(0).normal(size=(13, 4)).astype(np.float32)
    embeddings = {"sae_recon": iter([vectors[:1], vectors[1:8], vectors[8:]])}

    write_batches(DenseSource(dense), sample_table(13), embeddings, VOCABULARY, tmp_path, 5)

    array = zarr.open_array(str(tmp_path / "embeddings/sae_recon.zarr"), mode="r")
    np.testing.assert_array_equal(array[:], vectors)
    assert [array.attrs[f"batch_{i:04d}_{end}"] for i in range(3) for end in ("start", "end")] == [0, 5, 5, 10, 10, 13]


def test_embeddings_with_other_rows_than_the_samples_are_refused_and_the_old_tree_stays(tmp_path: Path) -> None:
    dense = sparse_random(13, 6, 0.4)
    target = written(dense, tmp_path)
    before = {path: sha256_of_file(path) for path in files_below(target)}

    for n_rows in (12, 14):
        embeddings = {"sae_recon": [np.zeros((n_rows, 4), np.float32)]}
        with pytest.raises(LayoutError, match="embedding sae_recon"):
            write_batches(DenseSource(dense), sample_table(13), embeddings, VOCABULARY, target, 5)

    assert {path: sha256_of_file(path) for path in files_below(target)} == before


def test_writing_again_gives_the_same_bytes_and_keeps_what_others_put_beside(tmp_path: Path) -> None:
    dense = sparse_random(13, 6, 0.4)
    target = written(dense, tmp_path, batch_rows=3)
    (target / "precomputed").mkdir()
    (target / "precomputed/idf.parquet").write_bytes(b"somebody's")
    before = {path: sha256_of_file(path) for path in files_below(target)}

    written(dense, tmp_path, batch_rows=3)

    assert {path: sha256_of_file(path) for path in files_below(target)} == before


def test_what_a_killed_writer_left_is_gone_after_the_next_one(tmp_path: Path) -> None:
    left = staging_path(tmp_path / "activations_efficient" / "activations")
    left.mkdir(parents=True)
    (left / "half").touch()

    written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=3)

    assert not left.exists()


def test_a_write_that_fails_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=5)
    before = {path: sha256_of_file(path) for path in files_below(target)}

    class Breaks(DenseSource):
        def rows(self, block_rows: int) -> Iterator[SparseRows]:
            yield SparseRows.from_dense(self.dense[:4])
            raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        write_batches(Breaks(sparse_random(13, 6, 0.4, seed=5)), sample_table(13), None, VOCABULARY, target, 5)

    assert {path: sha256_of_file(path) for path in files_below(target)} == before
    assert not list(target.glob(".staging-*"))


def test_fewer_batches_than_before_leave_none_of_the_old_ones(tmp_path: Path) -> None:
    written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=3)

    target = written(sparse_random(4, 6, 0.4), tmp_path, batch_rows=3)

    assert BatchReader(target).n_samples == 4
    assert len(list((target / "metadata").iterdir())) == 2


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("block_rows", [1, 4, 1_000])
def test_rows_come_in_order_and_in_blocks_of_the_requested_size(case: str, block_rows: int, tmp_path: Path) -> None:
    dense = CASES[case]
    reader = BatchReader(written(dense, tmp_path, batch_rows=max(1, len(dense) // 3)))

    blocks = list(reader.rows(block_rows))

    assert [b.n_rows for b in blocks] == [min(block_rows, len(dense) - at) for at in range(0, len(dense), block_rows)]
    result = [b.to_dense(dense.shape[1]) for b in blocks] or [np.zeros((0, dense.shape[1]), np.float32)]
    np.testing.assert_array_equal(np.concatenate(result), dense)


def test_a_batch_of_several_shards_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splat_assets.store.guide.dense_arrays._CHUNK_BYTES", 4 * 6 * 2)
    dense = sparse_random(150, 6, 0.4)

    target = written(dense, tmp_path, batch_rows=100)

    array = zarr.open_array(str(target / "activations/batch_0000.zarr"), mode="r")
    assert (array.chunks, array.shards) == ((2, 6), (64, 6))
    np.testing.assert_array_equal(np.concatenate([b.to_dense(6) for b in BatchReader(target).rows(70)]), dense)


def test_one_sample_reads_alone_and_an_unknown_one_names_the_range(tmp_path: Path) -> None:
    dense = sparse_random(13, 6, 0.4)
    reader = BatchReader(written(dense, tmp_path, batch_rows=5))

    for sample_id in range(13):
        result = reader.sample(sample_id)
        np.testing.assert_array_equal(result.feature_ids, np.flatnonzero(dense[sample_id]))
        np.testing.assert_array_equal(result.values, dense[sample_id][result.feature_ids])
    with pytest.raises(SampleNotFoundError, match="samples 0 to 12"):
        reader.sample(13)


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=5)
    (target / "activations/batch_0001.zarr").rename(tmp_path / "elsewhere")

    with pytest.raises(LayoutError, match="not batch_0001.zarr"):
        BatchReader(target)


@pytest.mark.parametrize("name", ["batch_1.zarr", "batch_00001.zarr", "batch_0001_old.zarr"])
def test_a_batch_whose_number_is_written_otherwise_is_refused_by_name(name: str, tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=5)
    (target / "conversion_metadata.json").unlink()
    (target / "activations/batch_0002.zarr").rename(target / "activations" / name)

    with pytest.raises(LayoutError, match=rf"{name} is not numbered like batch_0000\.zarr"):
        BatchReader(target, sealed=False)


def test_a_stray_batch_with_a_huge_number_is_refused_at_once(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=5)
    (target / "activations/batch_0002.zarr").rename(target / "activations/batch_1700000000.zarr")

    with pytest.raises(LayoutError, match=r"batches up to 1700000000 but not batch_0002\.zarr"):
        BatchReader(target)


def test_a_missing_last_batch_is_noticed_by_the_conversion_metadata(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=5)
    (target / "activations/batch_0002.zarr").rename(tmp_path / "elsewhere")

    with pytest.raises(LayoutError, match="n_batches = 3, but 2"):
        BatchReader(target)


@pytest.mark.parametrize("key", ["n_batches", "total_samples", "n_features"])
def test_conversion_metadata_whose_counts_are_no_numbers_is_refused(key: str, tmp_path: Path) -> None:
    target = written(np.zeros((0, 6), np.float32), tmp_path)
    seal = target / "conversion_metadata.json"
    seal.write_text(json.dumps({**json.loads(seal.read_text()), key: "many"}))

    with pytest.raises(CorruptStoreError, match=f"says {key} = many, which is not a count"):
        BatchReader(target)


def test_an_array_of_another_shape_than_it_says_is_refused(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=13)
    described = target / "activations/batch_0000.zarr/zarr.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "shape": [13, 0]}))

    with pytest.raises(CorruptStoreError, match=r"batch_0000\.zarr says n_features = 6, its shape says 0"):
        BatchReader(target)


def test_an_unsealed_tree_is_refused(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path)
    (target / "conversion_metadata.json").unlink()

    with pytest.raises(LayoutError, match="convert again"):
        BatchReader(target)


@pytest.mark.parametrize("empty", [False, True])
def test_a_lost_shard_file_is_an_error_and_never_reads_as_zeros(empty: bool, tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=5)
    shard = target / "activations/batch_0001.zarr/c/0/0"
    shard.unlink()
    if empty:
        shard.touch()
    reader = BatchReader(target)

    with pytest.raises(CorruptStoreError, match="batch_0001.zarr has lost its file c/0/0"):
        reader.read(0)
    with pytest.raises(CorruptStoreError, match="batch_0001.zarr has lost its file c/0/0"):
        list(reader.rows(100))


def test_a_flipped_bit_anywhere_in_a_shard_is_an_error(tmp_path: Path) -> None:
    target = written(sparse_random(5, 6, 0.4), tmp_path, batch_rows=5)
    shard = target / "activations/batch_0000.zarr/c/0/0"
    good = shard.read_bytes()

    for at in range(len(good)):
        shard.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(CorruptStoreError, match="cannot be decoded"):
            list(BatchReader(target).rows(100))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_a_value_that_is_no_activation_is_refused_by_batch_and_row(value: float, tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path, batch_rows=5)
    zarr.open_array(str(target / "activations/batch_0001.zarr"), mode="r+")[3, 4] = value

    with pytest.raises(InvalidActivationsError, match=r"batch_0001.zarr: row 3, feature 4 holds"):
        list(BatchReader(target).rows(100))


def test_batches_of_different_saes_are_refused(tmp_path: Path) -> None:
    target = written(sparse_random(10, 6, 0.4), tmp_path, batch_rows=5)
    other = written(sparse_random(10, 8, 0.4), tmp_path / "other", batch_rows=5)
    (target / "activations/batch_0001.zarr").rename(tmp_path / "elsewhere")
    (other / "activations/batch_0001.zarr").rename(target / "activations/batch_0001.zarr")

    with pytest.raises(LayoutError, match="has 8 features, batch_0000.zarr has 6"):
        BatchReader(target)


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    source = DenseSource(sparse_random(13, 6, 0.4))
    shuffled = sample_table(13).with_columns(pl.col("global_index").reverse())
    strange = sample_table(13).with_columns(pl.lit([77], pl.List(pl.Int32)).alias("tokens"))

    for samples, message in ((sample_table(12), "12 rows"), (shuffled, "global_index 12"), (strange, "token 77")):
        with pytest.raises(LayoutError, match=message):
            write_batches(source, samples, None, VOCABULARY, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


class _Short(DenseSource):
    @property
    def n_samples(self) -> int:
        return super().n_samples + 1


class _Long(DenseSource):
    @property
    def n_samples(self) -> int:
        return super().n_samples - 1


@pytest.mark.parametrize("kind", [_Short, _Long])
def test_a_source_that_does_not_give_the_rows_it_promised_is_an_error(kind: type[DenseSource], tmp_path: Path) -> None:
    source = kind(sparse_random(13, 6, 0.4))

    with pytest.raises(CorruptStoreError, match="expected"):
        write_batches(source, sample_table(source.n_samples), None, VOCABULARY, tmp_path / "tree", 5)
    assert not list((tmp_path / "tree").iterdir())


def test_the_source_is_read_one_shard_of_rows_at_a_time(tmp_path: Path) -> None:
    requested: list[int] = []

    class Watched(DenseSource):
        def rows(self, block_rows: int) -> Iterator[SparseRows]:
            requested.append(block_rows)
            return super().rows(block_rows)

    source = Watched(np.zeros((3_000, 24_576), np.float32))
    write_batches(source, sample_table(3_000), None, VOCABULARY, tmp_path)

    assert requested == [2_048]
