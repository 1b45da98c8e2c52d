"""Display of abilities: a code of one to four letters, and a colour for the family; never colour alone."""

from typing import Final

_DISPLAY: Final[dict[str, tuple[str, str]]] = {
    "ink_saver_main": ("ISM", "ink"),
    "ink_saver_sub": ("ISS", "ink"),
    "ink_recovery_up": ("IRU", "ink"),
    "run_speed_up": ("RSU", "movement"),
    "swim_speed_up": ("SSU", "movement"),
    "quick_super_jump": ("QSJ", "movement"),
    "special_charge_up": ("SCU", "special"),
    "special_saver": ("SS", "special"),
    "special_power_up": ("SPU", "special"),
    "quick_respawn": ("QR", "defence"),
    "ink_resistance_up": ("RES", "defence"),
    "sub_resistance_up": ("SRU", "defence"),
    "sub_power_up": ("BPU", "sub"),
    "intensify_action": ("IA", "sub"),
    "comeback": ("CB", "head"),
    "last_ditch_effort": ("LDE", "head"),
    "opening_gambit": ("OG", "head"),
    "tenacity": ("T", "head"),
    "ability_doubler": ("AD", "clothes"),
    "haunt": ("H", "clothes"),
    "ninja_squid": ("NS", "clothes"),
    "respawn_punisher": ("RP", "clothes"),
    "thermal_ink": ("TI", "clothes"),
    "drop_roller": ("DR", "shoes"),
    "object_shredder": ("OS", "shoes"),
    "stealth_jump": ("SJ", "shoes"),
}
"""Code and family by ability."""
CODES: Final[dict[str, str]] = {ability: code for ability, (code, _) in _DISPLAY.items()}


def code_of(ability: str) -> str:
    """The short code of an ability; an unknown one as it is."""
    return CODES.get(ability, ability)


def family_of(ability: str) -> str:
    """The family whose colour an ability has, `other` for an unknown one."""
    return _DISPLAY[ability][1] if ability in _DISPLAY else "other"


def in_words(ability: str) -> str:
    """`Swim Speed Up`."""
    return ability.replace("_", " ").title()
