"""Aggregate statistics of real gear, from `facts/gear_statistics.json` (credit in `facts/CREDITS.md`).

The counts become the weights that the demo dataset is drawn with: which weapons, which mains, which subs, how full.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from splat_assets.domain.abilities import FULL_AP, MAIN_AP, MAIN_ONLY, N_MAINS, N_SUBS, STACKABLE, SUB_AP
from splat_assets.domain.builds import slots_of_ap
from splat_assets.domain.weapons import Weapon, weapons_by_key

Floats = npt.NDArray[np.float64]

_SETS_TO_TRUST = 50.0
"""A weapon with this many sets is believed half, and the mean of all weapons the other half."""


@dataclass(frozen=True)
class GearStatistics:
    """Rates per weapon; weapon axis as in `weapons`, ability axes as in STACKABLE and MAIN_ONLY.

    weapon_share: shape (w,), sums to 1. main_only_rate: (w, 12), share of sets that wear it. mains_per_set and
    subs_per_set: (14,), mean slots of each stackable ability over all sets. tilt: (w, 14), how much more often than over all
    weapons a stackable ability is worn. n_subs_share: (10,), how often a set has 0 to 9 subs. distinct_share: of all sets.
    abilities_share: (27,), how often a set has that many abilities.
    """

    weapons: tuple[Weapon, ...]
    weapon_share: Floats
    main_only_rate: Floats
    mains_per_set: Floats
    subs_per_set: Floats
    tilt: Floats
    n_subs_share: Floats
    distinct_share: float
    abilities_share: Floats


@lru_cache(maxsize=1)
def gear_statistics() -> GearStatistics:
    """The packaged figures."""
    raw = json.loads(files("splat_assets.data").joinpath("facts/gear_statistics.json").read_text(encoding="utf-8"))
    of_weapon, abilities = raw["sets_of_weapon"], raw["abilities"]
    sets = np.array([row["sets"] for row in of_weapon.values()], dtype=np.float64)
    worn = np.array([row["with_ability"] for row in of_weapon.values()], dtype=np.float64)
    overall = worn.sum(axis=0) / sets.sum()
    rate = (worn + _SETS_TO_TRUST * overall) / (sets + _SETS_TO_TRUST)[:, None]
    stackable = [abilities.index(ability) for ability in STACKABLE]
    slots = np.array([_slots_per_set(raw["ap_of_ability"][ability]) for ability in STACKABLE]) / sets.sum()
    return GearStatistics(
        weapons=tuple(weapons_by_key()[key] for key in of_weapon),
        weapon_share=sets / sets.sum(),
        main_only_rate=rate[:, [abilities.index(ability) for ability in MAIN_ONLY]],
        mains_per_set=slots[:, 0],
        subs_per_set=slots[:, 1],
        tilt=(rate / overall)[:, stackable],
        n_subs_share=_share([raw["total_ap"].get(str(MAIN_AP * N_MAINS + SUB_AP * n), 0) for n in range(N_SUBS + 1)]),
        distinct_share=raw["distinct_gear_sets"] / raw["gear_sets"],
        abilities_share=_share([raw["abilities_per_set"].get(str(n), 0) for n in range(len(abilities) + 1)]),
    )


def _slots_per_set(sets_with_ap: dict[str, int]) -> tuple[float, float]:
    """Mains and subs that all these sets hold of one ability; AP above a full build are left out."""
    mains = subs = 0.0
    for ap, sets in sets_with_ap.items():
        slots = slots_of_ap(int(ap)) if int(ap) <= FULL_AP else None
        if slots is not None:
            mains, subs = mains + sets * slots[0], subs + sets * slots[1]
    return mains, subs


def _share(counts: list[int]) -> Floats:
    values = np.array(counts, dtype=np.float64)
    share: Floats = values / values.sum()
    return share
