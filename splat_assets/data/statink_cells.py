"""One ability cell of a stat.ink battle row, and the fate of its gear set.

A cell is JSON such as `{"swim_speed_up": 1.3, "stealth_jump": true}`: a number is gear power, a tenth of the AP (rounded
floats such as 4.1 included), `true` a main-only ability.

What becomes of a set is decided by what gear can hold, not by its total alone:

- 57 AP, a full build, is kept, and so is less: gear whose slots are not yet open is gear that people wear and that the model
  has to complete. `min_ap` leaves it out for those who want full builds only.
- More than 57 AP is kept only where ability_doubler accounts for it. It counts each of the up to three subs of its piece
  twice, so 60, 63 and 66 AP are legal with it, as long as the subs beyond six come in pairs of one ability.
- More than 57 AP without it needs ten or more subs, which no gear of the game has. Which of those subs are wrong cannot be
  told, so nothing is trimmed: the set is dropped and counted.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from splat_assets.domain.abilities import FULL_AP, MAIN_AP, MAIN_ONLY, STACKABLE
from splat_assets.domain.builds import why_illegal
from splat_assets.domain.tokens import tokens_of_ap

_AP_PER_GEAR_POWER = 10
_MOST_GEAR_POWER = 1_000
"""Far beyond any gear, and small enough to count in AP; a set above it is not a record of one."""


class Fate(StrEnum):
    """The fate of a gear set; every set has exactly one."""

    KEPT_FULL = "kept_full"
    KEPT_UNDER_57 = "kept_under_57"
    KEPT_OVER_57 = "kept_over_57"
    DROPPED_UNDER_57 = "dropped_under_57"
    DROPPED_OVER_57 = "dropped_over_57"
    DROPPED_ILLEGAL = "dropped_illegal"
    DROPPED_WEAPON_NOT_IN_VOCABULARY = "dropped_weapon_not_in_vocabulary"
    DROPPED_TOKEN_NOT_IN_VOCABULARY = "dropped_token_not_in_vocabulary"
    UNKNOWN_WEAPON = "unknown_weapon"
    UNPARSEABLE = "unparseable"
    DAMAGED_ROW = "damaged_row"
    EMPTY = "empty"

    @property
    def is_kept(self) -> bool:
        """Whether the set becomes a build."""
        return self in (Fate.KEPT_FULL, Fate.KEPT_UNDER_57, Fate.KEPT_OVER_57)

    @property
    def is_for_a_model(self) -> bool:
        """Whether the set has this fate only because of the vocabularies of a model; it would be kept otherwise."""
        return self in (Fate.DROPPED_WEAPON_NOT_IN_VOCABULARY, Fate.DROPPED_TOKEN_NOT_IN_VOCABULARY)

    @property
    def meaning(self) -> str:
        """One line for people."""
        return _MEANINGS[self]


_MEANINGS = {
    Fate.KEPT_FULL: "exactly 57 AP",
    Fate.KEPT_UNDER_57: "less than 57 AP: slots that are not open yet",
    Fate.KEPT_OVER_57: "60 to 66 AP that ability_doubler accounts for",
    Fate.DROPPED_UNDER_57: "less AP than --min-ap",
    Fate.DROPPED_OVER_57: "more than 57 AP that no gear can hold",
    Fate.DROPPED_ILLEGAL: "at most 57 AP, but no gear gives them",
    Fate.DROPPED_WEAPON_NOT_IN_VOCABULARY: "kept, but for a weapon that the model's weapon vocabulary lacks",
    Fate.DROPPED_TOKEN_NOT_IN_VOCABULARY: "kept, but for a token that the model's vocabulary lacks",
    Fate.UNKNOWN_WEAPON: "abilities on a weapon that is not among the known ones",
    Fate.UNPARSEABLE: "a cell that is not a record of abilities",
    Fate.DAMAGED_ROW: "eight for each row that is cut off or has another number of fields than the header",
    Fate.EMPTY: "no abilities recorded",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that was read: its fate on a known weapon, the token names if kept, and what is wrong if unparseable."""

    fate: Fate
    tokens: tuple[str, ...] = ()
    problem: str = ""


def read_cell(text: str, min_ap: int) -> Cell:
    """What becomes of the gear set in a cell."""
    if not text.strip():
        return Cell(Fate.EMPTY)
    try:
        ap = parse_abilities(text)
    except ValueError as error:
        return Cell(Fate.UNPARSEABLE, problem=str(error))
    except RecursionError:
        return Cell(Fate.UNPARSEABLE, problem="nested too deeply")
    if not ap:
        return Cell(Fate.EMPTY)
    fate = _fate(ap, min_ap)
    return Cell(fate, tuple(tokens_of_ap(ap)) if fate.is_kept else ())


def parse_abilities(text: str) -> dict[str, int]:
    """AP per ability. Raises ValueError saying what makes the cell no record of abilities."""
    try:
        raw = json.loads(text, object_pairs_hook=tuple)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(raw, tuple):
        raise ValueError("not a JSON object")
    ap: dict[str, int] = {}
    for ability, value in raw:
        if ability in ap:
            raise ValueError(f"{ability!r:.40} stands twice")
        ap[ability] = _ap(ability, value)
    return {ability: amount for ability, amount in ap.items() if amount}


def _ap(ability: str, value: object) -> int:
    if ability in MAIN_ONLY:
        if not isinstance(value, bool):
            raise ValueError(f"{ability} is {value!r:.40}, a main-only ability is true or false")
        return MAIN_AP if value else 0
    if ability not in STACKABLE:
        raise ValueError(f"unknown ability {ability!r:.40}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_GEAR_POWER:
        raise ValueError(f"{ability} is {value!r:.40}, a stackable ability has a number from 0 to {_MOST_GEAR_POWER:,}")
    amount = round(value * _AP_PER_GEAR_POWER)
    if abs(value * _AP_PER_GEAR_POWER - amount) > 1e-6:
        raise ValueError(f"{ability} is {value!r}, which is not a whole number of AP")
    return amount


def _fate(ap: dict[str, int], min_ap: int) -> Fate:
    total, legal = sum(ap.values()), not why_illegal(ap)
    if total > FULL_AP:
        return Fate.KEPT_OVER_57 if legal else Fate.DROPPED_OVER_57
    if not legal:
        return Fate.DROPPED_ILLEGAL
    if total < min_ap:
        return Fate.DROPPED_UNDER_57
    return Fate.KEPT_FULL if total == FULL_AP else Fate.KEPT_UNDER_57
