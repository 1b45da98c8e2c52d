"""Players' short names of abilities: `ssu` for swim_speed_up. Each short name stands for one ability."""

import re
from typing import Final

from splat_assets.domain.abilities import MAIN_ONLY, STACKABLE

SHORT_NAMES: Final[dict[str, str]] = {
    "ism": "ink_saver_main",
    "iss": "ink_saver_sub",
    "iru": "ink_recovery_up",
    "rsu": "run_speed_up",
    "ssu": "swim_speed_up",
    "scu": "special_charge_up",
    "ss": "special_saver",
    "spu": "special_power_up",
    "qr": "quick_respawn",
    "qsj": "quick_super_jump",
    "bpu": "sub_power_up",
    "bru": "sub_resistance_up",
    "sru": "sub_resistance_up",
    "ires": "ink_resistance_up",
    "res": "ink_resistance_up",
    "ia": "intensify_action",
    "og": "opening_gambit",
    "lde": "last_ditch_effort",
    "ten": "tenacity",
    "t": "tenacity",
    "cb": "comeback",
    "ns": "ninja_squid",
    "ninja": "ninja_squid",
    "hau": "haunt",
    "h": "haunt",
    "ti": "thermal_ink",
    "rp": "respawn_punisher",
    "ad": "ability_doubler",
    "sj": "stealth_jump",
    "os": "object_shredder",
    "dr": "drop_roller",
}
"""The usual ones, and the codes of the dashboard's badges; `ink_resistance_up` is `ires`, because `iru` is ink recovery."""


_KNOWN: Final = frozenset({*STACKABLE, *MAIN_ONLY})
_SPELLED = re.compile(r"(?P<name>.*?)[\s_-]*(?P<ap>\d*)")
_LONGEST = 100
_BETWEEN_WORDS = re.compile(r"[\s_-]+")


def ability_of(name: str) -> str:
    """The ability, or the token of one, that people mean; other names come back as they are.

    `Swim Speed Up`, `swim-speed-up` and `ssu` are `swim_speed_up`; `SSU 21` is `swim_speed_up_21`.
    """
    spelled = _SPELLED.fullmatch(name.strip()) if len(name) <= _LONGEST else None
    if spelled is None:
        return name
    plain = _BETWEEN_WORDS.sub("_", spelled["name"].lower())
    ability = SHORT_NAMES.get(plain, plain)
    if ability not in _KNOWN:
        return name
    return f"{ability}_{int(spelled['ap'])}" if spelled["ap"] else ability
