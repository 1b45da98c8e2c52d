"""What players call abilities in short: `ssu` for swim_speed_up. Each short name stands for one ability."""

from typing import Final

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
    "ires": "ink_resistance_up",
    "ia": "intensify_action",
    "og": "opening_gambit",
    "lde": "last_ditch_effort",
    "ten": "tenacity",
    "cb": "comeback",
    "ns": "ninja_squid",
    "ninja": "ninja_squid",
    "hau": "haunt",
    "ti": "thermal_ink",
    "rp": "respawn_punisher",
    "ad": "ability_doubler",
    "sj": "stealth_jump",
    "os": "object_shredder",
    "dr": "drop_roller",
}
"""The usual ones; `ink_resistance_up` is `ires`, because `iru` is ink recovery."""


def ability_of(name: str) -> str:
    """The ability that a name or short name stands for, in any case and with spaces or dashes; other names come back as given."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return SHORT_NAMES.get(plain, plain)
