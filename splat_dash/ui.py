"""Data as components: tables with explained columns, panels with their menu, figures, badges, and error messages."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from splat_assets.text.wording import counted, visible
from splat_dash import cells, figures
from splat_dash.address import Files, feature_url, of_sample, of_token
from splat_dash.terms import MEANINGS_BY_NAME
from splat_serving.investigations.experiment import experiment
from splat_serving.investigations.results.outputs import marked
from splat_serving.investigations.results.rendering import cells as in_cells
from splat_serving.investigations.results.rendering import shown
from splat_serving.investigations.results.result import Figure, Heatmap, Result, ResultTable

_TO_FEATURES: Mapping[str, Callable[[int], str]] = {"feature": feature_url, "feature_id": feature_url}
ANCHOR = "panel-"
"""Prefix of a panel's name, in its id and after the # of its link."""
PLAIN: Any = {"type": "button", "className": "plain-button"}
"""Attributes of a button."""
HIDDEN: Any = {"aria-hidden": "true"}
"""Attributes that hide a component from screen readers."""


def named(name: str) -> Any:
    """The attribute that names a component for screen readers."""
    return {"aria-label": name}


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


def in_browser(app: Dash, function: str, outputs: Output | Sequence[Output], *inputs: Input | State) -> None:
    """Register a callback that runs in the browser, once an input changes: a function of `splat` in dashboard.js."""
    parts = [outputs] if isinstance(outputs, Output) else outputs
    app.clientside_callback(ClientsideFunction("splat", function), *parts, *inputs, prevent_initial_call=True)


def choices(name: str, links: Iterable[tuple[Any, str, bool]], kind: str = "choices", n: int | None = None) -> html.Nav:
    """Links between which one chooses: (text, address, whether it is the one shown). n: denominator of their percentages."""
    drawn = [dcc.Link(text, href=to, className="choice chosen" if here else "choice") for text, to, here in links]
    return html.Nav(drawn, className=kind, **named(name), **of_n(n))


def refusal(text: str) -> html.Pre:
    """Why something was not done, as it was written: a caret below an invalid rule stays in its place."""
    return html.Pre(text, className="alert", role="alert")


def menu(title: str, name: str, files: Mapping[str, str] | None = None, picture: bool = False) -> html.Details:
    """The small menu of the panel `name`, whose id is ANCHOR and that name. files: addresses of downloads by their text.

    picture: whether it has a plot that the browser can save.
    """
    entries: list[Any] = [html.Button("copy link", **PLAIN, **data(link=ANCHOR + name))]
    entries += [html.A(called, href=href) for called, href in (files or {}).items()]
    if picture:
        entries += [html.Button(form.upper(), **PLAIN, **data(picture=form)) for form in ("png", "svg")]
    summary = html.Summary("⋯", **named(f"Link and downloads: {title}"))
    return html.Details([summary, html.Div(entries)], className="menu")


def headed(heading: Any, menu_: html.Details) -> html.Div:
    """A heading with the menu of its panel."""
    return html.Div([heading, menu_], className="headed")


def figure(
    drawn: go.Figure | dict[str, Any],
    caption: str | Sequence[Any],
    name: str,
    height: int = 220,
    files: Mapping[str, str] | None = None,
    title: str = "",
    n: int | None = None,
) -> html.Figure:
    """The figure with its caption and an expand button. name: its id, and that of a saved image.

    files: its numbers, as for `menu`. title: its name in the menu, if not the caption. n: denominator of the percentages of
    its caption.
    """
    options: Any = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"filename": name}}
    graph = dcc.Graph(id=name, figure=figures.framed(drawn), config=options, style={"height": f"{height}px"})
    larger = html.Button("expand", type="button", className="plain-button grow", title="Fill the window; Escape closes")
    parts = [html.Span(caption, **of_n(n)), larger, menu(title or str(caption), name, files, picture=True)]
    return html.Figure([graph, html.Figcaption(parts, className="headed")], className="panel", id=ANCHOR + name)


def result_parts(result: Result, files: Files) -> list[Any]:
    """The findings, warnings and tables of a result; the tables can be downloaded."""
    return [*_sentences(result), *(table(one, html.H2, files=files) for one in result.tables)]


def _sentences(result: Result) -> list[html.P]:
    warnings = [html.P(f"Warning: {text}", className="alert") for text in result.warnings]
    return [*(html.P(text) for text in result.findings), *warnings]


def answer(result: Result, files: Files) -> html.Div:
    """A whole result: findings, warnings, figures, tables, and the command that repeats it."""
    usual = {name: field.default for name, field in experiment(result.kind).spec.model_fields.items()}
    usual = {name: list(value) if isinstance(value, tuple) else value for name, value in usual.items()}
    settings = {name: value for name, value in result.spec.items() if name != "experiment" and value != usual.get(name)}
    flags = " ".join(f"--{name.replace('_', '-')} {_typed(value)}" for name, value in settings.items())
    command = f"{result.provenance.seconds:,.2f} s; splat experiment {result.kind} {flags}"
    tables: list[Any] = [table(one, files=files) for one in result.tables]
    for at, one in enumerate(result.tables):
        if one.detail:
            rows = html.Summary(f"{one.title} ({counted(len(one.rows), 'rows')})")
            tables[at] = html.Details([rows, tables[at]])
    return html.Div(
        [
            *_sentences(result),
            *(result_figure(one) for one in result.figures),
            *tables,
            html.P(html.Code(command), className="quiet"),
        ]
    )  # fmt: skip


def _typed(value: Any) -> str:
    return shlex.quote(",".join(map(str, value)) if isinstance(value, list) else str(value))


def result_figure(drawing: Figure, heading: type[html.H2 | html.H3] = html.H3) -> Any:
    """A figure of a result: cells as a strip of colours, lines and bars as a plot."""
    if isinstance(drawing, Heatmap):
        return _strip(drawing, heading)
    return figure(figures.series(drawing), drawing.title, f"figure-{drawing.name}", height=300)


def _strip(heatmap: Heatmap, heading: type[html.H2 | html.H3]) -> html.Section:
    """Cells coloured by sign and size, each with its number and its n if known; hatched where data are missing."""
    largest = max((abs(value) for row in heatmap.z for value in row if value is not None), default=0.0) or 1.0
    head = [cells.heading(heatmap.y_label), *(cells.heading(shown(x)) for x in heatmap.x)]
    counted: Sequence[Sequence[int | None]] = heatmap.n or [[None] * len(heatmap.x)] * len(heatmap.y)
    body = [
        [cells.heading(shown(name)), *(_cell(value, largest, n) for value, n in zip(row, ns, strict=True))]
        for name, row, ns in zip(heatmap.y, heatmap.z, counted, strict=True)
    ]
    whole = cells.drawn(head, body, "strip", f"{heatmap.z_label} by {heatmap.x_label}")
    name = f"figure-{heatmap.name}"
    return html.Section([headed(heading(heatmap.title), menu(heatmap.title, name)), whole], id=ANCHOR + name)


def _cell(value: float | None, largest: float, n: int | None) -> cells.Cell:
    counted = "" if n is None else f"n = {n:,}"
    if value is None:
        return {"t": "", "c": "nothing", "i": counted or "no data"}
    size = f"{100 * abs(value) / largest:.0f}%"
    return {"t": shown(value), "c": "lowered" if value < 0 else "", "i": counted, "s": {"--size": size}}


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
    left_out = f"{counted(hidden, 'further rows', 'are')} not shown." if hidden > 0 else ""
    note = " ".join(part for part in (result_table.note, left_out) if part)
    name, title = result_table.name, result_table.title
    with_evidence = heading([title, " ", html.Span(result_table.evidence, className="evidence")])
    return html.Section(
        [
            headed(with_evidence, menu(title, name, files.by_format(name) if files else None)),
            html.P(note, className="quiet") if note else None,
            cells.drawn(head, body),
        ],
        id=ANCHOR + name,
    )


def _counts(result_table: ResultTable) -> list[int | None] | None:
    """The number of samples of each row; None for a table without such a column."""
    names = [column.name for column in result_table.columns]
    name = next((name for name in ("n", "n_active") if name in names), None)
    if name is None:
        return None
    at = names.index(name)
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
            cells.bar(abs(row["value"]) / longest if longest else 0, cells.in_digits(row["value"], "+"), sign),
        ]
        for row in rows
    ]
    return cells.drawn([], body, "effects")


def example(row: Mapping[str, Any], strongest: float) -> list[cells.Cell]:
    """One sample: activation, weapon and abilities."""
    value = float(row["activation"])
    return [
        cells.bar(value / strongest if strongest else 0, cells.in_digits(value)),
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
