import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splat_assets.analysis.inference.separation import auroc_bounds, separation

ACTIVATIONS = st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.5]), min_size=1, max_size=12)


def of(left: np.ndarray, right: np.ndarray) -> "tuple[float, float, float]":
    found = separation(left[left > 0], left.size, right[right > 0], right.size)
    assert found.auroc is not None and found.low is not None and found.high is not None
    return found.auroc, found.low, found.high


@given(ACTIVATIONS, ACTIVATIONS)
@settings(max_examples=200, deadline=None)
def test_it_is_the_share_of_pairs_that_the_left_wins(left: list[float], right: list[float]) -> None:
    a, b = np.array(left, np.float32), np.array(right, np.float32)
    wins = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2

    auroc, low, high = of(a, b)

    assert auroc == pytest.approx(wins)
    assert 0 <= low <= auroc <= high <= 1
    bounds = auroc_bounds(
        np.array([(a > 0).sum()], float), a.size, np.array([(b > 0).sum()], float), b.size
    )  # fmt: skip
    assert bounds[0][0] - 1e-9 <= wins <= bounds[1][0] + 1e-9


def test_the_interval_is_delongs_and_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    truth = of(*(_drawn(random, 20_000, shift) for shift in (0.7, 0.0)))[0]
    held = 0
    for _ in range(400):
        left, right = _drawn(random, 120, 0.7), _drawn(random, 90, 0.0)
        _, low, high = of(left, right)
        held += low <= truth <= high
        placements = ((left[:, None] > right) + (left[:, None] == right) / 2).astype(np.float64)
        variance = placements.mean(axis=1).var(ddof=1) / left.size + placements.mean(axis=0).var(ddof=1) / right.size
        assert high - low == pytest.approx(2 * 1.959964 * np.sqrt(variance), rel=1e-5)
    assert 0.92 <= held / 400 <= 0.98


def _drawn(random: np.random.Generator, n: int, shift: float) -> np.ndarray:
    """Activations of which about half are 0."""
    return np.maximum(random.normal(shift, 1, n), 0).astype(np.float32)


def test_an_empty_set_has_no_auroc() -> None:
    nothing = np.empty(0, np.float32)

    assert separation(nothing, 0, nothing, 3).auroc is None
