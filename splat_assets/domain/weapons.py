"""The 173 weapons: name, class, sub and special of each, from `facts/weapons.json` (credit in `facts/CREDITS.md`)."""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Weapon:
    """One weapon. splatnet_id is the number in `weapon_id_<number>`; key is what stat.ink calls it.

    weapon_class: the in-game class (`shooter`, `dualies`).
    """

    splatnet_id: int
    key: str
    name: str
    weapon_class: str
    statink_type: str
    sub: str
    special: str

    @property
    def vocabulary_key(self) -> str:
        """What the weapon is called in a weapon vocabulary file."""
        return f"weapon_id_{self.splatnet_id}"

    @property
    def attributes(self) -> dict[str, str]:
        """What a context of the store says of it: class, sub, special."""
        return {"class": self.weapon_class, "sub": self.sub, "special": self.special}


@lru_cache(maxsize=1)
def all_weapons() -> tuple[Weapon, ...]:
    """Every known weapon, by rising splatnet_id."""
    text = files("splat_assets.domain").joinpath("facts/weapons.json").read_text(encoding="utf-8")
    rows = json.loads(text)["rows"]
    names = [name for name in Weapon.__slots__ if name != "weapon_class"]
    return tuple(Weapon(weapon_class=row["class"], **{name: row[name] for name in names}) for row in rows)


@lru_cache(maxsize=1)
def weapons_by_key() -> dict[str, Weapon]:
    """Every known weapon by its stat.ink key."""
    return {weapon.key: weapon for weapon in all_weapons()}


@lru_cache(maxsize=1)
def weapons_by_vocabulary_key() -> dict[str, Weapon]:
    """Every known weapon by `weapon_id_<splatnet id>`."""
    return {weapon.vocabulary_key: weapon for weapon in all_weapons()}
