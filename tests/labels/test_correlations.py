"""Correlations of two stores in blocks: the same as numpy's on the dense arrays, for any block size, in bounded memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from splat_assets.store.published.publishing import publish
from splat_serving.database.local import LocalDatabase
from splat_serving.investigations.carry_labels import match_labels
from splat_serving.labels.correlations import correlation_blocks, nearest_features
from tests.contracts.reader import Dense
from tests.contracts.sources import sparse_random
from tests.labels.test_carry import subject_of
from tests.store.making import staged_parts


def database_of(root: Path, dense: Dense) -> LocalDatabase:
    publish(root / "store", staged_parts(root / "staged", dense), {"sae": "a" * 64})
    return LocalDatabase.open(root / "store")


@pytest.fixture(scope="module")
def dense() -> tuple[Dense, Dense]:
    """Right features 0 to 8 are those of the left in another order, with noise; left 3 and right 10 never fire."""
    rng = np.random.default_rng(0)
    left = sparse_random(300, 9, 0.2)
    left[:, 3] = 0
    left[:, 5] = left[:, 4]
    right = sparse_random(300, 12, 0.2, seed=1)
    right[:, :9] = np.where(rng.random((300, 9)) < 0.1, 0, left[:, ::-1])
    right[:, 10] = 0
    return left, right


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, dense: tuple[Dense, Dense]) -> tuple[LocalDatabase, LocalDatabase]:
    left, right = (database_of(tmp_path_factory.mktemp(name), one) for name, one in zip("lr", dense, strict=True))
    return left, right


@pytest.mark.parametrize("most_bytes", [1, 20_000, 2**28])
def test_blocks_of_any_size_give_the_correlations_of_the_dense_arrays(
    pair: tuple[LocalDatabase, LocalDatabase], dense: tuple[Dense, Dense], most_bytes: int
) -> None:
    features, steps = [8, 0, 3, 4, 5], []
    r = np.full((5, 12), np.nan)

    for rows, columns, block in correlation_blocks(
        *pair, features, lambda done, whole: steps.append((done, whole)), most_bytes
    ):
        r[rows, columns] = block
    nearest = nearest_features(*pair, features, most_bytes=most_bytes)

    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(np.corrcoef(dense[0][:, features].T, dense[1].T)[:5, 5:])
    np.testing.assert_allclose(r, expected, atol=1e-6)
    assert steps[-1] == (12, 12)
    assert len(steps) == {1: 5 * 12, 2**28: 1}.get(most_bytes, len(steps))
    np.testing.assert_array_equal(nearest.left, r.argmax(axis=1))
    np.testing.assert_array_equal(nearest.left_r, r.max(axis=1))
    np.testing.assert_array_equal(nearest.right, r.argmax(axis=0))
    np.testing.assert_array_equal(nearest.right_r, r.max(axis=0))


def test_labels_are_matched_without_a_dense_array_of_samples_and_labels(tmp_path: Path) -> None:
    n_samples, n_labels = 20_000, 40
    dense = np.zeros((n_samples, n_labels), dtype=np.float32)
    dense[np.arange(20 * n_labels), np.arange(20 * n_labels) % n_labels] = 1
    old, new = subject_of(tmp_path, dense, "a"), subject_of(tmp_path, dense[:, ::-1], "b")
    for feature in range(n_labels):
        old.labels.set(feature, {"text": "a label"}, "ann")

    tracemalloc.start()
    matches = match_labels(old, new)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [match.new for match in matches] == list(range(n_labels))[::-1]
    assert peak < dense.nbytes / 2
