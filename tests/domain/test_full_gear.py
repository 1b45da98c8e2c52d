"""Which sets are those of gear without an empty slot: against every way to fill the slots."""

from itertools import combinations_with_replacement

import numpy as np
import pytest

from splat_assets.domain.abilities import DOUBLER, MAIN_AP, MAIN_ONLY, RUNGS, STACKABLE, SUB_AP
from splat_assets.domain.builds import allocate, can_be_full
from splat_assets.domain.tokens import tokens_of_ap
from splat_assets.errors import InputError
from tests.domain.ap import ap_of_tokens


def rungs_of(ap: dict[str, int]) -> dict[str, int]:
    return ap_of_tokens(tokens_of_ap(ap))


def test_two_abilities_fill_the_slots_in_exactly_these_ways() -> None:
    left, right = STACKABLE[:2]
    full = set()
    for mains in combinations_with_replacement((left, right), 3):
        for n_left in range(10):
            ap = {
                left: MAIN_AP * mains.count(left) + SUB_AP * n_left,
                right: MAIN_AP * mains.count(right) + SUB_AP * (9 - n_left),
            }
            full.add(tuple(sorted(rungs_of(ap).items())))

    for a in (0, *RUNGS):
        for b in (0, *RUNGS):
            named = {name: rung for name, rung in ((left, a), (right, b)) if rung}
            assert can_be_full(named) is (tuple(sorted(named.items())) in full), named


def test_gear_that_is_full_counts_as_full() -> None:
    rng = np.random.default_rng(0)
    for doubled in (False, True):
        for _ in range(200):
            ap: dict[str, int] = {}
            for slot in ("head", "clothes", "shoes"):
                mains = [name for name, at in MAIN_ONLY.items() if at == slot and name != DOUBLER]
                main = str(rng.choice([*mains, *STACKABLE]))
                main = DOUBLER if doubled and slot == "clothes" else main
                ap[main] = ap.get(main, 0) + MAIN_AP
                for sub in rng.choice(STACKABLE[:5], 3):
                    ap[str(sub)] = ap.get(str(sub), 0) + SUB_AP * (2 if main == DOUBLER else 1)
            assert can_be_full(rungs_of(ap)), allocate(ap)


@pytest.mark.parametrize(
    "rungs",
    [{}, {"swim_speed_up": 3}, {"swim_speed_up": 51}, {"comeback": 10, "opening_gambit": 10}, {"ability_doubler": 10}],
    ids=["empty", "one_sub", "a_sub_is_left", "two_on_the_head", "no_subs"],
)
def test_other_sets_are_not_full(rungs: dict[str, int]) -> None:
    assert not can_be_full(rungs)


def test_a_rung_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="4 is not a rung of swim_speed_up"):
        can_be_full({"swim_speed_up": 4})
