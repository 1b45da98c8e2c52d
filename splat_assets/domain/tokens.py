"""How AP become tokens: cumulative coding, one token for every rung reached.

12 AP of swim_speed_up are the tokens `swim_speed_up_3`, `_6` and `_12`; a main-only ability is its bare name. The AP of a
token set is therefore the highest rung per ability, which is at most the AP that were worn.
"""

from collections.abc import Mapping

from splat_assets.domain.abilities import MAIN_AP, MAIN_ONLY, RUNGS, STACKABLE
from splat_assets.errors import InputError

NULL = "<NULL>"
"""Stands for a build without abilities."""

PAD = "<PAD>"
"""Fills up a batch."""

_STACKABLE_TOKENS = {f"{ability}_{rung}": (ability, rung) for ability in STACKABLE for rung in RUNGS}

ABILITY_TOKENS: tuple[str, ...] = (*_STACKABLE_TOKENS, *MAIN_ONLY)
"""All 138 ability tokens: stackable abilities by rising rung, then the main-only ones."""


def parse_token(name: str) -> tuple[str, int | None]:
    """The group and level of a token name: (ability, rung) for a stackable one, else the name itself and None."""
    return _STACKABLE_TOKENS.get(name, (name, None))


def ap_of_token(name: str) -> int:
    """The least AP of a token's ability: its rung, 10 for a main-only ability, 0 for any other name."""
    if name in MAIN_ONLY:
        return MAIN_AP
    return _STACKABLE_TOKENS[name][1] if name in _STACKABLE_TOKENS else 0


def tokens_of_ap(ap: Mapping[str, int]) -> list[str]:
    """The token names of a build, given the AP of each ability; `[NULL]` when none has any.

    Stackable abilities come in the order of STACKABLE with rising rungs, main-only ones after them. Whether gear can hold the
    AP is decided by `builds.why_illegal`.

    Raises:
        InputError: an ability does not exist, or its AP are negative.

    Examples:
        >>> tokens_of_ap({"swim_speed_up": 13, "ninja_squid": 10})
        ['swim_speed_up_3', 'swim_speed_up_6', 'swim_speed_up_12', 'ninja_squid']
    """
    for ability, amount in ap.items():
        if ability not in STACKABLE and ability not in MAIN_ONLY:
            known = (*STACKABLE, *MAIN_ONLY)
            raise InputError(f"{ability!r} is not an ability; the {len(known)} known: {', '.join(known)}")
        if amount < 0:
            raise InputError(f"{ability} has {amount} AP; AP are never negative")
    stacked = [ability for ability in STACKABLE if ability in ap]
    names = [f"{ability}_{rung}" for ability in stacked for rung in RUNGS if rung <= ap[ability]]
    names += [ability for ability in MAIN_ONLY if ap.get(ability, 0) > 0]
    return names or [NULL]
