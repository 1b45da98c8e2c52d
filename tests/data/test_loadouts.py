import numpy as np
import pytest

from splat_assets.data.loadouts import Loadouts, draw_loadouts, gear_statistics
from splat_assets.data.planted import PLANTED, Planted, Wish
from splat_assets.domain.abilities import DOUBLER, MAIN_ONLY, STACKABLE
from splat_assets.domain.builds import why_illegal
from splat_assets.domain.concepts import Not, WeaponIs, Wears

ABILITIES = (*STACKABLE, *MAIN_ONLY)


def drawn(n: int, seed: int = 0, concepts: tuple[Planted, ...] = PLANTED) -> Loadouts:
    return draw_loadouts(n, gear_statistics(), concepts, np.random.default_rng(seed))


@pytest.mark.parametrize("concepts", [PLANTED, ()])
def test_every_drawn_build_is_legal(concepts: tuple[Planted, ...]) -> None:
    ap = np.unique(drawn(6_000, concepts=concepts).ap, axis=0)

    broken = [result for row in ap if (result := why_illegal(dict(zip(ABILITIES, row.tolist(), strict=True))))]

    assert broken == []
    assert (ap[:, ABILITIES.index(DOUBLER)] > 0).any()
    assert ap.sum(axis=1).max() > 57  # with ability_doubler


def test_every_build_has_three_mains() -> None:
    result = drawn(4_000)

    assert (result.mains.sum(axis=1) + result.main_only.sum(axis=1) == 3).all()


def test_the_same_seed_draws_the_same_builds() -> None:
    one, two, other = drawn(500), drawn(500), drawn(500, seed=1)

    np.testing.assert_array_equal(one.ap, two.ap)
    np.testing.assert_array_equal(one.weapons, two.weapons)
    assert (one.ap != other.ap).any()


def test_marginals_are_near_those_of_real_gear() -> None:
    result, real = drawn(30_000), gear_statistics()

    worn = result.ap > 0
    np.testing.assert_allclose(np.bincount(result.weapons, minlength=80) / 30_000, real.weapon_share, atol=0.006)
    abilities = np.bincount(worn.sum(axis=1), minlength=27) / 30_000
    assert np.abs(abilities - real.abilities_share).sum() / 2 < 0.06
    main_only = real.weapon_share @ real.main_only_rate
    np.testing.assert_allclose(result.main_only.mean(axis=0), main_only, atol=0.035)
    slots = np.concatenate([result.mains.mean(axis=0), result.subs.mean(axis=0)])
    assert np.corrcoef(slots, np.concatenate([real.mains_per_set, real.subs_per_set]))[0, 1] > 0.9


def test_weapons_differ_in_what_they_wear_as_real_ones_do() -> None:
    result, real = drawn(30_000, concepts=()), gear_statistics()
    runs = STACKABLE.index("run_speed_up")
    common = np.flatnonzero(real.weapon_share > 0.01)

    rate = [(result.ap[result.weapons == weapon, runs] > 0).mean() for weapon in common]

    assert np.corrcoef(rate, real.tilt[common, runs])[0, 1] > 0.9


def test_a_concept_gives_what_it_asks_for_and_nothing_where_it_may_not_happen() -> None:
    wish = Wish(mains={"haunt": 1, "run_speed_up": 1}, subs={"run_speed_up": 2}, avoid=("swim_speed_up",))
    concept = Planted("x", "x", WeaponIs("class", ("charger",)), 0.5, (wish,), (Wears("haunt"),))

    result = drawn(8_000, concepts=(concept,))

    planted = result.planted[:, 0]
    classes = np.array([weapon.weapon_class for weapon in gear_statistics().weapons])[result.weapons]
    ap = {ability: result.ap[planted, at] for at, ability in enumerate(ABILITIES)}
    assert 0.4 < planted[classes == "charger"].mean() < 0.55
    assert not result.tried[classes != "charger"].any()
    assert (ap["haunt"] == 10).all()
    assert (ap["run_speed_up"] >= 16).all()
    assert (ap["swim_speed_up"] == 0).all()


def test_a_concept_about_mains_is_decided_after_them_and_before_the_subs() -> None:
    concept = Planted("x", "x", Wears("comeback"), 1.0, (Wish(subs={"sub_power_up": 3}),), (Wears("sub_power_up"),))

    result = drawn(8_000, concepts=(concept,))

    comeback = result.main_only[:, list(MAIN_ONLY).index("comeback")]
    np.testing.assert_array_equal(result.tried[:, 0], comeback)
    assert (result.subs[result.planted[:, 0], STACKABLE.index("sub_power_up")] >= 3).all()


def test_concepts_that_contradict_each_other_are_not_both_carried_out() -> None:
    wants = Planted("a", "a", None, 0.5, (Wish(subs={"swim_speed_up": 1}),), (Wears("swim_speed_up"),))
    avoids = Planted("b", "b", None, 0.5, (Wish(avoid=("swim_speed_up",)),), (Not(Wears("swim_speed_up")),))

    for order in ((wants, avoids), (avoids, wants)):
        result = drawn(2_000, concepts=order)
        assert result.tried.all(axis=1).any()
        assert not result.planted.all(axis=1).any()


def test_where_there_is_no_room_a_concept_does_not_happen() -> None:
    greedy = Planted(
        "a", "a", None, 1.0, (Wish(mains={"swim_speed_up": 3}, subs={"swim_speed_up": 9}),), Wears("haunt")
    )
    late = Planted("b", "b", None, 1.0, (Wish(subs={"run_speed_up": 1}),), (Wears("haunt"),))

    result = drawn(2_000, concepts=(greedy, late))

    full = result.planted[:, 0]
    assert 0.3 < full.mean() < 0.9
    assert not result.planted[full, 1].any()
    assert (result.ap[full].sum(axis=1) == 57).all()


@pytest.mark.parametrize("when", [None, Wears(DOUBLER)])
def test_promised_subs_never_make_a_doubled_build_illegal(when: Wears | None) -> None:
    """Seven different subs cannot lie on the two pieces beside the doubling one."""
    seven = dict.fromkeys(STACKABLE[:7], 1)
    concept = Planted("x", "x", when, 0.7, (Wish(subs=seven),), (Wears(STACKABLE[0]),))

    result = drawn(6_000, concepts=(concept,))

    doubled = result.main_only[:, list(MAIN_ONLY).index(DOUBLER)]
    broken = [why_illegal(dict(zip(ABILITIES, row.tolist(), strict=True))) for row in result.ap[doubled]]
    assert len(broken) > 20
    assert not any(broken)
    assert not (result.planted[:, 0] & doubled).any()
