"""Checks of text that people write: visible, without characters that control a terminal or reverse a line.

Only new text is checked: older text stays readable.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from splat_assets.errors import InputError

_LINE_BREAKS = "\t\n\r"
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""The characters with the property Bidi_Control (Unicode Standard Annex 9)."""
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs without a visible shape."""
_UNSEEN_CATEGORIES = frozenset(("Zs", "Zl", "Zp", "Cc", "Cf", "Cn", "Cs", "Mn", "Me"))
_DEEPEST = 32


def checked_line(text: str, what: str, empty: bool = False) -> str:
    """A text of one line, itself; InputError for invisible text or a forbidden character.

    empty: "" is allowed.
    """
    return _checked(text, what, empty, "")


def checked_lines(text: str, what: str, empty: bool = False) -> str:
    """As `checked_line`, for a text of several lines: tabs and line ends are allowed."""
    return _checked(text, what, empty, _LINE_BREAKS)


def check_all_texts(value: Any, what: str, depth: int = 0) -> None:
    """InputError for a forbidden character anywhere in a JSON value, or for one nested too deeply."""
    if depth > _DEEPEST:
        raise InputError(f"{what} is nested more than {_DEEPEST} deep")
    if isinstance(value, str):
        _check_characters(value, what, _LINE_BREAKS)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            _check_characters(str(name), f"a name in {what}", "")
            check_all_texts(one, f"{what}.{name}", depth + 1)
    elif isinstance(value, Sequence):
        for one in value:
            check_all_texts(one, what, depth + 1)


def is_blank(text: str) -> bool:
    """Whether a text is invisible: spaces, marks and characters without a shape, or empty."""
    return all(one in _FILLERS or unicodedata.category(one) in _UNSEEN_CATEGORIES for one in text)


def _checked(text: str, what: str, empty: bool, breaks: str) -> str:
    if not (empty and not text) and is_blank(text):
        why = f"is invisible ({text!a:.40})" if text else "is empty"
        raise InputError(f"{what} {why}; enter a text")
    _check_characters(text, what, breaks)
    return text


def _check_characters(text: str, what: str, breaks: str) -> None:
    for at, one in enumerate(text):
        category = unicodedata.category(one)
        if one in breaks:
            continue
        if category in ("Cc", "Cs") or (category in ("Zl", "Zp") and not breaks):
            kind = {"Cc": "a control character", "Cs": "half of a surrogate pair"}.get(category, "a line break")
        elif one in _BIDIRECTIONAL:
            kind = "a character that changes the direction of text"
        else:
            continue
        raise InputError(f"{what} has U+{ord(one):04X} at position {at + 1}, {kind}; remove it")
