import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from splat_assets.analysis.inference.similarity import highest, inverse_spread, jaccard, pearson, unit_rows

rows = npst.arrays(np.float64, st.tuples(st.integers(2, 30), st.just(2)), elements=st.sampled_from([0, 0, 0.5, 1, 3]))


def correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    spread_x, spread_y = (inverse_spread(v.sum(), v @ v, v.size) for v in (x, y))
    return float(pearson(x @ y, x.sum(), y.sum(), spread_x, spread_y, x.size))


@given(rows)
def test_pearson_from_sums_equals_numpy(dense: npt.NDArray[np.float64]) -> None:
    x, y = dense.T
    constant = x.std() == 0 or y.std() == 0

    assert correlation(x, y) == pytest.approx(0.0 if constant else np.corrcoef(x, y)[0, 1], abs=1e-9)


def test_a_constant_has_no_correlation_even_when_rounding_gives_it_a_variance() -> None:
    x = np.full(100_000, float(np.float32(0.1)))
    sum_x, sum_xx = np.cumsum(x)[-1], np.cumsum(x * x)[-1]

    assert sum_xx - sum_x**2 / x.size > 0
    assert inverse_spread(sum_x, sum_xx, x.size) == 0


def test_jaccard_is_shared_over_either_and_zero_for_two_that_never_fire() -> None:
    assert jaccard([2, 0, 0], [3, 1, 0], [4, 1, 0]).tolist() == [0.4, 0.0, 0.0]


def test_unit_rows_have_length_one_and_rows_of_zeros_stay() -> None:
    assert unit_rows(np.array([[3, 4], [0, 0]], dtype=np.float32)).tolist() == [[0.6, 0.8], [0, 0]]


def test_the_highest_are_above_zero_and_equal_ones_in_order() -> None:
    assert highest(np.array([0.5, -1, 0, 0.7, 0.5]), 10).tolist() == [3, 0, 4]
    assert highest(np.array([0.5, -1, 0, 0.7, 0.5]), 2).tolist() == [3, 0]
