"""The promises that every reader keeps, whatever lies underneath. A layout's tests inherit them and say how to open it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse

from splat_assets.store.activations import ActivationReader
from splat_assets.store.errors import FeatureNotFoundError
from tests.contracts.sources import sparse_random

Dense = npt.NDArray[np.float32]


def _every_sample() -> Dense:
    dense = sparse_random(23, 6, 0.2, seed=1)
    dense[:, 2] = np.linspace(0.5, 3.0, 23, dtype=np.float32)
    return dense


def _dead_features() -> Dense:
    dense = sparse_random(31, 9, 0.4, seed=2)
    dense[:, [0, 4, 8]] = 0
    return dense


def _silent_samples() -> Dense:
    dense = sparse_random(31, 9, 0.4, seed=3)
    dense[[0, 10, 30]] = 0
    return dense


def _extreme_values() -> Dense:
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    return np.array([[tiny, 0, 1], [0, huge, 0], [np.float32(1) + np.finfo(np.float32).eps, 0, 0]], dtype=np.float32)


CASES: dict[str, Dense] = {
    "random": sparse_random(40, 12, 0.3),
    "nothing active": np.zeros((8, 5), np.float32),
    "no samples": np.zeros((0, 5), np.float32),
    "one sample": sparse_random(1, 7, 0.5, seed=4),
    "one feature": sparse_random(19, 1, 0.5, seed=5),
    "one of each": np.ones((1, 1), np.float32),
    "all active": sparse_random(17, 5, 1.0, seed=6) + np.float32(0.01),
    "a feature on every sample": _every_sample(),
    "dead features, the first and last too": _dead_features(),
    "silent samples, the first and last too": _silent_samples(),
    "extreme values": _extreme_values(),
    "many samples": sparse_random(400, 4, 0.1, seed=7),
    "many features": sparse_random(6, 150, 0.05, seed=8),
}


class ReaderContract:
    """Subclasses give `open`: write `dense` (samples x features) below root, in small shards, and open it."""

    def open(self, dense: Dense, root: Path) -> ActivationReader:
        raise NotImplementedError

    @pytest.mark.parametrize("case", CASES)
    def test_every_feature_reads_back_exactly(self, case: str, tmp_path: Path) -> None:
        dense = CASES[case]

        reader = self.open(dense, tmp_path)

        assert (reader.n_samples, reader.n_features) == dense.shape
        for feature_id in range(dense.shape[1]):
            found = reader.read(feature_id)
            np.testing.assert_array_equal(found.sample_ids, np.flatnonzero(dense[:, feature_id]))
            np.testing.assert_array_equal(found.values, dense[found.sample_ids, feature_id])

    @pytest.mark.parametrize("case", CASES)
    def test_scipy_sees_the_same_matrix(self, case: str, tmp_path: Path) -> None:
        dense = CASES[case]
        expected = sparse.csc_array(dense)

        reader = self.open(dense, tmp_path)

        found = [reader.read(feature_id) for feature_id in range(dense.shape[1])]
        indptr = np.cumsum([0, *(one.n_active for one in found)])
        np.testing.assert_array_equal(indptr, expected.indptr)
        np.testing.assert_array_equal(np.concatenate([one.sample_ids for one in found]), expected.indices)
        np.testing.assert_array_equal(np.concatenate([one.values for one in found]), expected.data)

    def test_values_are_float32_and_ids_int32(self, tmp_path: Path) -> None:
        dense = CASES["dead features, the first and last too"]

        reader = self.open(dense, tmp_path)

        for feature_id in range(dense.shape[1]):
            found = reader.read(feature_id)
            assert found.values.dtype == np.float32
            assert found.sample_ids.dtype == np.int32

    @pytest.mark.parametrize("feature_id", [2, 900, -1])
    def test_an_unknown_feature_names_the_valid_range(self, feature_id: int, tmp_path: Path) -> None:
        reader = self.open(np.ones((3, 2), np.float32), tmp_path)

        with pytest.raises(FeatureNotFoundError, match=f"feature {feature_id} .*features 0 to 1"):
            reader.read(feature_id)

    def test_what_was_read_is_the_callers_own(self, tmp_path: Path) -> None:
        dense = CASES["a feature on every sample"]
        reader = self.open(dense, tmp_path)
        first = reader.read(2)
        before = first.values.copy()

        again = reader.read(2)

        assert not np.shares_memory(first.values, again.values)
        np.testing.assert_array_equal(again.values, before)

    def test_threads_read_what_one_reader_reads(self, tmp_path: Path) -> None:
        dense = CASES["random"]
        reader = self.open(dense, tmp_path)

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(reader.read, list(range(12)) * 4))

        for i, one in enumerate(found):
            np.testing.assert_array_equal(one.values, dense[one.sample_ids, i % 12])
            assert one.n_active == np.count_nonzero(dense[:, i % 12])
