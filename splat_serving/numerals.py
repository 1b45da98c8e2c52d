"""Numbers as they are written in requests, addresses and files.

What Python reads as a number is more: true, 1_0, blanks around it, a plus sign, digits of other scripts. A typing error must not
become another number, so only what is written here counts.
"""

import re
from typing import Any

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
