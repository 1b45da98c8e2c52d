"""The 26 abilities, what they cost, and where they fit.

Ability points (AP): a main slot is worth 10, a sub slot 3. 14 abilities stack on main and sub slots; 12 exist once, on the
main slot of one piece of gear. Names come from `facts/abilities.json` (credit in `facts/CREDITS.md`).
"""

import json
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
