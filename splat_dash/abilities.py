"""Display of abilities: a code of one to four letters, and a colour for the family; never colour alone."""

from typing import Final

CODES: Final[dict[str, str]] = {
    "ink_saver_main": "ISM",
    "ink_saver_sub": "ISS",
    "ink_recovery_up": "IRU",
    "run_speed_up": "RSU",
    "swim_speed_up": "SSU",
    "quick_super_jump": "QSJ",
    "special_charge_up": "SCU",
    "special_saver": "SS",
    "special_power_up": "SPU",
    "quick_respawn": "QR",
    "ink_resistance_up": "RES",
    "sub_resistance_up": "SRU",
    "sub_power_up": "BPU",
    "intensify_action": "IA",
    "comeback": "CB",
    "last_ditch_effort": "LDE",
    "opening_gambit": "OG",
    "tenacity": "T",
    "ability_doubler": "AD",
    "haunt": "H",
    "ninja_squid": "NS",
    "respawn_punisher": "RP",
    "thermal_ink": "TI",
    "drop_roller": "DR",
    "object_shredder": "OS",
    "stealth_jump": "SJ",
}
FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "ink": ("ink_saver_main", "ink_saver_sub", "ink_recovery_up"),
    "movement": ("run_speed_up", "swim_speed_up", "quick_super_jump"),
    "special": ("special_charge_up", "special_saver", "special_power_up"),
    "defence": ("quick_respawn", "ink_resistance_up", "sub_resistance_up"),
    "sub": ("sub_power_up", "intensify_action"),
    "head": ("comeback", "last_ditch_effort", "opening_gambit", "tenacity"),
    "clothes": ("ability_doubler", "haunt", "ninja_squid", "respawn_punisher", "thermal_ink"),
    "shoes": ("drop_roller", "object_shredder", "stealth_jump"),
}
_FAMILY_OF = {ability: family for family, abilities in FAMILIES.items() for ability in abilities}


def code_of(ability: str) -> str:
    """The short code of an ability; an unknown one as it is."""
    return CODES.get(ability, ability)


def family_of(ability: str) -> str:
    """The family whose colour an ability has, `other` for an unknown one."""
    return _FAMILY_OF.get(ability, "other")


def in_words(ability: str) -> str:
    """`Swim Speed Up`."""
    return ability.replace("_", " ").title()
