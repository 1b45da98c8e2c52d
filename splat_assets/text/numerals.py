"""Parsing of numbers in requests, addresses, files and command options.

What Python reads as a number is more: true, 1_0, blanks around it, a plus sign, digits of other scripts. A typing error must not
become another number, so only what is written here counts.
"""

import re
from typing import Any

import click

_WHOLE = re.compile("-?[0-9]+")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def is_whole(text: str) -> bool:
    """Whether a text is a whole number: ASCII digits, perhaps after a minus sign."""
    return _WHOLE.fullmatch(text) is not None


def is_number(text: str) -> bool:
    """Whether a text is a finite decimal number."""
    return _NUMBER.fullmatch(text) is not None


def whole(min: int | None = None, max: int | None = None) -> "click.ParamType[int]":
    """The type of an option or argument that is a whole number as `is_whole` has it, within bounds that count themselves."""
    return _Whole() if min is None and max is None else _WholeWithin(min, max)


def number(min: float | None = None, max: float | None = None) -> "click.ParamType[float]":
    """The type of an option or argument that is a number as `is_number` has it, within bounds that count themselves."""
    return _Number() if min is None and max is None else _NumberWithin(min, max)


def number_type(kind: Any) -> "click.ParamType[Any] | None":
    """`whole()` for int, `number()` for float, None for any other type."""
    return {int: whole, float: number}[kind]() if kind in (int, float) else None


class _Whole(click.types.IntParamType):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; click.BadParameter for what is not one."""
        if isinstance(value, str) and not is_whole(value):
            self.fail(f"{value!r} is not a whole number; write digits only, such as 10.", param, ctx)
        return super().convert(value, param, ctx)


class _WholeWithin(click.IntRange, _Whole):
    name = "integer"


class _Number(click.types.FloatParamType):
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; click.BadParameter for what is not one."""
        if isinstance(value, str) and not is_number(value):
            self.fail(f"{value!r} is not a number; write digits and at most one point, such as 0.5.", param, ctx)
        return super().convert(value, param, ctx)


class _NumberWithin(click.FloatRange, _Number):
    name = "number"
