import copy
import json
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from splat_assets.errors import InputError
from splat_assets.store.activations import ActivationReader
from splat_assets.store.checksums import crc32c_of_bytes
from splat_assets.store.errors import CorruptStoreError, FeatureNotFoundError, LayoutError, SampleNotFoundError
from splat_assets.store.sparse.layout import Chunking
from splat_assets.store.sparse.ranges import ShardRanges, ZarrRanges
from splat_assets.store.sparse.reader import SparseReader
from tests.contracts.reader import CASES, ReaderContract
from tests.contracts.sources import sparse_random
from tests.store.making import DENSE, Dense, flip_byte, write_sparse


class TestRaw(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        return SparseReader(write_sparse(root / "activations.zarr", dense, "raw"))


class TestCompact(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        return SparseReader(write_sparse(root / "activations.zarr", dense, "compact"))


def test_a_store_without_consolidated_metadata_opens_just_the_same(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    metadata = json.loads((path / "zarr.json").read_text())
    del metadata["consolidated_metadata"]
    (path / "zarr.json").write_text(json.dumps(metadata))

    assert SparseReader(path).read(3).values.tolist() == [0.25, 4.0]


@pytest.mark.parametrize("profile", ["raw", "compact"])
@pytest.mark.parametrize("case", CASES)
def test_samples_and_rows_hold_what_features_hold(case: str, profile: str, tmp_path: Path) -> None:
    dense = CASES[case]

    reader = SparseReader(write_sparse(tmp_path / "a.zarr", dense, profile))

    for sample_id in {0, dense.shape[0] // 2, dense.shape[0] - 1} & set(range(dense.shape[0])):
        results = reader.sample(sample_id)
        np.testing.assert_array_equal(results.feature_ids, np.flatnonzero(dense[sample_id]))
        np.testing.assert_array_equal(results.values, dense[sample_id, results.feature_ids])
    blocks = [block.to_dense(dense.shape[1]) for block in reader.rows(11)]
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, dense.shape[1]), np.float32), *blocks]), dense)


def test_the_raw_profile_is_read_by_byte_range_and_the_compact_one_through_zarr(tmp_path: Path) -> None:
    raw = SparseReader(write_sparse(tmp_path / "raw.zarr", DENSE, "raw"))
    compact = SparseReader(write_sparse(tmp_path / "compact.zarr", DENSE, "compact"))

    assert isinstance(raw.by_feature.values, ShardRanges)
    assert isinstance(compact.by_feature.values, ZarrRanges)


def test_a_feature_may_cross_one_or_several_shard_boundaries(tmp_path: Path) -> None:
    dense = sparse_random(60, 9, 0.5)

    path = write_sparse(tmp_path / "a.zarr", dense, chunking=Chunking(4, 8))

    assert len(list((path / "X" / "data" / "c").iterdir())) > 25
    reader = SparseReader(path)
    for feature_id in range(9):
        np.testing.assert_array_equal(reader.read(feature_id).values, dense[dense[:, feature_id] > 0, feature_id])


def test_more_shards_than_descriptors_are_kept_open(tmp_path: Path) -> None:
    dense = sparse_random(300, 4, 0.9)
    reader = SparseReader(write_sparse(tmp_path / "a.zarr", dense, chunking=Chunking(2, 4)))

    before = len(os.listdir("/proc/self/fd"))
    for feature_id in range(4):
        np.testing.assert_array_equal(reader.read(feature_id).values, dense[dense[:, feature_id] > 0, feature_id])

    assert len(os.listdir("/proc/self/fd")) == before


def _n_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda reader: pickle.loads(pickle.dumps(reader))])
@pytest.mark.parametrize("profile", ["raw", "compact"])
def test_a_copy_of_a_reader_has_files_of_its_own(
    profile: str, copied: Callable[[SparseReader], SparseReader], tmp_path: Path
) -> None:
    reader = SparseReader(write_sparse(tmp_path / "a.zarr", DENSE, profile))
    before = _n_open_files()

    other = copied(reader)
    assert other.read(3).values.tolist() == [0.25, 4.0]
    del other

    assert _n_open_files() == before
    assert reader.read(3).values.tolist() == [0.25, 4.0]


def test_a_reader_works_in_other_processes(tmp_path: Path) -> None:
    reader = SparseReader(write_sparse(tmp_path / "a.zarr", DENSE))

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(reader.read, 3).result().values.tolist() == [0.25, 4.0]


def test_a_store_that_is_refused_leaves_no_file_open(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", sparse_random(60, 9, 0.5), chunking=Chunking(4, 8))
    (path / "X" / "data" / "c" / "5").unlink()
    before = _n_open_files()

    with pytest.raises(CorruptStoreError, match=r"X/data/c/5 is missing") as refused:
        SparseReader(path)
    del refused

    assert _n_open_files() == before


def test_more_than_65536_features_are_kept_as_int32(tmp_path: Path) -> None:
    dense = np.zeros((3, 70_000), np.float32)
    dense[0, 69_999], dense[0, 5], dense[2, 65_536] = 1.5, 2.5, 3.5

    reader = SparseReader(write_sparse(tmp_path / "a.zarr", dense, chunking=Chunking()))

    assert reader.sample(0).feature_ids.dtype == np.int32
    assert reader.sample(0).feature_ids.tolist() == [5, 69_999]
    assert reader.read(65_536).sample_ids.tolist() == [2]


def test_up_to_65536_features_are_kept_as_uint16(tmp_path: Path) -> None:
    dense = np.zeros((1, 65_536), np.float32)
    dense[0, 65_535] = 1

    reader = SparseReader(write_sparse(tmp_path / "a.zarr", dense, chunking=Chunking()))

    assert reader.sample(0).feature_ids.dtype == np.uint16
    assert reader.sample(0).feature_ids.tolist() == [65_535]


def test_an_unknown_sample_names_the_valid_range(tmp_path: Path) -> None:
    reader = SparseReader(write_sparse(tmp_path / "a.zarr", DENSE))

    with pytest.raises(SampleNotFoundError, match=r"sample 5 .*samples 0 to 4"):
        reader.sample(5)
    with pytest.raises(FeatureNotFoundError, match=r"a\.zarr"):
        reader.read(4)


@pytest.mark.parametrize("given", [1.5, 3.0, "3", None, np.float64(3)])
def test_what_is_no_whole_number_is_no_feature_and_no_sample(given: Any, tmp_path: Path) -> None:
    reader = SparseReader(write_sparse(tmp_path / "a.zarr", DENSE))

    with pytest.raises(InputError, match="is not a feature id: a feature is named by a whole number"):
        reader.read(given)
    with pytest.raises(InputError, match="is not a sample id: a sample is named by a whole number"):
        reader.sample(given)
    assert reader.read(np.uint16(3)).sample_ids.tolist() == [3, 4]  # type: ignore[arg-type]


def test_counts_per_feature_and_sample_are_known_without_reading(tmp_path: Path) -> None:
    reader = SparseReader(write_sparse(tmp_path / "a.zarr", DENSE))

    assert reader.feature_n_active.tolist() == [2, 0, 5, 2]
    assert np.diff(reader.by_sample.indptr).tolist() == [2, 1, 1, 3, 2]


@pytest.mark.parametrize("profile", ["raw", "compact"])
@pytest.mark.parametrize("part", ["indices", "data"])
def test_a_flipped_byte_is_detected_by_the_feature_it_belongs_to(part: str, profile: str, tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE, profile)
    flip_byte(path / "X" / part / "c" / "0", 9)

    with pytest.raises(CorruptStoreError, match=rf"X/{part}/c/0"):
        SparseReader(path).read(2)


def test_a_flipped_byte_leaves_other_features_readable(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    flip_byte(path / "X" / "data" / "c" / "0", 9)

    assert SparseReader(path).read(0).values.tolist() == [0.5, 2.0]
    with pytest.raises(CorruptStoreError, match=r"feature 2 of .* fails its crc32c"):
        SparseReader(path).read(2)


@pytest.mark.parametrize("part", ["indices", "data"])
def test_a_flipped_byte_is_detected_by_the_sample_it_belongs_to(part: str, tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    flip_byte(path / "layers" / "by_sample" / part / "c" / "0", 0)

    reader = SparseReader(path)

    with pytest.raises(CorruptStoreError, match=rf"sample 0 of .*by_sample/{part}/c/0"):
        reader.sample(0)
    with pytest.raises(CorruptStoreError, match="sample 0 of"):
        list(reader.rows(3))
    assert reader.sample(1).values.tolist() == [1.0]


@pytest.mark.parametrize("profile", ["raw", "compact"])
@pytest.mark.parametrize("part", ["indices", "data"])
def test_a_missing_shard_is_named_when_the_store_is_opened(part: str, profile: str, tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", sparse_random(40, 5, 0.5), profile)
    (path / "X" / part / "c" / "1").unlink()

    with pytest.raises(CorruptStoreError, match=rf"X/{part}/c/1 is missing"):
        SparseReader(path)


def test_a_shard_cut_short_is_named_when_the_store_is_opened(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    shard = path / "X" / "data" / "c" / "0"
    shard.write_bytes(shard.read_bytes()[:-5])

    with pytest.raises(CorruptStoreError, match=r"X/data/c/0 .* cut short"):
        SparseReader(path)


def test_a_shard_cut_short_while_it_is_open_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    reader = SparseReader(path)
    os.truncate(path / "X" / "data" / "c" / "0", 10)

    with pytest.raises(CorruptStoreError, match="cut short"):
        reader.read(2)


@pytest.mark.parametrize("name", ["X/indptr", "var/n_active", "X/data", "var/crc32c"])
def test_a_missing_array_is_named(name: str, tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    shutil.rmtree(path / name)

    with pytest.raises(CorruptStoreError, match=rf"{name}.* is missing"):
        SparseReader(path)


def test_offsets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    zarr.open_array(path / "X" / "indptr", mode="r+")[3] = 8

    with pytest.raises(CorruptStoreError, match="X/indptr and var/n_active disagree at 2"):
        SparseReader(path)


def test_offsets_that_decrease_are_refused(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    zarr.open_array(path / "X" / "indptr", mode="r+")[1] = 3

    with pytest.raises(CorruptStoreError, match="X/indptr does not run from 0 to 9"):
        SparseReader(path)


def test_what_is_no_sparse_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="does not hold a Zarr group"):
        SparseReader(tmp_path / "nothing")
    zarr.open_group(tmp_path / "other.zarr", mode="w", zarr_format=3)
    with pytest.raises(LayoutError, match="not a sparse store of activations"):
        SparseReader(tmp_path / "other.zarr")


@pytest.mark.parametrize(
    "text", ["[]", "null", "1", '"x"', "{", '{"zarr_format": 3, "node_type": "group", "attributes": []}']
)
def test_a_root_that_is_no_description_of_a_group_is_refused(text: str, tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    (path / "zarr.json").write_text(text)

    with pytest.raises(CorruptStoreError, match=r"a\.zarr/zarr\.json cannot be read"):
        SparseReader(path)


def test_a_store_of_another_format_version_is_refused(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["splat"]["format_version"] = 2
    (path / "zarr.json").write_text(json.dumps(metadata))

    with pytest.raises(LayoutError, match="format version 2; this program reads version 1"):
        SparseReader(path)


def test_chunks_in_another_order_are_read_through_zarr(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dense = sparse_random(40, 5, 0.5)
    path = write_sparse(tmp_path / "a.zarr", dense)
    _swap_first_two_chunks(path / "X" / "data" / "c" / "0", chunk_bytes=4 * 4, n_chunks=16)

    reader = SparseReader(path)

    assert isinstance(reader.by_feature.values, ZarrRanges)
    assert "another order" in caplog.text
    for feature_id in range(5):
        np.testing.assert_array_equal(reader.read(feature_id).values, dense[dense[:, feature_id] > 0, feature_id])


def _swap_first_two_chunks(shard: Path, chunk_bytes: int, n_chunks: int) -> None:
    content = shard.read_bytes()
    first, second = content[:chunk_bytes], content[chunk_bytes : 2 * chunk_bytes]
    index = np.frombuffer(content[-(n_chunks * 16 + 4) : -4], "<u8").reshape(n_chunks, 2).copy()
    index[[0, 1]] = index[[1, 0]]
    body = second + first + content[2 * chunk_bytes : -(n_chunks * 16 + 4)]
    shard.write_bytes(body + index.tobytes() + crc32c_of_bytes(index).to_bytes(4, "little"))
