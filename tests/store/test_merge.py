import errno
import json
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from splat_assets.errors import InputError
from splat_assets.store.activations import SparseRows
from splat_assets.store.disk import DiskFullError, explaining_write_errors
from splat_assets.store.errors import InvalidActivationsError, StoreError
from splat_assets.store.raw import RawActivations
from splat_assets.store.sparse.layout import Chunking, accepting_pcodec, blocks_of
from splat_assets.store.sparse.merge import build_segments, write_sparse_store
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.text.progress import SilentProgress
from tests.contracts.reader import CASES
from tests.contracts.sources import DenseSource, sparse_random
from tests.store.making import DENSE, SMALL, Dense, bytes_below, flip_byte, write_raw, write_sparse

TINY_MEMORY = 32 * 60
"""Sixty activations to a segment."""


@pytest.mark.parametrize("profile", ["raw", "compact"])
@pytest.mark.parametrize("case", CASES)
def test_anndata_and_scipy_read_both_orientations(case: str, profile: str, tmp_path: Path) -> None:
    dense = CASES[case]
    path = write_sparse(tmp_path / "a.zarr", dense, profile)

    with accepting_pcodec():
        result = anndata.read_zarr(path)

    assert isinstance(result.X, sp.csc_matrix)
    assert isinstance(result.layers["by_sample"], sp.csr_matrix)
    for matrix in (result.X, result.layers["by_sample"]):
        np.testing.assert_array_equal(matrix.toarray(), dense)
        assert matrix.has_sorted_indices
    assert result.obs["n_active"].tolist() == np.count_nonzero(dense, axis=1).tolist()
    assert result.var["n_active"].tolist() == np.count_nonzero(dense, axis=0).tolist()
    assert result.var_names.tolist() == [str(i) for i in range(dense.shape[1])]


def test_xarray_opens_every_group(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)

    by_feature = xr.open_zarr(path, group="X")
    samples = xr.open_zarr(path, group="obs")

    assert dict(by_feature.sizes) == {"nnz": 9, "indptr": 5}
    assert by_feature["data"].values.tolist() == [0.5, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.25, 4.0]
    assert samples["n_active"].sel(sample="3").item() == 3
    assert dict(xr.open_zarr(path, group="layers/by_sample").sizes) == {"nnz": 9, "indptr": 6}


@settings(max_examples=10, deadline=None)
@given(
    dense=npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 8)),
        elements=st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.25, 3e-39]),
    )
)
def test_whatever_is_written_reads_back_by_feature_and_by_sample(
    dense: Dense, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("store") / "a.zarr"

    write_sparse_store(DenseSource(dense), path, memory_limit_bytes=TINY_MEMORY, chunking=SMALL)

    reader = SparseReader(path)
    by_feature = np.zeros_like(dense)
    for feature_id in range(dense.shape[1]):
        result = reader.read(feature_id)
        by_feature[result.sample_ids, feature_id] = result.values
    np.testing.assert_array_equal(by_feature, dense)
    np.testing.assert_array_equal(np.concatenate([b.to_dense(dense.shape[1]) for b in reader.rows(7)]), dense)


@pytest.mark.parametrize("profile", ["raw", "compact"])
def test_the_same_rows_give_the_same_bytes_whatever_the_memory_limit(profile: str, tmp_path: Path) -> None:
    dense = sparse_random(60, 20, 0.2)
    limits = {"all at once": 2**29, "some segments": TINY_MEMORY, "a row at a time": 1}

    for name, limit in limits.items():
        write_sparse_store(
            DenseSource(dense), tmp_path / name / "a.zarr", profile, memory_limit_bytes=limit, chunking=SMALL
        )

    first, *others = (bytes_below(tmp_path / name) for name in limits)
    assert all(other == first for other in others)


def test_no_more_is_held_than_the_limit_allows(tmp_path: Path) -> None:
    dense = sparse_random(300, 40, 0.1)
    requested: list[int] = []

    class Watched(DenseSource):
        def rows(self, block_rows: int) -> Iterator[SparseRows]:
            requested.append(block_rows)
            return super().rows(block_rows)

    write_sparse_store(Watched(dense), tmp_path / "a.zarr", memory_limit_bytes=32 * 120, chunking=SMALL)

    assert requested == [3]


def test_rows_fill_a_segment_as_activations_do(tmp_path: Path) -> None:
    one_activation_each = DenseSource(np.repeat(np.eye(4, dtype=np.float32)[:1], 20, axis=0))

    segments = build_segments(one_activation_each, tmp_path / "segments", 16, SilentProgress())

    assert [segment.n_rows for segment in segments] == [8, 8, 4]


def test_a_store_says_which_raw_activations_it_was_made_from(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", DENSE, 2)

    write_sparse_store(raw, tmp_path / "a.zarr")

    assert SparseReader(tmp_path / "a.zarr").source == raw.fingerprint
    assert SparseReader(write_sparse(tmp_path / "b.zarr", DENSE)).source is None


def test_what_was_written_is_reported(tmp_path: Path) -> None:
    written = write_sparse_store(DenseSource(DENSE), tmp_path / "a.zarr")

    assert (written.n_samples, written.n_features, written.nnz) == (5, 4, 9)
    assert written.size_bytes == sum(len(content) for content in bytes_below(tmp_path / "a.zarr").values())
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    write_sparse(tmp_path / "a.zarr", DENSE)
    write_sparse(tmp_path / "a.zarr", DENSE[:2])

    assert SparseReader(tmp_path / "a.zarr").n_samples == 2


def test_other_things_in_the_scratch_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "mine.txt").write_text("keep me")

    write_sparse_store(DenseSource(DENSE), tmp_path / "a.zarr", scratch=tmp_path / "scratch")

    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5, 0.0, -0.0])
def test_a_value_that_is_not_above_zero_is_refused_and_nothing_is_left(bad: float, tmp_path: Path) -> None:
    class Broken(DenseSource):
        def rows(self, block_rows: int) -> Iterator[SparseRows]:
            for block in super().rows(block_rows):
                block.values[-1] = bad
                yield block

    with pytest.raises(InvalidActivationsError, match="samples 0 to 4: row 4 holds feature 3"):
        write_sparse_store(Broken(DENSE), tmp_path / "a.zarr")

    assert list(tmp_path.iterdir()) == []


def test_a_source_that_ends_early_is_refused(tmp_path: Path) -> None:
    class Short(DenseSource):
        def rows(self, block_rows: int) -> Iterator[SparseRows]:
            yield SparseRows.from_dense(DENSE[:3])

    with pytest.raises(InvalidActivationsError, match="ended after 3 of 5 samples"):
        write_sparse_store(Short(DENSE), tmp_path / "a.zarr")


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown profile 'zip': use raw or compact"):
        write_sparse_store(DenseSource(DENSE), tmp_path / "a.zarr", "zip")


def test_a_shard_must_be_a_whole_number_of_chunks() -> None:
    with pytest.raises(InputError, match="a shard of 10 elements"):
        Chunking(inner=4, shard=10)


class _StopsAfter(DenseSource):
    """A source that fails once it has given a number of rows, and counts what was requested."""

    fingerprint = "f" * 64

    def __init__(self, dense: Dense, most_rows: int) -> None:
        super().__init__(dense)
        self.most_rows = most_rows
        self.first_asked: list[int] = []

    def rows(self, block_rows: int, start: int = 0) -> Iterator[SparseRows]:
        self.first_asked.append(start)
        for at in range(start, self.n_samples, block_rows):
            if at + block_rows > self.most_rows:
                raise OSError(errno.EIO, "the disk is gone")
            yield SparseRows.from_dense(self.dense[at : at + block_rows])


def _interrupted(dense: Dense, target: Path) -> None:
    with pytest.raises(OSError, match="disk is gone"):
        write_sparse_store(_StopsAfter(dense, 200), target, memory_limit_bytes=TINY_MEMORY, chunking=SMALL)
    assert not target.exists()


def test_an_interrupted_write_goes_on_with_its_finished_segments(tmp_path: Path) -> None:
    dense = sparse_random(300, 40, 0.1)
    _interrupted(dense, tmp_path / "a.zarr")

    again = _StopsAfter(dense, 1000)
    write_sparse_store(again, tmp_path / "a.zarr", memory_limit_bytes=TINY_MEMORY, chunking=SMALL)

    assert again.first_asked[0] > 100
    write_sparse_store(_StopsAfter(dense, 5000), tmp_path / "b" / "a.zarr", chunking=SMALL)
    assert bytes_below(tmp_path / "a.zarr") == bytes_below(tmp_path / "b" / "a.zarr")


def test_a_damaged_segment_is_made_again(tmp_path: Path) -> None:
    dense = sparse_random(300, 40, 0.1)
    _interrupted(dense, tmp_path / "a.zarr")
    segments = tmp_path / ".staging-segments-a.zarr"
    flip_byte(segments / "segment-00002" / "values.npy", -1)
    rows_before = sum(
        json.loads((segments / f"segment-0000{i}" / "receipt.json").read_text())["n_rows"] for i in range(2)
    )

    again = _StopsAfter(dense, 1000)
    write_sparse_store(again, tmp_path / "a.zarr", memory_limit_bytes=TINY_MEMORY, chunking=SMALL)

    assert again.first_asked == [rows_before]
    np.testing.assert_array_equal(
        np.concatenate([b.to_dense(40) for b in SparseReader(tmp_path / "a.zarr").rows(99)]), dense
    )


def test_segments_of_other_rows_are_not_used(tmp_path: Path) -> None:
    _interrupted(sparse_random(300, 40, 0.1), tmp_path / "a.zarr")
    other = sparse_random(300, 40, 0.1, seed=1)
    raw = write_raw(tmp_path / "raw", other, 100)

    write_sparse_store(raw, tmp_path / "a.zarr", memory_limit_bytes=TINY_MEMORY, chunking=SMALL)

    np.testing.assert_array_equal(
        np.concatenate([b.to_dense(40) for b in SparseReader(tmp_path / "a.zarr").rows(99)]), other
    )


def test_raw_shards_of_any_size_give_the_same_matrices(tmp_path: Path) -> None:
    dense = sparse_random(60, 12, 0.2)

    for rows_per_shard in (60, 7):
        raw: RawActivations = write_raw(tmp_path / f"raw{rows_per_shard}", dense, rows_per_shard)
        write_sparse_store(raw, tmp_path / f"{rows_per_shard}.zarr")

    first, second = (zarr.open_group(tmp_path / f"{n}.zarr", mode="r") for n in (60, 7))
    for name in ("X/data", "X/indices", "X/indptr", "layers/by_sample/data", "var/crc32c", "obs/crc32c"):
        np.testing.assert_array_equal(first[name][:], second[name][:])


def test_blocks_of_features_hold_at_most_the_limit_or_one_feature() -> None:
    indptr = np.array([0, 3, 3, 10, 11, 12, 12])

    assert list(blocks_of(indptr, 4)) == [(0, 2), (2, 3), (3, 6)]
    assert list(blocks_of(indptr, 100)) == [(0, 6)]
    assert list(blocks_of(np.array([0]), 4)) == []


def test_a_full_disk_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"no space left for a table in .* MiB free\): free some space"):
        with explaining_write_errors("a table", tmp_path / "not" / "there"):
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StoreError, match="a table cannot be written"):
        with explaining_write_errors("a table", tmp_path):
            raise OSError(errno.EACCES, "Permission denied")
