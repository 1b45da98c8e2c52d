import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from splat_assets.analysis.statistics import Distribution, effective_max, feature_statistics

positive = npst.arrays(np.float32, st.integers(1, 60), elements=st.floats(2.0**-40, 1e6, width=32))
QUANTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75, "q90": 0.9, "q95": 0.95, "q99": 0.99}


def assert_summary_equals_numpy(found: Distribution, values: npt.NDArray[np.float64]) -> None:
    assert (found.min, found.max) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.std == pytest.approx(values.std(), rel=1e-9, abs=1e-9 * found.max)
    for name, q in QUANTILES.items():
        assert getattr(found, name) == pytest.approx(np.quantile(values, q), rel=1e-12, abs=1e-300), name


@given(positive, st.integers(0, 80))
def test_statistics_equal_numpy_on_the_dense_row(values: npt.NDArray[np.float32], n_zero: int) -> None:
    dense = np.concatenate([values, np.zeros(n_zero, dtype=np.float32)]).astype(np.float64)

    found = feature_statistics(values, dense.size)

    assert found.over_active is not None and found.over_all is not None
    assert_summary_equals_numpy(found.over_active, values.astype(np.float64))
    assert_summary_equals_numpy(found.over_all, dense)
    assert found.effective_max == pytest.approx(np.quantile(values.astype(np.float64), 0.995), rel=1e-12)
    assert found.sparsity == pytest.approx(n_zero / dense.size)


def test_a_feature_that_never_fires_has_nothing_over_its_activations_and_zeros_over_all() -> None:
    found = feature_statistics(np.empty(0, dtype=np.float32), 4)

    assert found.over_active is None
    assert found.effective_max is None
    assert found.over_all == Distribution(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert found.sparsity == 1.0


def test_without_samples_statistics_are_none() -> None:
    found = feature_statistics(np.empty(0, dtype=np.float32), 0)

    assert (found.over_active, found.over_all, found.sparsity) == (None, None, None)


def test_sums_are_kept_in_float64() -> None:
    values = np.full(20_000_000 // 100, 0.1, dtype=np.float32)

    found = feature_statistics(values, values.size)

    assert found.over_active is not None
    assert found.over_active.mean == pytest.approx(float(np.float32(0.1)), rel=1e-14)
    assert found.over_active.std == pytest.approx(0, abs=1e-12)


def test_more_activations_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="2 activations cannot come from 1 samples"):
        feature_statistics(np.ones(2, dtype=np.float32), 1)


def test_one_outlier_does_not_move_the_effective_maximum_of_many_values() -> None:
    values = np.concatenate([np.ones(999, dtype=np.float32), [np.float32(1000)]])

    assert effective_max(values) == 1.0
