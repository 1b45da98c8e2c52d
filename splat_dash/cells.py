"""Tables as one component each: cells go to the browser as data, and `dashboard.js` draws them, in milliseconds for thousands.

A cell is a text, or a dict: `t` text, `h` address it leads to, `c` class, `s` style by name, `i` what a pointer is told, `th`
whether it is a heading, `b` badges ([text, full name, class, share of full AP or None]), `bar` the share of the longest bar.
A row is a list of cells, or a dict: `cells`, `n` the samples that it is of, `c` class, `alike` further rows, folded away.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from dash import html

from splat_assets.wording import counted
from splat_dash.abilities import code_of, family_of, in_words
from splat_dash.terms import FEW, meaning_of
from splat_serving.investigations.build_text import highest_rungs

FULL_AP = 57
Cell = str | dict[str, Any]
Row = Sequence[Cell] | dict[str, Any]


def drawn(head: Sequence[Cell], body: Iterable[Row], kind: str = "", caption: str = "") -> html.Div:
    """A table. head: the cells above its columns, none for a table without. kind: its class. Wide ones can be scrolled."""
    told = {"head": list(head), "body": list(body), "kind": kind, "caption": caption}
    return html.Div(html.Slot(**_data(orjson.dumps(told).decode())), className="scrolled", tabIndex="0")


def _data(text: str) -> Any:
    return {"data-table": text}


def of_samples(row: Sequence[Cell], n: int | None) -> Row:
    """A row that is of n samples; pale where they are few. n: None where samples do not come into it."""
    if n is None:
        return row
    few = {"c": "few", "i": f"Of {counted(n, 'samples')} only."} if n < FEW else {}
    return {"cells": row, "n": n, **few}


def folded(rows: Sequence[Sequence[Cell]], are_equal: bool) -> Row:
    """The first of some rows that are the same build, or nearly the same; the others come when they are asked for."""
    return rows[0] if len(rows) == 1 else {"cells": rows[0], "alike": list(rows[1:]), "equal": are_equal}


def link(text: str, to: str, **more: Any) -> Cell:
    """A cell that leads somewhere."""
    return {"t": text, "h": to, **more}


def number(text: str) -> Cell:
    """A cell of a column of numbers."""
    return {"t": text, "c": "number"}


def heading(text: str, meaning: str = "", kind: str = "") -> dict[str, Any]:
    """The cell above a column or before a row. meaning: that of /about where none is given."""
    return {"t": text, "th": True, "i": meaning or meaning_of(text), "c": kind}


def bar(share: float, text: str, sign: int = 1) -> Cell:
    """A number with a bar: share of the longest one, 0 to 1. sign: below 0 for what is lowered."""
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
    """An ability with its AP: what is written, its full name, its class, the AP as a share of a full build's."""
    name = in_words(ability) + ("" if ap is None else f", {ap} AP")
    if ap is None:
        return [code_of(ability), name, f"{family_of(ability)} main-only", None]
    return [f"{code_of(ability)} {ap}", name, family_of(ability), round(min(ap, FULL_AP) / FULL_AP, 3)]
