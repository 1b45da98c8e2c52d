import numpy as np

from splat_assets.data.loadouts import gear_statistics
from splat_assets.domain.abilities import MAIN_ONLY, STACKABLE


def test_shares_are_shares() -> None:
    result = gear_statistics()

    for share in (result.weapon_share, result.n_subs_share, result.abilities_share):
        assert share.min() >= 0
        np.testing.assert_allclose(share.sum(), 1)
    assert 0 < result.main_only_rate.min() < result.main_only_rate.max() < 1
    assert (result.main_only_rate.shape, result.tilt.shape) == ((80, 12), (80, 14))


def test_the_figures_are_those_of_the_counted_sets() -> None:
    result = gear_statistics()
    keys = [weapon.key for weapon in result.weapons]
    squid = list(MAIN_ONLY).index("ninja_squid")

    np.testing.assert_allclose(result.weapon_share[keys.index("sharp")], 8976 / 124968)
    np.testing.assert_allclose(result.distinct_share, 91782 / 124968)
    np.testing.assert_allclose(result.weapon_share @ result.main_only_rate[:, squid], 36663 / 124968, atol=0.002)


def test_slots_add_up_to_about_a_build() -> None:
    """Three mains and up to nine subs; sets above 57 AP have a little more."""
    result = gear_statistics()
    main_only = (result.weapon_share @ result.main_only_rate).sum()

    np.testing.assert_allclose(main_only + result.mains_per_set.sum(), 3, atol=0.02)
    assert 7 < result.subs_per_set.sum() < 9.5
    assert STACKABLE[int(result.subs_per_set.argmax())] in ("swim_speed_up", "ink_saver_main")
