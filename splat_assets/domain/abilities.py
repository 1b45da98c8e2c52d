"""The 26 abilities, what they cost, where they fit, and their short names: `ssu` for swim_speed_up.

Ability points (AP): a main slot is worth 10, a sub slot 3. 14 abilities stack on main and sub slots; 12 exist once, on the
main slot of one piece of gear. Names come from `facts/abilities.json` (credit in `facts/CREDITS.md`).
"""

import json
import re
from importlib.resources import files
from typing import Final

SLOTS: Final = ("head", "clothes", "shoes")
MAIN_AP: Final = 10
SUB_AP: Final = 3
N_MAINS: Final = 3
N_SUBS: Final = 9
FULL_AP: Final = N_MAINS * MAIN_AP + N_SUBS * SUB_AP

RUNGS: Final = (3, 6, 12, 15, 21, 29, 38, 51, 57)
"""The AP at which a stackable ability's next token begins."""

DOUBLER: Final = "ability_doubler"
"""Its piece of gear (clothes) counts each of its up to three subs twice."""

N_SUBS_DOUBLED: Final = N_SUBS + 3
FULL_AP_DOUBLED: Final = N_MAINS * MAIN_AP + N_SUBS_DOUBLED * SUB_AP

_ROWS = json.loads(files("splat_assets.domain").joinpath("facts/abilities.json").read_text(encoding="utf-8"))["rows"]

STACKABLE: Final[tuple[str, ...]] = tuple(row["key"] for row in _ROWS if row["slot"] is None)
"""The 14 abilities that fit every main and sub slot."""

MAIN_ONLY: Final[dict[str, str]] = {row["key"]: row["slot"] for row in _ROWS if row["slot"] is not None}
"""The 12 main-only abilities and the piece of gear each one is bound to."""

ABILITY_NAMES: Final[dict[str, str]] = {row["key"]: row["name"] for row in _ROWS}
"""The English in-game name of every ability."""


def highest_possible_ap(doubled: bool) -> int:
    """The AP of a full build: 57, or 66 when ability_doubler counts its three subs twice."""
    return FULL_AP_DOUBLED if doubled else FULL_AP


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
