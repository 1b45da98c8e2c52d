import numpy as np
import pytest

from splat_assets.errors import InputError
from splat_assets.sae.training.state import measure_inputs


def test_scaled_rows_have_as_much_variance_as_dimensions() -> None:
    x = np.random.default_rng(0).standard_normal((5000, 7)).astype(np.float32) * 3 + 2
    rows = np.arange(1000, 5000)

    found = measure_inputs(x, rows)

    scaled = x[rows] * found.scale
    assert np.square(scaled - scaled.mean(axis=0)).sum(axis=1).mean() == pytest.approx(7, rel=1e-5)
    np.testing.assert_allclose(found.mean, x[rows].mean(axis=0), rtol=1e-5)
    assert found.gamma == pytest.approx(2 / 3, rel=0.02)


def test_the_fingerprint_follows_every_row() -> None:
    x = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    changed = x.copy()
    changed[57, 1] += 1

    assert measure_inputs(x, np.arange(100)).fingerprint == measure_inputs(x.copy(), np.arange(100)).fingerprint
    assert measure_inputs(x, np.arange(100)).fingerprint != measure_inputs(changed, np.arange(100)).fingerprint
    assert measure_inputs(x, np.arange(100)).fingerprint != measure_inputs(x, np.arange(99)).fingerprint


def test_rows_that_cannot_be_trained_on_are_refused() -> None:
    x = np.ones((5, 3), dtype=np.float32)
    with pytest.raises(InputError, match="all 5 training rows are equal"):
        measure_inputs(x, np.arange(5))
    with pytest.raises(InputError, match="needs training rows"):
        measure_inputs(x, np.arange(0))
    with pytest.raises(InputError, match="training rows 0 to 5 are not all in 0 to 4"):
        measure_inputs(x, np.arange(6))
    x[2, 1] = np.nan
    with pytest.raises(InputError, match="row 2 of the activations holds a NaN"):
        measure_inputs(x, np.arange(5))


@pytest.mark.parametrize("size", [1e-12, 3e-7, 1e12])
def test_rows_may_be_of_any_size_as_long_as_they_differ(size: float) -> None:
    x = (np.random.default_rng(0).standard_normal((1000, 8)) * size).astype(np.float32)

    assert measure_inputs(x, np.arange(1000)).scale == pytest.approx(1 / size, rel=0.1)
    assert measure_inputs(x, np.arange(1000)).gamma < 0.1
