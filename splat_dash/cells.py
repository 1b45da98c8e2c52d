"""Tables as one component each: cells go to the browser as data, and `dashboard.js` draws them, in milliseconds for thousands.

A cell is a text, or a dict: `t` text, `h` link target, `c` class, `s` style by name, `i` tooltip, `th`
whether it is a heading, `b` badges ([text, full name, class, share of full AP or None]), `bar` the share of the longest bar.
A row is a list of cells, or a dict: `cells`, `n` its number of samples, `c` class, `alike` further rows, collapsed.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import orjson
from dash import html

from splat_assets.text.wording import counted
from splat_dash.abilities import code_of, family_of, in_words
from splat_dash.terms import FEW, meaning_of
from splat_serving.investigations.build_text import highest_rungs
from splat_serving.investigations.results.rendering import shown

FULL_AP = 57
Cell = str | dict[str, Any]
Row = Sequence[Cell] | dict[str, Any]


def drawn(head: Sequence[Cell], body: Iterable[Row], kind: str = "", caption: str = "") -> html.Div:
    """A table. head: the column headings, may be empty. kind: its class. Wide tables scroll."""
    content = {"head": list(head), "body": list(body), "kind": kind, "caption": caption}
    table: Any = {"data-table": orjson.dumps(content).decode()}
    return html.Div(html.Slot(**table), className="scrolled", tabIndex="0")


def of_samples(row: Sequence[Cell], n: int | None) -> Row:
    """A row of n samples, pale if they are few. n: None for a row without a sample count."""
    if n is None:
        return row
    few = {"c": "few", "i": f"Only {counted(n, 'samples')}."} if n < FEW else {}
    return {"cells": row, "n": n, **few}


def with_duplicates(rows: Sequence[Sequence[Cell]], are_equal: bool) -> Row:
    """The first of a group of duplicates or near duplicates; a button expands the others."""
    return rows[0] if len(rows) == 1 else {"cells": rows[0], "alike": list(rows[1:]), "equal": are_equal}


def link(text: str, to: str, **more: Any) -> Cell:
    """A cell with a link."""
    return {"t": text, "h": to, **more}


def in_digits(value: float | None, form: Literal["", "+", "%", "+%"] = "") -> str:
    """A number as every page writes it: three significant digits, a count whole with separators, a dash for None.

    form: `+` for a change, whose sign is always written; `%` for a share, 0 to 1, as a percentage.

    Examples:
        >>> in_digits(24576), in_digits(0.123456), in_digits(0.5, "+"), in_digits(0.98765, "%"), in_digits(None)
        ('24,576', '0.123', '+0.5', '98.8 %', '—')
    """
    if value is None:
        return "—"
    text = f"{shown(100.0 * value)} %" if "%" in form else shown(value)
    return f"+{text}" if "+" in form and value >= 0 else text


def number(value: float | None, form: Literal["", "%"] = "") -> Cell:
    """A cell of a column of numbers. value, form: as for `in_digits`."""
    return {"t": in_digits(value, form), "c": "number"}


def heading(text: str, meaning: str = "", kind: str = "") -> dict[str, Any]:
    """The heading of a column or a row. meaning: its tooltip; if empty, the definition of /about."""
    return {"t": text, "th": True, "i": meaning or meaning_of(text), "c": kind}


def bar(share: float, text: str, sign: int = 1) -> Cell:
    """A number with a bar: share of the longest one, 0 to 1. sign: negative for a decrease."""
    return {"t": text, "bar": round(100 * min(max(share, 0.0), 1.0), 1), "c": "" if sign > 0 else "lowered"}


def build(token_names: Iterable[str]) -> Cell:
    """The abilities of a build: most AP first, main-only ones last."""
    badges = [badge(ability, ap) for ability, ap in in_order(token_names)]
    return {"b": badges} if badges else {"t": "no abilities", "c": "quiet"}


def in_order(token_names: Iterable[str]) -> list[tuple[str, int | None]]:
    """The abilities of a build with their AP, in the order of its badges."""
    worn = highest_rungs(token_names)
    return sorted(worn.items(), key=lambda one: (one[1] is None, -(one[1] or 0)))


def badge(ability: str, ap: int | None) -> list[Any]:
    """An ability with its AP: text, full name, class, AP as a share of a full build's."""
    name = in_words(ability) + ("" if ap is None else f", {ap} AP")
    if ap is None:
        return [code_of(ability), name, f"{family_of(ability)} main-only", None]
    return [f"{code_of(ability)} {ap}", name, family_of(ability), round(min(ap, FULL_AP) / FULL_AP, 3)]
