"""Differences of means against scipy, also where cells are small."""

import numpy as np
import pytest
from scipy import stats

from splat_assets.analysis.effects import difference, interaction_contrast, standardised, stratified_difference
from splat_assets.analysis.grouped import grouped
from splat_assets.store.activations import Activations

SIZES = (4, 7, 40, 900)


def cells_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations, half of them zero, of another spread in each of four cells; and the cell of each sample."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(4), SIZES)
    dense = rng.exponential(codes + 1.0) * (rng.random(codes.size) < 0.5)
    return dense.astype(np.float32), codes.astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_a_difference_is_welchs(seed: int) -> None:
    dense, codes = cells_of(seed)
    for left, right in ((0, 1), (0, 3), (2, 1)):
        x, y = (dense[codes == one].astype(np.float64) for one in (left, right))
        expected = stats.ttest_ind(x, y, equal_var=False)

        found = difference(grouped(Activations.from_dense(dense), codes, 4), left, right)

        low, high = expected.confidence_interval(0.95)
        assert found.value == pytest.approx(x.mean() - y.mean(), abs=1e-9)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-6)


def test_one_stratum_is_no_stratum(seed: int = 3) -> None:
    dense, codes = cells_of(seed)
    cells = grouped(Activations.from_dense(dense), np.where(codes < 2, codes, -1), 2)

    found, plain = stratified_difference(cells, 1), difference(cells, 1, 0)

    assert (found.value, found.low, found.high, found.p) == pytest.approx((plain.value, plain.low, plain.high, plain.p))


def test_an_interval_of_a_contrast_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(4), 12).astype(np.int64)
    n_held = 0
    for _ in range(2_000):
        dense = np.maximum(rng.normal(5 + codes, 1.0), 0).astype(np.float32)  # the truth: 8 - 7 - 6 + 5 = 0
        found = interaction_contrast(grouped(Activations.from_dense(dense), codes, 4), 3, 2, 1, 0)
        n_held += found.low <= 0 <= found.high

    assert 0.935 < n_held / 2_000 < 0.965


def test_where_nothing_varies_or_too_little_is_known() -> None:
    same = grouped(Activations.from_dense(np.ones(6, np.float32)), np.array([0, 0, 0, 1, 1, 1]), 2)
    lonely = grouped(Activations.from_dense(np.ones(3, np.float32)), np.array([0, 1, 1]), 2)

    other = grouped(Activations.from_dense(np.array([1, 1, 1, 2, 2, 2], np.float32)), np.array([0, 0, 0, 1, 1, 1]), 2)
    assert difference(same, 0, 1).p == 1.0
    assert np.isnan([difference(other, 0, 1).p, difference(other, 0, 1).low]).all()  # nothing says how sure that is
    assert np.isnan(difference(lonely, 0, 1).p)
    assert np.isnan(standardised(same, 0, 1))
