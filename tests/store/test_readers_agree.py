"""Every layout of the same activations, the sparse store in both profiles too, read alike; anndata and scipy agree."""

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import sparse

from splat_assets.store.activations import ActivationReader
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.guide.neuron_acts import NeuronActsReader, write_neuron_acts
from splat_assets.store.guide.transposed import TransposedReader, write_transposed
from splat_assets.store.raw import RawActivations, begin_raw_activations, write_shard
from splat_assets.store.sparse.layout import Chunking, accepting_pcodec
from splat_assets.store.sparse.merge import write_sparse_store
from splat_assets.store.sparse.reader import SparseReader
from tests.contracts.reader import CASES, Dense, ReaderContract
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table

SMALL_SHARDS = Chunking(inner=8, shard=32)


def write_sparse(dense: Dense, path: Path, profile: str) -> SparseReader:
    """From several raw shards where there are rows enough, into Zarr shards of 32 activations, so that features cross borders."""
    if len(dense) < 3:
        write_sparse_store(DenseSource(dense), path, profile, chunking=SMALL_SHARDS)
        return SparseReader(path)
    raw = path.parent / f"raw-{profile}"
    samples = sample_table(len(dense))
    bounds = [0, len(dense) // 3, len(dense) // 3 + 1, len(dense)]
    begin_raw_activations(raw, len(dense), 3)
    for i, (lo, hi) in enumerate(zip(bounds, bounds[1:], strict=False)):
        rows = next(DenseSource(dense[lo:hi]).rows(hi - lo))
        write_shard(raw / f"shard-{i:05d}", rows, samples.slice(lo, hi - lo), {}, dense.shape[1], {})
    write_sparse_store(RawActivations(raw), path, profile, memory_limit_bytes=2_000, chunking=SMALL_SHARDS)
    return SparseReader(path)


class TestSparseRaw(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        return write_sparse(dense, root / "activations.zarr", "raw")


class TestSparseCompact(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        return write_sparse(dense, root / "activations.zarr", "compact")


def all_readers(dense: Dense, root: Path) -> dict[str, ActivationReader]:
    """The layouts as the pipeline makes them: guide formats from the sparse store, not from memory."""
    store = write_sparse(dense, root / "raw.zarr", "raw")
    write_transposed(store, root / "transposed", memory_limit_bytes=4 * 3 * max(1, len(dense)))
    write_neuron_acts(store, root / "neuron_acts")
    write_batches(store, sample_table(len(dense)), None, VOCABULARY, root / "tree", max(1, len(dense) // 3))
    return {
        "sparse raw": store,
        "sparse compact": write_sparse(dense, root / "compact.zarr", "compact"),
        "transposed": TransposedReader(root / "transposed"),
        "neuron_acts": NeuronActsReader(root / "neuron_acts"),
        "batch scan": BatchReader(root / "tree"),
    }


def assert_all_hold(dense: Dense, root: Path) -> None:
    for name, reader in all_readers(dense, root).items():
        assert (reader.n_samples, reader.n_features) == dense.shape, name
        for feature_id in range(dense.shape[1]):
            result = reader.read(feature_id)
            expected = np.flatnonzero(dense[:, feature_id])
            np.testing.assert_array_equal(result.sample_ids, expected, err_msg=name)
            np.testing.assert_array_equal(result.values, dense[expected, feature_id], err_msg=name)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(0, 12), st.integers(1, 6)),
        elements=st.one_of(st.just(np.float32(0)), st.floats(0, 8, width=32)),
    )
)
def test_all_layouts_hold_any_activations_alike(tmp_path_factory: pytest.TempPathFactory, dense: Dense) -> None:
    assert_all_hold(np.abs(dense), tmp_path_factory.mktemp("layouts"))


@pytest.mark.parametrize("profile", ["raw", "compact"])
@pytest.mark.parametrize("case", CASES)
def test_anndata_and_scipy_read_the_store_as_it_is(case: str, profile: str, tmp_path: Path) -> None:
    dense = CASES[case]
    store = write_sparse(dense, tmp_path / "activations.zarr", profile)

    with accepting_pcodec():
        group = zarr.open_group(str(tmp_path / "activations.zarr"), mode="r")
        by_feature = ad.io.read_elem(group["X"])
        by_sample = ad.io.read_elem(group["layers/by_sample"])

    expected = sparse.csc_array(dense)
    for result in (by_feature, by_sample):
        assert result.shape == dense.shape
        assert (sparse.csc_array(result) != expected).nnz == 0
    for feature_id in range(dense.shape[1]):
        lo, hi = by_feature.indptr[feature_id], by_feature.indptr[feature_id + 1]
        np.testing.assert_array_equal(store.read(feature_id).sample_ids, by_feature.indices[lo:hi])
        np.testing.assert_array_equal(store.read(feature_id).values, by_feature.data[lo:hi])
    for sample_id in range(dense.shape[0]):
        lo, hi = by_sample.indptr[sample_id], by_sample.indptr[sample_id + 1]
        np.testing.assert_array_equal(store.sample(sample_id).feature_ids, by_sample.indices[lo:hi])
        np.testing.assert_array_equal(store.sample(sample_id).values, by_sample.data[lo:hi])
