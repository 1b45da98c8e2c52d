"""Draws builds that are legal by construction and look like real ones, shaped by planted concepts.

A build is drawn in the order in which its causes lie: weapon, number of subs, concepts that the weapon alone allows,
main-only abilities, concepts that those allow, the other mains, the other subs. What a concept asks for is set aside
first; a concept for which no room is left does not happen. Slots follow the counts of real gear
(`facts/gear_statistics.json`, credit in `facts/CREDITS.md`), tilted by weapon, and prefer
abilities that are already on the build, because real gear does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from splat_assets.data.planted import Planted, Wish
from splat_assets.domain.abilities import (
    DOUBLER,
    FULL_AP,
    MAIN_AP,
    MAIN_ONLY,
    N_MAINS,
    N_SUBS,
    SLOTS,
    STACKABLE,
    SUB_AP,
)
from splat_assets.domain.builds import slots_of_ap
from splat_assets.domain.concepts import Flags, Leaf, Wears, evaluate, leaves
from splat_assets.domain.weapons import Weapon, weapons_by_key

Ints: TypeAlias = npt.NDArray[np.int64]

_MAIN_ONLY = tuple(MAIN_ONLY)
_STACKABLE_INDEX = {ability: i for i, ability in enumerate(STACKABLE)}
_MAIN_ONLY_INDEX = {ability: i for i, ability in enumerate(_MAIN_ONLY)}
_DOUBLER_SUBS_AT = 6
"""With ability_doubler the subs from the seventh on lie on the doubling piece."""

_TILT_POWER = 1.5
_SAME_MAIN = 0.5
_SUB_UNDER_MAIN = 0.8
_SAME_SUB = 0.2
"""How strongly slots repeat what a build has; set so that the number of abilities per build is as in real gear."""

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


@dataclass(frozen=True)
class Loadouts:
    """Drawn builds. weapons: int32 (n,), indices into the statistics' weapons. main_only: bool (n, 12). mains: int8 (n, 14).
    subs: int8 (n, 14), a doubled sub counted as two. tried and planted: bool
    (n, concepts), whether each concept's coin chose it where it may happen, and whether there was room to carry it
    out."""

    weapons: npt.NDArray[np.int32]
    main_only: Flags
    mains: npt.NDArray[np.int8]
    subs: npt.NDArray[np.int8]
    tried: Flags
    planted: Flags

    @property
    def ap(self) -> Ints:
        """int64, shape (n, 26): AP per ability, STACKABLE then MAIN_ONLY."""
        stackable = MAIN_AP * self.mains.astype(np.int64) + SUB_AP * self.subs.astype(np.int64)
        return np.hstack([stackable, MAIN_AP * self.main_only.astype(np.int64)])


def draw_loadouts(
    n: int, statistics: GearStatistics, concepts: Sequence[Planted], rng: np.random.Generator
) -> Loadouts:
    """n builds, each drawn for itself."""
    drawing = _Drawing(n, statistics, rng)
    tried, planted = np.zeros((2, n, len(concepts)), dtype=bool)
    early = [at for at, concept in enumerate(concepts) if not _asks_for_mains(concept)]
    for at in early:
        tried[:, at], planted[:, at] = drawing.plant(concepts[at])
    drawing.draw_main_only()
    for at in sorted(set(range(len(concepts))) - set(early)):
        tried[:, at], planted[:, at] = drawing.plant(concepts[at])
    drawing.draw_mains()
    drawing.draw_subs()
    return Loadouts(drawing.weapons, drawing.main_only, drawing.mains, drawing.subs, tried, planted)


def _asks_for_mains(concept: Planted) -> bool:
    return concept.when is not None and any(isinstance(leaf, Wears) for leaf in leaves(concept.when))


class _Drawing:
    """n builds while they are being drawn."""

    def __init__(self, n: int, statistics: GearStatistics, rng: np.random.Generator) -> None:
        self._statistics, self._rng, self._n = statistics, rng, n
        self.weapons = rng.choice(len(statistics.weapons), size=n, p=statistics.weapon_share).astype(np.int32)
        self._n_subs = rng.choice(statistics.n_subs_share.size, size=n, p=statistics.n_subs_share)
        self.main_only = np.zeros((n, len(_MAIN_ONLY)), dtype=bool)
        self.mains = np.zeros((n, len(STACKABLE)), dtype=np.int8)
        self.subs = np.zeros((n, len(STACKABLE)), dtype=np.int8)
        self._avoided = np.zeros((n, len(STACKABLE)), dtype=bool)

    def plant(self, concept: Planted) -> tuple[Flags, Flags]:
        """Throw the concept's coin and carry out one of its wishes where it fits; returns where tried and where done."""
        where = evaluate(concept.when, self._leaf) if concept.when else np.ones(self._n, dtype=bool)
        tried = where & (self._rng.random(self._n) < concept.chance)
        wish_of = self._rng.integers(len(concept.wishes), size=self._n)
        done = np.zeros(self._n, dtype=bool)
        for at, wish in enumerate(concept.wishes):
            fits = tried & (wish_of == at) & self._fits(wish)
            self._grant(wish, fits)
            done |= fits
        return tried, done

    def draw_main_only(self) -> None:
        """At most one per piece of gear, at the rate of the weapon, while a main is free; pieces in random order."""
        rate = self._statistics.main_only_rate[self.weapons]
        for place in self._rng.permuted(np.tile(np.arange(len(SLOTS)), (self._n, 1)), axis=1).T:
            for at, slot in enumerate(SLOTS):
                members = [i for i, ability in enumerate(_MAIN_ONLY) if MAIN_ONLY[ability] == slot]
                open_here = (place == at) & (self._free_mains() > 0) & ~self.main_only[:, members].any(axis=1)
                none = np.maximum(0, 1 - rate[:, members].sum(axis=1, keepdims=True))
                choice = _pick(np.hstack([rate[:, members], none]), self._rng)
                for i, ability in enumerate(members):
                    self.main_only[:, ability] |= open_here & (choice == i) & self._may_double(_MAIN_ONLY[ability])

    def draw_mains(self) -> None:
        """Fill the free mains with stackable abilities."""
        base = (self._statistics.mains_per_set * self._statistics.tilt**_TILT_POWER)[self.weapons]
        for _ in range(N_MAINS):
            weights = base * (1 + _SAME_MAIN * self.mains) * ~self._avoided
            self._add(self.mains, _pick(weights, self._rng), (self._free_mains() > 0).astype(np.int8))

    def draw_subs(self) -> None:
        """Fill the subs up to each build's number; those on a doubling piece count twice."""
        base = (self._statistics.subs_per_set * self._statistics.tilt**_TILT_POWER)[self.weapons]
        doubled, filled = self._doubled(), self.subs.sum(axis=1)
        for at in range(self._statistics.n_subs_share.size - 1):
            weights = base * (1 + _SUB_UNDER_MAIN * self.mains + _SAME_SUB * self.subs) * ~self._avoided
            units = np.where(doubled & (at >= _DOUBLER_SUBS_AT), 2, 1) * ((at >= filled) & (at < self._n_subs))
            self._add(self.subs, _pick(weights, self._rng), units.astype(np.int8))

    def _leaf(self, part: Leaf) -> Flags:
        if isinstance(part, Wears):
            return self.main_only[:, _MAIN_ONLY_INDEX[part.ability]]
        of_weapon = [weapon.attributes[part.attribute] in part.one_of for weapon in self._statistics.weapons]
        return np.array(of_weapon)[self.weapons]

    def _fits(self, wish: Wish) -> Flags:
        """Where there is room for a wish, and it contradicts nothing that is granted already."""
        stacked = {ability: n for ability, n in wish.mains.items() if ability in _STACKABLE_INDEX}
        fits = self._free_mains() >= sum(wish.mains.values())
        fits &= self._free_subs() >= sum(wish.subs.values())
        for ability in {*stacked, *wish.subs}:
            fits &= ~self._avoided[:, _STACKABLE_INDEX[ability]]
        for ability in wish.avoid:
            at = _STACKABLE_INDEX[ability]
            fits &= (self.mains[:, at] == 0) & (self.subs[:, at] == 0)
        for ability in wish.mains.keys() - stacked.keys():
            rivals = [i for i, other in enumerate(_MAIN_ONLY) if MAIN_ONLY[other] == MAIN_ONLY[ability]]
            fits &= ~self.main_only[:, rivals].any(axis=1)
        return fits

    def _grant(self, wish: Wish, where: Flags) -> None:
        for ability, n in wish.mains.items():
            if ability in _STACKABLE_INDEX:
                self.mains[where, _STACKABLE_INDEX[ability]] += n
            else:
                self.main_only[where, _MAIN_ONLY_INDEX[ability]] = True
        for ability, n in wish.subs.items():
            self.subs[where, _STACKABLE_INDEX[ability]] += n
        for ability in wish.avoid:
            self._avoided[where, _STACKABLE_INDEX[ability]] = True

    def _doubled(self) -> Flags:
        return self.main_only[:, _MAIN_ONLY_INDEX[DOUBLER]]

    def _may_double(self, ability: str) -> Flags:
        """ability_doubler needs the promised subs to lie on the two other pieces."""
        if ability != DOUBLER:
            return np.ones(self._n, dtype=bool)
        may: Flags = self.subs.sum(axis=1) <= _DOUBLER_SUBS_AT
        return may

    def _free_mains(self) -> Ints:
        free: Ints = N_MAINS - self.mains.sum(axis=1, dtype=np.int64) - self.main_only.sum(axis=1, dtype=np.int64)
        return free

    def _free_subs(self) -> Ints:
        most = np.where(self._doubled(), np.minimum(self._n_subs, _DOUBLER_SUBS_AT), self._n_subs)
        free: Ints = most - self.subs.sum(axis=1, dtype=np.int64)
        return free

    def _add(self, slots: npt.NDArray[np.int8], ability: Ints, n: npt.NDArray[np.int8]) -> None:
        slots[np.arange(self._n), ability] += n


def _pick(weights: Floats, rng: np.random.Generator) -> Ints:
    """int64, shape (n,): for each row the column that was drawn, in proportion to its weights."""
    steps = np.cumsum(weights, axis=1)
    chosen: Ints = (steps <= rng.random((len(weights), 1)) * steps[:, -1:]).sum(axis=1)
    return chosen
