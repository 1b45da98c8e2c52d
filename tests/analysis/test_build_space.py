"""Token sets as rungs, and which tokens can come next."""

import numpy as np

from splat_assets.analysis.builds.build_space import BuildSpace
from splat_assets.domain.builds import wearable_ap
from splat_assets.errors import InputError
from tests.analysis.predicting import game_vocabulary, toy_space

GAME = BuildSpace(game_vocabulary())
IDS = {token.name: token.id for token in GAME.vocabulary.tokens}


def rungs(*names: str) -> tuple[int, ...]:
    return GAME.rungs([IDS[name] for name in names])


def test_a_set_holds_the_lower_rungs_of_what_is_added() -> None:
    space = toy_space()

    found = space.added(space.empty, 1)

    assert space.tokens(found) == (0, 1)
    assert space.tokens(space.without(found, 1)) == (0,)
    assert space.tokens(space.without(found, 0)) == ()
    assert space.rungs([1, 3, 5, 6]) == space.rungs([0, 1, 3]), "NULL and PAD are none"


def test_policies_count_every_rung_the_next_or_the_highest() -> None:
    space = toy_space()

    assert space.additions(space.empty, "none") == (0, 1, 2, 3, 4)
    assert space.additions(space.empty, "next-tier") == (0, 2, 3, 4)
    assert space.additions(space.empty, "max-tier") == (1, 2, 3, 4)
    assert space.additions(space.rungs([0, 1]), "next-tier") == (2, 3, 4)


def test_only_what_gear_gives_can_come_next() -> None:
    names = GAME.vocabulary.names(GAME.additions(rungs("comeback", "swim_speed_up_29"), "none"))

    assert "opening_gambit" not in names, "the head holds comeback"
    assert "swim_speed_up_57" not in names
    assert "ninja_squid" in names


def test_wearable_is_what_the_rules_of_gear_say() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        chosen = tuple(
            int(rng.integers(0, len(group.tokens) + 1)) if rng.random() < 0.15 else 0 for group in GAME.groups
        )
        try:
            wearable_ap(GAME.worth(chosen))
            expected = True
        except InputError:
            expected = False

        assert GAME.is_wearable(chosen) is expected
        seen.add(expected)
    assert seen == {True, False}
