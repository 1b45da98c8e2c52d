"""Intervals and adjusted p-values, against figures that were published or computed by hand."""

import numpy as np
import pytest

from splat_assets.analysis.inference.intervals import benjamini_hochberg, bootstrap_mean_interval, wilson_interval


@pytest.mark.parametrize(
    ("n_hits", "n", "low", "high"), [(10, 100, 0.0552, 0.1744), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)]
)
def test_the_interval_of_a_share_is_wilsons(n_hits: int, n: int, low: float, high: float) -> None:
    lower, upper = wilson_interval(n_hits, n)

    assert (float(lower), float(upper)) == pytest.approx((low, high), abs=5e-5)


def test_wider_levels_are_wider() -> None:
    narrow, wide = wilson_interval(3, 10, 0.5), wilson_interval(3, 10, 0.99)

    assert wide[0] < narrow[0] < 0.3 < narrow[1] < wide[1]


def test_adjusted_p_values_are_those_of_the_published_example() -> None:
    """The fifteen p-values of Benjamini and Hochberg (1995), section 3.1: four are rejected at 5 %."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]

    q = benjamini_hochberg(p)

    assert (q <= 0.05).sum() == 4
    assert q[3:6] == pytest.approx([0.0095 * 15 / 4, 0.0201 * 15 / 5, 0.0298 * 15 / 7])
    assert (np.diff(q) >= 0).all() and q[-1] == 1.0
    shuffled = np.random.default_rng(0).permutation(len(p))
    np.testing.assert_array_equal(benjamini_hochberg(np.array(p)[shuffled]), q[shuffled])


def test_what_was_not_tested_is_not_counted() -> None:
    q = benjamini_hochberg([0.01, np.nan, 0.04])

    assert np.isnan(q[1])
    assert q[[0, 2]] == pytest.approx([0.02, 0.04])


def test_the_bootstrap_of_a_mean_covers_it() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        values = rng.exponential(size=30)
        low, high = bootstrap_mean_interval(values, 10, rng)
        hits += low <= 0.75 <= high

    assert 0.86 * 200 <= hits <= 200
