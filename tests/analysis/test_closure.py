"""What the model is sure of: legal, closed, and less of it with a higher threshold, whatever the model says."""

import numpy as np
import pytest

from splat_assets.analysis.builds.build_space import BuildSpace, Situation
from splat_assets.analysis.predictions.branches import close
from tests.analysis.predicting import Model, game_vocabulary, toy_model, toy_space

GAME = BuildSpace(game_vocabulary())
SEEDS = range(12)


def test_the_likeliest_is_added_first_and_the_next_query_holds_it() -> None:
    space, model = toy_space(), toy_model(seed=3, bias=1.0)

    found = close(model, space, [Situation(1, space.empty)], 0.6)[0]

    worn: set[int] = set()
    for token, p in found.added:
        row = model([(1, tuple(sorted(worn)))])[0]
        left = [other for other in range(5) if other not in worn]
        assert (token, p) == (max(left, key=lambda other: row[other]), row[token])
        worn |= {0, 1} if token == 1 else {token}
    rest = model([(1, tuple(sorted(worn)))])[0]
    assert all(rest[other] < 0.6 for other in range(5) if other not in worn)
    assert space.tokens(found.rungs) == tuple(sorted(worn))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_closure_can_be_worn_and_closing_it_again_adds_nothing(seed: int) -> None:
    model = Model(len(GAME.vocabulary), seed, scale=2.0, bias=1.0)

    found = close(model, GAME, [Situation(weapon, GAME.empty) for weapon in range(3)], 0.5)

    assert all(sum(one.rungs) > 3 and GAME.is_wearable(one.rungs) for one in found)
    assert [one.added for one in close(model, GAME, [one.situation for one in found], 0.5)] == [(), (), ()]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_higher_threshold_gives_a_part_of_it(seed: int) -> None:
    model = Model(len(GAME.vocabulary), seed, scale=2.0)
    start = [Situation(0, GAME.empty)]

    closures = [close(model, GAME, start, threshold)[0] for threshold in (0.3, 0.5, 0.7, 0.9, 0.99)]

    for lower, higher in zip(closures, closures[1:], strict=False):
        assert lower.added[: len(higher.added)] == higher.added
        assert np.all(np.array(lower.rungs) >= higher.rungs)


def test_starts_together_are_closed_as_they_are_alone() -> None:
    model = Model(len(GAME.vocabulary), 5)
    starts = [Situation(weapon, GAME.added(GAME.empty, token)) for weapon in range(3) for token in (0, 40, 130)]

    together = close(model, GAME, starts, 0.6)

    assert together == [close(model, GAME, [start], 0.6)[0] for start in starts]
