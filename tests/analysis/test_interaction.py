"""The test of interactions: it finds what is planted, and finds nothing where abilities add up, as often as it says."""

from collections.abc import Callable

import numpy as np
import pytest

from splat_assets.analysis.inference.interaction import additive_fit, interaction_of_cells, interaction_of_factorial

SEEDS = 200
PLANTED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
}


def p_of_cells(kind: str, seed: int) -> float:
    """Samples in 3 x 3 cells; where the rule holds a feature fires often, elsewhere seldom; activations are skewed."""
    rng = np.random.default_rng(seed)
    x, y = rng.choice(3, 1_200, p=[0.5, 0.3, 0.2]), rng.choice(3, 1_200, p=[0.6, 0.25, 0.15])
    if kind == "additive":
        chance = 0.1 + 0.2 * x + 0.15 * y
    else:
        chance = np.where(PLANTED[kind](x >= 1, y >= 1), 0.85, 0.05)
    values = np.where(rng.random(x.size) < chance, rng.exponential(1, x.size) + 0.3, 0)
    codes, fires = x * 3 + y, values > 0
    n = np.bincount(codes, minlength=9).reshape(3, 3)
    found = interaction_of_cells(codes[fires], values[fires], n, np.random.default_rng([seed, 1]), n_draws=499)
    assert found.p is not None
    return found.p


def p_of_factorial(kind: str, seed: int) -> float:
    """Sixty builds in all of 3 x 3 cells, on a third of which nothing happens."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(range(3), range(3), indexing="ij")
    shape = 0.3 * x + 0.2 * y if kind == "additive" else PLANTED[kind](x >= 1, y >= 1).astype(float)
    strength = rng.exponential(1, (60, 1, 1)) * (rng.random((60, 1, 1)) < 0.67)
    found = interaction_of_factorial(
        strength * shape + rng.normal(0, 0.2, (60, 3, 3)), np.random.default_rng([seed, 1]), 499
    )
    assert found.p is not None
    return found.p


@pytest.mark.parametrize("p_of", [p_of_cells, p_of_factorial])
@pytest.mark.parametrize("kind", PLANTED)
def test_planted_interactions_are_significant(p_of: Callable[[str, int], float], kind: str) -> None:
    power = np.mean([p_of(kind, seed) <= 0.05 for seed in range(SEEDS)])

    assert power >= 0.95


@pytest.mark.parametrize("p_of", [p_of_cells, p_of_factorial])
def test_where_abilities_add_up_one_in_twenty_is_called_an_interaction(p_of: Callable[[str, int], float]) -> None:
    called = np.mean([p_of("additive", seed) <= 0.05 for seed in range(SEEDS)])

    assert 0.03 <= called <= 0.07


def test_an_additive_table_leaves_nothing() -> None:
    rows, columns = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0])
    means = rows[:, None] + columns[None, :]
    weights = np.array([[3.0, 1], [2, 7], [0, 4]])

    fitted = additive_fit(means, weights)

    np.testing.assert_allclose(fitted[weights > 0], means[weights > 0], atol=1e-12)
    assert np.isnan(fitted[2, 0])


def test_the_share_is_that_of_the_sums_of_squares() -> None:
    means = np.array([[0.0, 0], [0, 1]])
    codes = np.array([3] * 50)
    n = np.full((2, 2), 50)

    found = interaction_of_cells(codes, np.ones(50), n, np.random.default_rng(0))

    left = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    assert found.share == pytest.approx((left**2).sum() / ((means - means.mean()) ** 2).sum())
    assert found.p == pytest.approx(1 / 1_000)


@pytest.mark.parametrize("n", [np.array([[50, 50]]), np.array([[50, 0], [0, 50]]), np.array([[50, 2], [50, 50]])])
def test_too_few_cells_differ_from_no_interaction(n: np.ndarray) -> None:
    found = interaction_of_cells(np.array([0, 0]), np.array([1.0, 2.0]), n, np.random.default_rng(0))

    assert (found.share, found.p) == (None, None)


def test_a_feature_that_never_fires_has_no_interaction() -> None:
    none = np.zeros(0, dtype=np.int64)

    found = interaction_of_cells(none, none.astype(float), np.full((2, 2), 50), np.random.default_rng(0))

    assert (found.share, found.p) == (None, None)
