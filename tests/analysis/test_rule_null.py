"""What noise reaches: by size, drawn once, moved between sizes by what a rule that always holds gains."""

import numpy as np
import pytest

from splat_assets.analysis.rules.null import RuleNull

N = 4_000


def always(ids: np.ndarray) -> float | None:
    """The F1 of a rule that holds on all, as a search would find it; sets of fewer than 25 are not searched."""
    return 2 * ids.size / (N + ids.size) if ids.size >= 25 else None


def null(n_draws: int = 15, drawn: dict[int, np.ndarray] | None = None) -> RuleNull:
    return RuleNull(always, N, least_active=10, seed=3, n_draws=n_draws, drawn=drawn)


def test_sizes_reach_from_the_rarest_feature_to_the_one_that_is_silent_least() -> None:
    sizes = null().sizes

    assert sizes[0] == 20
    assert 0.98 * N < sizes[-1] <= N - 20
    assert list(sizes) == sorted(set(sizes))


@pytest.mark.parametrize("size", [25, 100, 777, 1_500, 3_700, 3_950, 3_990])
def test_between_sizes_the_f1_of_always_is_followed(size: int) -> None:
    near = null().near(size)

    assert near.shape == (15,)
    if size >= 42:
        np.testing.assert_allclose(near, 2 * size / (N + size))


def test_what_was_drawn_is_not_drawn_again() -> None:
    first = null()
    first.near(777)
    held = {size: values + 0.125 for size, values in first.drawn.items()}

    np.testing.assert_allclose(null(drawn=held).near(777), first.near(777) + 0.125)


def test_the_same_seed_draws_the_same() -> None:
    def found(ids: np.ndarray) -> float:
        return float(ids[0]) / N

    one, again = (RuleNull(found, N, 10, 5, 30).of_size(100) for _ in range(2))

    np.testing.assert_array_equal(one, again)
    assert len(set(one.tolist())) > 5
