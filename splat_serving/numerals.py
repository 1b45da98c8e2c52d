"""Numbers as they are written in requests, addresses and files.

What Python reads as a number is more: true, 1_0, blanks around it, a plus sign, digits of other scripts. A typing error must not
become another number, so only what is written here counts.
"""

import re
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationInfo, field_validator

_WHOLE = re.compile("-?[0-9]+")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def is_whole(text: str) -> bool:
    """Whether a text is a whole number: ASCII digits, perhaps after a minus sign."""
    return _WHOLE.fullmatch(text) is not None


def is_number(text: str) -> bool:
    """Whether a text is a finite decimal number."""
    return _NUMBER.fullmatch(text) is not None


def plain_number(value: Any) -> Any:
    """The value itself; ValueError for a truth value, and for a text that is no number. For pydantic's BeforeValidator."""
    if isinstance(value, bool) or (isinstance(value, str) and not is_number(value)):
        raise ValueError("must be a number")
    return value


class PlainNumbers(BaseModel):
    """A model whose numbers are written as numbers: as `plain_number`, for every field that is one or a list of some."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_written_as_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _leaves(cls.model_fields[str(info.field_name)].annotation)
        if kinds & {int, float} and not kinds & {bool, str}:
            for one in value if isinstance(value, list | tuple) else [value]:
                plain_number(one)
        return value


def _leaves(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _leaves(parts[0])
    return {annotation} if not parts else set().union(*(_leaves(part) for part in parts))
