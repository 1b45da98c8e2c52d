import numpy as np

from splat_assets.data.loadouts import gear_statistics
from splat_assets.domain.abilities import MAIN_ONLY, STACKABLE


def test_shares_are_shares() -> None:
    found = gear_statistics()

    for share in (found.weapon_share, found.n_subs_share, found.abilities_share):
        assert share.min() >= 0
        np.testing.assert_allclose(share.sum(), 1)
    assert 0 < found.main_only_rate.min() < found.main_only_rate.max() < 1
    assert (found.main_only_rate.shape, found.tilt.shape) == ((80, 12), (80, 14))


def test_the_figures_are_those_of_the_counted_sets() -> None:
    found = gear_statistics()
    keys = [weapon.key for weapon in found.weapons]
    squid = list(MAIN_ONLY).index("ninja_squid")

    np.testing.assert_allclose(found.weapon_share[keys.index("sharp")], 8976 / 124968)
    np.testing.assert_allclose(found.distinct_share, 91782 / 124968)
    np.testing.assert_allclose(found.weapon_share @ found.main_only_rate[:, squid], 36663 / 124968, atol=0.002)


def test_slots_add_up_to_about_a_build() -> None:
    """Three mains and up to nine subs; sets above 57 AP have a little more."""
    found = gear_statistics()
    main_only = (found.weapon_share @ found.main_only_rate).sum()

    np.testing.assert_allclose(main_only + found.mains_per_set.sum(), 3, atol=0.02)
    assert 7 < found.subs_per_set.sum() < 9.5
    assert STACKABLE[int(found.subs_per_set.argmax())] in ("swim_speed_up", "ink_saver_main")
