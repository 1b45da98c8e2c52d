"""Data as components: badges of abilities, bars, tables with what their columns mean, and what is shown when there is nothing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dash import dcc, html

from splat_dash.abilities import code_of, family_of, in_words
from splat_dash.address import of_feature
from splat_serving.investigations.build_text import highest_rungs
from splat_serving.investigations.rendering import cells, shown, visible
from splat_serving.investigations.result import Result, ResultTable

_FULL_AP = 57
_OF_FEATURES = ("feature", "feature_id")
_HIDDEN: Any = {"aria-hidden": "true"}


def named(name: str) -> Any:
    """The attribute that names a component for screen readers."""
    return {"aria-label": name}


def badge(ability: str, ap: int | None) -> html.Span:
    """An ability with its AP, `SSU 21`; the full name for a pointer and for screen readers."""
    name = in_words(ability) + ("" if ap is None else f", {ap} AP")
    text = code_of(ability) if ap is None else f"{code_of(ability)} {ap}"
    parts = [html.Span(text, **_HIDDEN), html.Span(name, className="unseen")]
    if ap is None:
        return html.Span(parts, className=f"badge {family_of(ability)} main-only", title=name)
    style = {"--ap": f"{min(ap, _FULL_AP) / _FULL_AP:.3f}"}
    return html.Span(parts, className=f"badge {family_of(ability)}", title=name, style=style)


def build(token_names: Iterable[str]) -> list[html.Span]:
    """The abilities of a build: most AP first, main-only ones last."""
    worn = highest_rungs(token_names)
    ordered = sorted(worn.items(), key=lambda one: (one[1] is None, -(one[1] or 0)))
    return [badge(ability, ap) for ability, ap in ordered] or [html.Span("no abilities", className="quiet")]


def bar(share: float, text: str, sign: int = 1) -> html.Div:
    """A number with a bar: share of the longest one, 0 to 1. sign: below 0 for what is lowered."""
    style = {"--share": f"{100 * min(max(share, 0.0), 1.0):.1f}%"}
    return html.Div([html.Span(className="bar" if sign > 0 else "bar lowered", style=style), html.Span(text, className="number")],
                    className="with-bar")  # fmt: skip


def numbers(rows: Sequence[tuple[str, str, str]]) -> html.Dl:
    """Terms with their numbers and, for a pointer, what they mean: (term, number, meaning)."""
    return html.Dl([part for term, value, meaning in rows for part in (html.Dt(term, title=meaning), html.Dd(value))])


def told(found: Result) -> list[Any]:
    """A result: its sentences, its warnings, its tables."""
    warnings = [html.P(f"Warning: {text}", className="alert") for text in found.warnings]
    return [*(html.P(text) for text in found.said), *warnings, *(table(one, html.H2) for one in found.tables)]


def table(found: ResultTable, heading: type[html.H2 | html.H3] = html.H3, most_rows: int = 200) -> html.Section:
    """A table of a result: headings say what they mean, numbers to the right; a note says what is left out."""
    names, right, rows = cells(found)
    meanings = {column.name: column.description for column in found.columns}
    kinds = ["number" if numeric else "" for numeric in right]
    head = html.Tr(
        [
            html.Th(name, title=meanings.get(name.removesuffix(" [95 %]"), ""), className=kind, scope="col")
            for name, kind in zip(names, kinds, strict=True)
        ]
    )
    links = [name in _OF_FEATURES for name in names]
    body = [
        html.Tr(
            [
                html.Td(dcc.Link(cell, href=of_feature(int(cell.replace(",", "")))) if linked else cell, className=kind)
                for cell, kind, linked in zip(row, kinds, links, strict=True)
            ]
        )
        for row in rows[:most_rows]
    ]
    hidden = len(rows) - most_rows
    note = " ".join(
        part for part in (found.note, f"{hidden:,} further rows are not shown." if hidden > 0 else "") if part
    )
    return html.Section(
        [
            heading([found.title, " ", html.Span(found.evidence, className="evidence")]),
            html.P(note, className="quiet") if note else None,
            html.Div(html.Table([html.Thead(head), html.Tbody(body)]), className="scrolled", tabIndex="0"),
        ]
    )


def effects(rows: Sequence[Mapping[str, Any]], longest: float, sign: int) -> html.Table:
    """Tokens with how much a unit of the feature moves each one's logit."""
    return html.Table(
        html.Tbody(
            [
                html.Tr([html.Th(row["token"], scope="row"),
                         html.Td(bar(abs(row["value"]) / longest if longest else 0, f"{row['value']:+.4g}", sign))])
                for row in rows
            ]
        ),
        className="effects",
    )  # fmt: skip


def example(row: Mapping[str, Any], strongest: float) -> html.Tr:
    """One sample: how strongly the feature fires on it, its weapon and what it wears."""
    value = float(row["activation"])
    return html.Tr(
        [
            html.Td(bar(value / strongest if strongest else 0, shown(value))),
            html.Td(visible(row.get("weapon_name") or "unknown weapon"), className="weapon"),
            html.Td(build(row.get("abilities") or ())),
            html.Td(f"{row['global_index']:,}", className="number quiet", title="The sample's id"),
        ]
    )


def alert(title: str, text: str, action: tuple[str, str] = ("Back to the list of features", "/features")) -> html.Div:
    """Something that is not there, and one way on: (words, address)."""
    return html.Div(
        [html.H1(title), html.P(text), dcc.Link(action[0], href=action[1])], role="alert", className="alert"
    )
