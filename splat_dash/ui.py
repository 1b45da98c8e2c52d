"""Data as components: badges of abilities, bars, tables with explained columns, and empty states."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dash import dcc, html

from splat_assets.wording import counted, visible
from splat_dash import cells, figures, menus
from splat_dash.address import Files, feature_url, of_sample, of_token
from splat_dash.terms import MEANINGS_BY_NAME
from splat_serving.investigations.experiment import experiment
from splat_serving.investigations.results.outputs import marked
from splat_serving.investigations.results.rendering import cells as in_cells
from splat_serving.investigations.results.rendering import shown
from splat_serving.investigations.results.result import Figure, Heatmap, Result, ResultTable

_TO_FEATURES: Mapping[str, Callable[[int], str]] = {"feature": feature_url, "feature_id": feature_url}
HIDDEN: Any = {"aria-hidden": "true"}
"""Attributes that hide a component from screen readers."""


def named(name: str) -> Any:
    """The attribute that names a component for screen readers."""
    return {"aria-label": name}


def badge(ability: str, ap: int | None) -> html.Span:
    """An ability with its AP, `SSU 21`; the full name for a pointer and for screen readers."""
    text, name, kind, share = cells.badge(ability, ap)
    style = None if share is None else {"--ap": f"{share:.3f}"}
    parts = [html.Span(text, **HIDDEN), html.Span(name, className="unseen")]
    return html.Span(parts, className=f"badge {kind}", title=name, style=style)


def numbers(rows: Sequence[tuple[str, str, str]], n: int | None = None) -> html.Dl:
    """Terms with their numbers and a tooltip: (term, number, meaning). n: denominator of the percentages."""
    parts = [part for term, value, meaning in rows for part in (html.Dt(term, title=meaning), html.Dd(value))]
    return html.Dl(parts, **of_n(n))


def of_n(n: int | None) -> Any:
    """The attribute with the denominator of a percentage, for scripts that read the page."""
    return {} if n is None else {"data-n": str(n)}


def term(text: str, name: str) -> html.Span:
    """Text with its meaning as a tooltip. name: a term of /about."""
    return html.Span(text, title=MEANINGS_BY_NAME[name], **data(term=name))


def data(**named: str) -> Any:
    """Attributes that a script of the page reads: `data-feature` and the like."""
    return {f"data-{name}": value for name, value in named.items()}


def result_parts(result: Result, files: Files) -> list[Any]:
    """The findings, warnings and tables of a result; the tables can be downloaded."""
    warnings = [html.P(f"Warning: {text}", className="alert") for text in result.warnings]
    tables = [table(one, html.H2, files=files) for one in result.tables]
    return [*(html.P(text) for text in result.findings), *warnings, *tables]


def answer(result: Result, files: Files) -> html.Div:
    """A whole result: findings, warnings, figures, tables, and the command that repeats it."""
    warnings = [html.P(f"Warning: {text}", className="alert") for text in result.warnings]
    usual = {name: field.default for name, field in experiment(result.kind).spec.model_fields.items()}
    settings = {
        name: value for name, value in result.spec.items() if name != "experiment" and not _is(value, usual.get(name))
    }
    flags = " ".join(f"--{name.replace('_', '-')} {_typed(value)}" for name, value in settings.items())
    command = f"{result.provenance.seconds:,.2f} s; splat experiment {result.kind} {flags}"
    return html.Div(
        [
            *(html.P(text) for text in result.findings),
            *warnings,
            *(figure(one) for one in result.figures),
            *(_collapsed_table(one, files) if one.detail else table(one, files=files) for one in result.tables),
            html.P(html.Code(command), className="quiet"),
        ]
    )  # fmt: skip


def _is(value: Any, usual: Any) -> bool:
    return bool(value == (list(usual) if isinstance(usual, tuple) else usual))


def _collapsed_table(table_: ResultTable, files: Files) -> html.Details:
    return html.Details(
        [html.Summary(f"{table_.title} ({counted(len(table_.rows), 'rows')})"), table(table_, files=files)]
    )


def _typed(value: Any) -> str:
    return shlex.quote(",".join(map(str, value)) if isinstance(value, list) else str(value))


def figure(drawing: Figure, heading: type[html.H2 | html.H3] = html.H3) -> Any:
    """A figure of a result: cells as a strip of colours, lines and bars as a plot."""
    if isinstance(drawing, Heatmap):
        return strip(drawing, heading)
    return figures.figure(figures.series(drawing), drawing.title, f"figure-{drawing.name}", height=300)


def strip(heatmap: Heatmap, heading: type[html.H2 | html.H3] = html.H3) -> html.Section:
    """Cells coloured by sign and size, each with its number and its n if known; hatched where there is no data."""
    largest = max((abs(value) for row in heatmap.z for value in row if value is not None), default=0.0) or 1.0
    head = [cells.heading(heatmap.y_label), *(cells.heading(shown(x)) for x in heatmap.x)]
    counted: Sequence[Sequence[int | None]] = heatmap.n or [[None] * len(heatmap.x)] * len(heatmap.y)
    body = [
        [cells.heading(shown(name)), *(_cell(value, largest, n) for value, n in zip(row, ns, strict=True))]
        for name, row, ns in zip(heatmap.y, heatmap.z, counted, strict=True)
    ]
    whole = cells.drawn(head, body, "strip", f"{heatmap.z_label} by {heatmap.x_label}")
    name = f"figure-{heatmap.name}"
    menu = menus.menu(heatmap.title, name)
    return html.Section([menus.headed(heading(heatmap.title), menu), whole], id=menus.ANCHOR + name)


def _cell(value: float | None, largest: float, n: int | None) -> cells.Cell:
    counted = "" if n is None else f"n = {n:,}"
    if value is None:
        return {"t": "", "c": "nothing", "i": counted or "no data"}
    size = f"{100 * abs(value) / largest:.0f}%"
    return {"t": f"{value:.2g}", "c": "lowered" if value < 0 else "", "i": counted, "s": {"--size": size}}


def table(
    result_table: ResultTable,
    heading: type[html.H2 | html.H3] = html.H3,
    most_rows: int = 200,
    links: Mapping[str, Callable[[int], str]] = _TO_FEATURES,
    files: Files | None = None,
) -> html.Section:
    """A table of a result: headings with tooltips, numbers right-aligned, and a note on the rows that are not shown.

    links: link target of the numbers of a column, by its name. files: download addresses of the page's tables.
    """
    names, right, rows = in_cells(result_table)
    meanings = {column.shown: column.description for column in result_table.columns}
    kinds = ["number" if numeric else "" for numeric in right]
    head = [
        cells.heading(name, meanings.get(name.removesuffix(" [95 %]"), ""), kind)
        for name, kind in zip(names, kinds, strict=True)
    ]
    counts = _counts(result_table)
    body = [
        cells.of_samples(
            [_table_cell(cell, kind, links.get(name)) for cell, name, kind in zip(row, names, kinds, strict=True)],
            None if counts is None else counts[at],
        )
        for at, row in enumerate(rows[:most_rows])
    ]
    hidden = len(rows) - most_rows
    note = " ".join(
        part
        for part in (result_table.note, f"{counted(hidden, 'further rows', 'are')} not shown." if hidden > 0 else "")
        if part
    )
    return html.Section(
        [
            menus.headed(
                heading([result_table.title, " ", html.Span(result_table.evidence, className="evidence")]),
                menus.menu(
                    result_table.title, result_table.name, menus.files_of(files, result_table.name) if files else None
                ),
            ),
            html.P(note, className="quiet") if note else None,
            cells.drawn(head, body),
        ],
        id=menus.ANCHOR + result_table.name,
    )


def _counts(result_table: ResultTable) -> list[int | None] | None:
    """The number of samples of each row; None for a table without such a column."""
    at = next(
        (at for name in ("n", "n_active") for at, one in enumerate(result_table.columns) if one.name == name), None
    )
    if at is None:
        return None
    return [row[at] if isinstance(row[at], int) else None for row in result_table.rows]  # type: ignore[misc]


def _table_cell(cell: str, kind: str, leads_to: Callable[[int], str] | None) -> cells.Cell:
    if leads_to is not None:
        return cells.link(cell, leads_to(int(cell.replace(",", ""))), c=kind)
    return {"t": cell, "c": kind} if kind else cell


def effects(rows: Sequence[Mapping[str, Any]], longest: float, sign: int) -> html.Div:
    """Tokens with the change of each one's logit per unit of activation."""
    body = [
        [
            {**cells.heading(row["token"]), "t": marked(row["token"], row.get("in_data")), "h": of_token(row["token"])},
            cells.bar(abs(row["value"]) / longest if longest else 0, f"{row['value']:+.4g}", sign),
        ]
        for row in rows
    ]
    return cells.drawn([], body, "effects")


def example(row: Mapping[str, Any], strongest: float) -> list[cells.Cell]:
    """One sample: activation, weapon and abilities."""
    value = float(row["activation"])
    return [
        cells.bar(value / strongest if strongest else 0, shown(value)),
        {"t": visible(row.get("weapon_name") or "unknown weapon"), "c": "weapon"},
        cells.build(row.get("abilities") or ()),
        cells.link(
            f"{row['global_index']:,}",
            of_sample(row["global_index"]),
            c="number",
            i="Edit this build on the what-if page",
        ),
    ]


def alert(title: str, text: str, action: tuple[str, str] = ("Back to the list of features", "/features")) -> html.Div:
    """An error message with one next step: (text, address)."""
    return html.Div(
        [html.H1(title), html.P(text), dcc.Link(action[0], href=action[1])], role="alert", className="alert"
    )
