from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.domain.abilities import MAIN_ONLY, RUNGS, SLOTS, STACKABLE
from splat_assets.domain.builds import Build, Gear, allocate, slots_of_ap, wearable_ap, why_illegal
from splat_assets.domain.tokens import tokens_of_ap
from splat_assets.errors import InputError
from tests.domain.ap import ap_of_tokens

SUBS = st.lists(st.sampled_from(STACKABLE[:6]), max_size=3).map(tuple)


def piece(slot: str) -> st.SearchStrategy[Gear]:
    mains = [None, *STACKABLE[:6], *(ability for ability in MAIN_ONLY if MAIN_ONLY[ability] == slot)]
    return st.builds(Gear, st.sampled_from(mains), SUBS)


WORN = st.builds(Build, *(piece(slot) for slot in SLOTS))


@given(WORN)
def test_whatever_gear_gives_is_legal_and_is_put_on_gear_again(build: Build) -> None:
    assert why_illegal(build.ap) == []

    again = allocate(build.ap)

    assert again.ap == build.ap
    for slot in SLOTS:
        gear: Gear = getattr(again, slot)
        assert len(gear.subs) <= 3
        assert gear.main is None or MAIN_ONLY.get(gear.main, slot) == slot


def test_legality_agrees_with_trying_every_piece_of_gear() -> None:
    """Two stackable abilities with and without ability_doubler, every amount up to 66."""
    a, b = STACKABLE[:2]
    for doubled in (False, True):
        top = 2 if doubled else 3
        found = set()
        for mains_a, mains_b in product(range(top + 1), repeat=2):
            for subs_a, subs_b in product(range(7 if doubled else 10), repeat=2):
                twice = [(i, j) for i in range(4) for j in range(4 - i)] if doubled else [(0, 0)]
                if mains_a + mains_b <= top and subs_a + subs_b <= (6 if doubled else 9):
                    for i, j in twice:
                        found.add((10 * mains_a + 3 * subs_a + 6 * i, 10 * mains_b + 3 * subs_b + 6 * j))
        for amounts in product(range(67), repeat=2):
            ap = dict(zip((a, b), amounts, strict=True)) | ({"ability_doubler": 10} if doubled else {})
            assert (why_illegal(ap) == []) == (amounts in found), ap


@pytest.mark.parametrize(
    ("ap", "rule"),
    [
        ({"swim_sped": 3}, "'swim_sped' is not an ability"),
        ({"run_speed_up": -3}, "run_speed_up has -3 AP, less than none"),
        ({"comeback": 3}, "comeback has 3 AP; a main-only ability has 10"),
        ({"comeback": 10, "tenacity": 10}, "the head can hold one main-only ability, not comeback and tenacity"),
        ({"swim_speed_up": 14}, "swim_speed_up cannot have 14 AP: a main counts 10, a sub 3"),
        ({"swim_speed_up": 57, "haunt": 10}, "67 AP is more than the 57 of a full build"),
        ({"swim_speed_up": 30, "haunt": 10}, "it needs 4 main slots, a build has 3"),
        (dict.fromkeys(STACKABLE[:10], 3), "it needs 10 subs, a build has 9"),
        (
            {"swim_speed_up": 63, "ability_doubler": 10},
            "73 AP is more than the 66 of a full build with ability_doubler",
        ),
        (
            dict.fromkeys(STACKABLE[:10], 3) | {"ability_doubler": 10},
            "with ability_doubler, 10 subs must hold at least 2 pairs of one ability",
        ),
    ],
)
def test_a_broken_rule_is_named_in_plain_words(ap: dict[str, int], rule: str) -> None:
    assert rule in why_illegal(ap)
    with pytest.raises(InputError, match="no gear gives these AP: "):
        allocate(ap)


def test_no_abilities_break_no_rule() -> None:
    assert why_illegal({}) == why_illegal({"swim_speed_up": 0}) == []
    assert allocate({}) == Build(Gear(None, ()), Gear(None, ()), Gear(None, ()))


def test_one_ability_on_every_slot_has_57_ap() -> None:
    everywhere = Gear("swim_speed_up", ("swim_speed_up",) * 3)

    assert allocate({"swim_speed_up": 57}) == Build(everywhere, everywhere, everywhere)


def test_a_doubling_piece_counts_its_subs_twice() -> None:
    ap = {"ability_doubler": 10, "run_speed_up": 20, "swim_speed_up": 36}

    worn = allocate(ap)

    assert worn.clothes == Gear("ability_doubler", ("swim_speed_up",) * 3)
    assert worn.ap == ap


@given(st.integers(0, 3), st.integers(0, 9))
def test_ap_tell_how_many_mains_and_subs_gave_them(n_mains: int, n_subs: int) -> None:
    assert slots_of_ap(10 * n_mains + 3 * n_subs) == (n_mains, n_subs)


def test_wearable_ap_finds_mains_where_subs_are_too_few() -> None:
    assert wearable_ap({"swim_speed_up": 12, "run_speed_up": 29, "comeback": 10}) == {
        "swim_speed_up": 12,
        "run_speed_up": 29,
        "comeback": 10,
    }
    assert wearable_ap({**dict.fromkeys(STACKABLE[:6], 6)})[STACKABLE[0]] in (6, 10)


@given(WORN)
def test_the_rungs_of_every_build_can_be_worn_with_at_most_its_ap(build: Build) -> None:
    rungs = ap_of_tokens(tokens_of_ap(build.ap))

    least = wearable_ap(rungs)

    assert why_illegal(least) == []
    assert ap_of_tokens(tokens_of_ap(least)) == rungs
    assert sum(least.values()) <= sum(build.ap.values())


def test_rungs_that_no_gear_reaches_are_refused_with_the_rule() -> None:
    with pytest.raises(InputError, match="no gear reaches these rungs: .*it needs 10 subs, a build has 9"):
        wearable_ap(dict.fromkeys(STACKABLE[:10], 3))
    with pytest.raises(InputError, match="13 is not a rung of swim_speed_up"):
        wearable_ap({"swim_speed_up": 13})
    with pytest.raises(InputError, match="no gear reaches these rungs"):
        wearable_ap({"swim_speed_up": RUNGS[-1], "comeback": 10})
