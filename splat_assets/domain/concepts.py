"""Rules over a build and its weapon, in a form that programs and files share.

As JSON a rule is one of
    {"ability": "run_speed_up", "at_least": 12}     the ability's highest rung is at least that (absent without `at_least`: worn)
    {"weapon": "class", "is": ["charger"]}          the weapon's attribute (class, sub, special) is one of these, or its `name`
    {"all": [rule, ...]}, {"any": [rule, ...]}, {"not": rule}
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from splat_assets.errors import InputError

NAME = "name"
"""Stands for a weapon's own name among the attributes of weapons."""
_DEEPEST = 32
_MOST_AP = 2**31
"""Any bound far above the 66 AP of a build: what a rule holds is written as JSON, whose numbers others read with 64 bits."""
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Wears:
    """The ability is worn, at least on rung at_least, if set."""

    ability: str
    at_least: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON."""
        return {"ability": self.ability} | ({} if self.at_least is None else {"at_least": self.at_least})


@dataclass(frozen=True, slots=True)
class WeaponIs:
    """An attribute of the weapon (`class`, `sub`, `special`), or its `name` itself, is one of these."""

    attribute: str
    one_of: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON."""
        return {"weapon": self.attribute, "is": list(self.one_of)}


@dataclass(frozen=True, slots=True)
class All:
    """Every one of these rules holds."""

    rules: tuple["Rule", ...]

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON."""
        return {"all": [rule.as_json() for rule in self.rules]}


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these rules holds."""

    rules: tuple["Rule", ...]

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON."""
        return {"any": [rule.as_json() for rule in self.rules]}


@dataclass(frozen=True, slots=True)
class Not:
    """The rule does not hold."""

    rule: "Rule"

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON."""
        return {"not": self.rule.as_json()}


Leaf: TypeAlias = Wears | WeaponIs
Rule: TypeAlias = Leaf | All | AnyOf | Not


def parse_rule(raw: object, depth: int = 0) -> Rule:
    """The rule that JSON describes. Raises InputError naming the part that is not a rule. depth: rules that it is inside of."""
    if depth > _DEEPEST:
        raise InputError(f"rules may be nested at most {_DEEPEST} deep")
    match raw:
        case {"ability": str(ability), **rest} if not rest.keys() - {"at_least"}:
            at_least = rest.get("at_least")
            if at_least is None or (type(at_least) is int and abs(at_least) < _MOST_AP):
                return Wears(ability, at_least)
        case {"weapon": str(attribute), "is": [*values], **rest} if not rest and values:
            if all(isinstance(value, str) for value in values):
                return WeaponIs(attribute, tuple(values))
        case {"all": [*rules], **rest} if not rest and rules:
            return All(tuple(parse_rule(rule, depth + 1) for rule in rules))
        case {"any": [*rules], **rest} if not rest and rules:
            return AnyOf(tuple(parse_rule(rule, depth + 1) for rule in rules))
        case {"not": rule, **rest} if not rest:
            return Not(parse_rule(rule, depth + 1))
    raise InputError(f"{raw!r:.200} is not a rule: expected ability/at_least, weapon/is, all, any or not")


def evaluate(rule: Rule, leaf: Callable[[Leaf], Flags]) -> Flags:
    """Where a rule holds, from where its leaves hold."""
    match rule:
        case All(rules):
            return reduce(np.logical_and, [evaluate(part, leaf) for part in rules])
        case AnyOf(rules):
            return reduce(np.logical_or, [evaluate(part, leaf) for part in rules])
        case Not(part):
            return ~evaluate(part, leaf)
        case _:
            return leaf(rule)


def leaves(rule: Rule) -> list[Leaf]:
    """Every ability and weapon condition in a rule, in reading order."""
    match rule:
        case All(rules) | AnyOf(rules):
            return [leaf for part in rules for leaf in leaves(part)]
        case Not(part):
            return leaves(part)
        case _:
            return [rule]
