"""A build slot by slot, as URL text: `40.SSU-ISS-ISS-_.NS-_-_-_.QSJ-_-_-_`, weapon, then head, clothes, shoes.

Each piece is its main slot and three subs by the codes of `abilities`, `_` for an empty slot. Any text of this form
is legal gear, because each slot accepts only abilities that fit it.
"""

from collections.abc import Mapping
from typing import Final

from splat_assets.domain.abilities import MAIN_ONLY, N_SUBS, SLOTS, STACKABLE
from splat_assets.domain.builds import Build, Gear, allocate, wearable_ap
from splat_assets.domain.tokens import tokens_of_ap
from splat_assets.errors import InputError
from splat_dash.abilities import CODES
from splat_serving.database.errors import UnknownNameError
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet

N_SUBS_EACH: Final = N_SUBS // len(SLOTS)
_EMPTY = "_"
_NAMES = {code: name for name, code in CODES.items()}
NOTHING: Final = Build(Gear(None, ()), Gear(None, ()), Gear(None, ()))


def fitting(slot: str, main: bool) -> tuple[str, ...]:
    """The abilities that fit a slot."""
    return (*STACKABLE, *(name for name, place in MAIN_ONLY.items() if place == slot)) if main else STACKABLE


def slots(build: Build) -> list[list[str | None]]:
    """The main slot and the subs of head, clothes and shoes; None for an empty slot."""
    return [
        [piece.main, *piece.subs, *[None] * (N_SUBS_EACH - len(piece.subs))]
        for piece in (build.head, build.clothes, build.shoes)
    ]


def as_text(weapon: int | str, build: Build) -> str:
    """`40.SSU-ISS-ISS-_._-_-_-_._-_-_-_`."""
    pieces = ("-".join(_EMPTY if name is None else CODES.get(name, name) for name in piece) for piece in slots(build))
    return ".".join([str(weapon), *pieces])


def parse(text: str, n_weapons: int) -> tuple[int, Build]:
    """Weapon and build; InputError names the invalid part."""
    weapon, *pieces = text.split(".")
    if not (weapon.isascii() and weapon.isdigit() and len(weapon) < 10 and int(weapon) < n_weapons):
        raise InputError(f"b: {weapon[:20]!r} is not a weapon: weapons are 0 to {n_weapons - 1}")
    if len(pieces) != len(SLOTS):
        raise InputError(
            f"b: {len(pieces)} pieces of gear instead of {len(SLOTS)}, as 40.SSU-ISS-ISS-_.NS-_-_-_._-_-_-_"
        )
    return int(weapon), Build(*(_piece(slot, piece) for slot, piece in zip(SLOTS, pieces, strict=True)))


def _piece(slot: str, text: str) -> Gear:
    codes = text.split("-")
    if len(codes) != 1 + N_SUBS_EACH:
        raise InputError(f"b: the {slot} has {len(codes)} slots instead of {1 + N_SUBS_EACH}: {text[:40]!r}")
    names = []
    for at, code in enumerate(codes):
        name = None if code == _EMPTY else _NAMES.get(code)
        if code != _EMPTY and (name is None or name not in fitting(slot, at == 0)):
            raise InputError(f"b: {code[:20]!r} does not fit the {'main' if at == 0 else 'sub'} slot of the {slot}")
        names.append(name)
    return Gear(names[0], tuple(name for name in names[1:] if name is not None))


def of_rungs(rungs: Mapping[str, int | None]) -> Build:
    """The smallest gear with these highest rungs (None for an ability without rungs); InputError if no gear has them."""
    return allocate(wearable_ap({name: 10 if rung is None else rung for name, rung in rungs.items()}))


def token_set(weapon_id: int, build: Build, subject: Subject) -> TokenSet:
    """The build as the model reads it; UnknownNameError if its vocabulary lacks a token."""
    by_name = subject.vocabulary.by_name
    names = tokens_of_ap(build.ap) if build.ap else []
    missing = [name for name in names if name not in by_name]
    if missing:
        raise UnknownNameError(f"{missing[0]} is not in the model's vocabulary")
    return TokenSet(weapon_id, tuple(by_name[name].id for name in names))
