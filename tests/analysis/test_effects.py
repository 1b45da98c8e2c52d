"""Differences of means against scipy, also where cells are small."""

import numpy as np
import pytest
from scipy import stats

from splat_assets.analysis.inference.grouped import (
    difference,
    grouped,
    interaction_contrast,
    standardised,
    stratified_difference,
)
from splat_assets.analysis.inference.intervals import bootstrap_mean_interval, resampled_mean_interval
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


@pytest.mark.parametrize("n_zeros", [3, 100])
@pytest.mark.parametrize("n_active", [20, 60, 400])
def test_moments_tell_the_interval_that_endless_resamples_would(n_active: int, n_zeros: int) -> None:
    rng = np.random.default_rng(n_active)
    for values in (rng.exponential(1, n_active), rng.lognormal(0, 1, n_active), rng.uniform(0.2, 1, n_active)):
        zeros = n_zeros * n_active
        exact = np.array(bootstrap_mean_interval(values, zeros, np.random.default_rng(1), n_draws=40_000))
        drawn = np.array(bootstrap_mean_interval(values, zeros, np.random.default_rng(2)))
        powers = [[(values**power).sum()] for power in (1, 2, 3, 4)]

        told = np.array(resampled_mean_interval([n_active + zeros], powers))[:, 0]

        width = exact[1] - exact[0]
        assert np.abs(told - exact).max() / width < 0.02
        assert np.abs(drawn - exact).max() / width < 0.08  # what 2,000 draws miss


def test_intervals_of_means_hold_where_nothing_varies_or_nothing_is() -> None:
    low, high = resampled_mean_interval([30, 30, 0], [[30.0, 0, 0], [30.0, 0, 0], [30.0, 0, 0], [30.0, 0, 0]])

    assert (low[0], high[0]) == (1, 1)
    assert (low[1], high[1]) == (0, 0)
    assert np.isnan(low[2]) and np.isnan(high[2])


def test_the_interval_of_a_group_covers_its_mean() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        fires = rng.random(600) < 0.15
        ids = np.flatnonzero(fires).astype(np.int32)
        found = Activations(ids, rng.exponential(1, ids.size).astype(np.float32))
        low, high = grouped(found, np.zeros(600, dtype=np.int64), 1).mean_interval(seed)
        covered += low[0] <= 0.15 <= high[0]
    assert 180 <= covered <= 198
