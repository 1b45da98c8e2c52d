"""The likeliest builds: what a search of everything finds, and paths that can be followed."""

import math

import numpy as np
import pytest

from splat_assets.analysis.builds.build_space import BuildSpace, Situation
from splat_assets.analysis.predictions.beam import beam_search
from tests.analysis.predicting import Model, game_vocabulary, toy_model, toy_space


def all_scores(model: Model, weapon: int) -> dict[frozenset[int], float]:
    """The score of every toy set over all orders in which its tokens can be added."""
    found: dict[frozenset[int], float] = {}

    def go(worn: frozenset[int], so_far: float) -> None:
        row = model([(weapon, tuple(sorted(worn)))])[0].astype(float)
        nexts = [t for t in range(5) if t not in worn and (t != 1 or 0 in worn)]
        score = so_far + sum(math.log2(1 - row[t]) for t in nexts)
        found[worn] = max(score, found.get(worn, -math.inf))
        for token in nexts:
            go(worn | {token}, so_far + math.log2(row[token]))

    go(frozenset(), 0.0)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_what_a_search_of_everything_finds(seed: int) -> None:
    space, model = toy_space(), toy_model(seed)

    found = beam_search(model, space, Situation(1, space.empty), beam_size=1_000, n_builds=24)

    every = all_scores(model, 1)
    assert len(every) == 3 * 2 * 2 * 2
    assert {frozenset(space.tokens(one.rungs)): one.score for one in found.builds} == pytest.approx(every)
    assert [one.score for one in found.builds] == sorted((one.score for one in found.builds), reverse=True)


@pytest.mark.parametrize("seed", range(6))
def test_stopping_early_loses_none_of_the_best(seed: int) -> None:
    space, model = toy_space(), toy_model(seed, scale=2.0)

    found = beam_search(model, space, Situation(0, space.empty), beam_size=1_000, n_builds=2)

    assert [one.score for one in found.builds] == pytest.approx(sorted(all_scores(model, 0).values(), reverse=True)[:2])
    assert found.exact and not found.cut


def test_where_tokens_do_not_depend_on_each_other_scores_are_probabilities_of_builds() -> None:
    space, model = toy_space(), toy_model(seed=3)
    model.adds[:] = 0.0

    found = beam_search(model, space, Situation(0, space.empty), beam_size=1_000, n_builds=24)

    p = model([(0, ())])[0].astype(float)
    without_a = [one for one in found.builds if one.rungs[0] == 0]
    assert sum(2**one.score for one in without_a) == pytest.approx(1 - p[0])


def test_the_path_leads_to_the_build_and_gives_its_score() -> None:
    space, model = toy_space(), toy_model(seed=5, bias=0.5)

    best = beam_search(model, space, Situation(0, space.empty)).builds[0]

    worn: tuple[int, ...] = ()
    total = 0.0
    for step in best.steps:
        p = model([(0, worn)])[0][step.token]
        assert step.probability == p
        total += math.log2(p)
        worn = space.tokens(step.rungs)
    assert space.rungs(worn) == best.rungs
    assert best.has_all == pytest.approx(total)


def test_every_build_of_the_game_can_be_worn_and_a_cut_is_reported() -> None:
    space = BuildSpace(game_vocabulary())
    model = Model(len(space.vocabulary), seed=1, scale=1.5)

    whole = beam_search(model, space, Situation(0, space.empty), beam_size=3)
    cut = beam_search(model, space, Situation(0, space.empty), beam_size=3, max_steps=2)

    assert all(space.is_wearable(one.rungs) for one in whole.builds)
    assert len({one.rungs for one in whole.builds}) == 5
    assert (cut.cut, cut.n_steps, whole.cut) == (True, 2, False)
    assert max(len(one.steps) for one in cut.builds) <= 2


def test_the_model_is_queried_only_as_often_as_needed() -> None:
    space, model = toy_space(), toy_model(seed=2)

    found = beam_search(model, space, Situation(0, space.empty), beam_size=2)

    assert model.n_asked == found.n_asked <= 1 + 2 * found.n_steps
    assert np.isfinite([one.score for one in found.builds]).all()


@pytest.mark.parametrize("seed", range(8))
def test_no_build_is_likelier_than_the_bound_of_dropped_sets_allows(seed: int) -> None:
    space, model = toy_space(), toy_model(seed, scale=2.0)

    found = beam_search(model, space, Situation(0, space.empty), beam_size=1, n_builds=1)

    likeliest = max(all_scores(model, 0).values())
    assert likeliest <= max(found.given_up, found.builds[0].score) + 1e-9
    if found.exact:
        assert found.builds[0].score == pytest.approx(likeliest)


def test_a_build_ends_only_where_it_may() -> None:
    space, model = toy_space(), toy_model(seed=2)

    found = beam_search(
        model, space, Situation(0, space.empty), beam_size=1_000, n_builds=3, finished=lambda rungs: sum(rungs) == 3
    )

    of_three = {worn: score for worn, score in all_scores(model, 0).items() if len(worn) == 3}
    assert all(one.finished for one in found.builds)
    assert [one.score for one in found.builds] == pytest.approx(sorted(of_three.values(), reverse=True)[:3])
