"""Data as components: badges of abilities, bars, tables with what their columns mean, and what is shown when there is nothing."""

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
"""What screen readers pass over."""


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
    """Terms with their numbers and, for a pointer, what they mean: (term, number, meaning). n: what percentages are of."""
    parts = [part for term, value, meaning in rows for part in (html.Dt(term, title=meaning), html.Dd(value))]
    return html.Dl(parts, **of_n(n))


def of_n(n: int | None) -> Any:
    """The attribute that says of how many a percentage is, for who reads the page by program."""
    return {} if n is None else {"data-n": str(n)}


def term(text: str, name: str) -> html.Span:
    """Words or numbers with what they mean for a pointer. name: a term of /about."""
    return html.Span(text, title=MEANINGS_BY_NAME[name], **data(term=name))


def data(**named: str) -> Any:
    """Attributes that a script of the page reads: `data-feature` and the like."""
    return {f"data-{name}": value for name, value in named.items()}


def told(found: Result, files: Files) -> list[Any]:
    """A result: its sentences, its warnings, its tables, which are to be had as files."""
    warnings = [html.P(f"Warning: {text}", className="alert") for text in found.warnings]
    tables = [table(one, html.H2, files=files) for one in found.tables]
    return [*(html.P(text) for text in found.findings), *warnings, *tables]


def answer(found: Result, files: Files) -> html.Div:
    """A whole result: its figures too, and the command that gives it again."""
    warnings = [html.P(f"Warning: {text}", className="alert") for text in found.warnings]
    usual = {name: field.default for name, field in experiment(found.kind).spec.model_fields.items()}
    settings = {
        name: value for name, value in found.spec.items() if name != "experiment" and not _is(value, usual.get(name))
    }
    flags = " ".join(f"--{name.replace('_', '-')} {_typed(value)}" for name, value in settings.items())
    made = f"{found.provenance.seconds:,.2f} s; splat experiment {found.kind} {flags}"
    return html.Div(
        [
            *(html.P(text) for text in found.findings),
            *warnings,
            *(figure(one) for one in found.figures),
            *(_folded(one, files) if one.detail else table(one, files=files) for one in found.tables),
            html.P(html.Code(made), className="quiet"),
        ]
    )  # fmt: skip


def _is(value: Any, usual: Any) -> bool:
    return bool(value == (list(usual) if isinstance(usual, tuple) else usual))


def _folded(found: ResultTable, files: Files) -> html.Details:
    return html.Details(
        [html.Summary(f"{found.title} ({counted(len(found.rows), 'rows')})"), table(found, files=files)]
    )


def _typed(value: Any) -> str:
    return shlex.quote(",".join(map(str, value)) if isinstance(value, list) else str(value))


def figure(found: Figure, heading: type[html.H2 | html.H3] = html.H3) -> Any:
    """A figure of a result: cells as a strip of colours, lines and bars as a plot."""
    if isinstance(found, Heatmap):
        return strip(found, heading)
    return figures.figure(figures.series(found), found.title, f"figure-{found.name}", height=300)


def strip(found: Heatmap, heading: type[html.H2 | html.H3] = html.H3) -> html.Section:
    """Cells coloured by sign and size, each with its number; hatched where nothing is known, with n where it is counted."""
    largest = max((abs(value) for row in found.z for value in row if value is not None), default=0.0) or 1.0
    head = [cells.heading(found.y_label), *(cells.heading(shown(x)) for x in found.x)]
    counted: Sequence[Sequence[int | None]] = found.n or [[None] * len(found.x)] * len(found.y)
    body = [
        [cells.heading(shown(name)), *(_cell(value, largest, n) for value, n in zip(row, ns, strict=True))]
        for name, row, ns in zip(found.y, found.z, counted, strict=True)
    ]
    whole = cells.drawn(head, body, "strip", f"{found.z_label} by {found.x_label}")
    name = f"figure-{found.name}"
    menu = menus.menu(found.title, name)
    return html.Section([menus.headed(heading(found.title), menu), whole], id=menus.ANCHOR + name)


def _cell(value: float | None, largest: float, n: int | None) -> cells.Cell:
    counted = "" if n is None else f"n = {n:,}"
    if value is None:
        return {"t": "", "c": "nothing", "i": counted or "nothing is known here"}
    size = f"{100 * abs(value) / largest:.0f}%"
    return {"t": f"{value:.2g}", "c": "lowered" if value < 0 else "", "i": counted, "s": {"--size": size}}


def table(
    found: ResultTable,
    heading: type[html.H2 | html.H3] = html.H3,
    most_rows: int = 200,
    links: Mapping[str, Callable[[int], str]] = _TO_FEATURES,
    files: Files | None = None,
) -> html.Section:
    """A table of a result: headings say what they mean, numbers to the right; a note says what is left out.

    links: where the numbers of a column lead, by its name. files: where the page's tables are as files, whole.
    """
    names, right, rows = in_cells(found)
    meanings = {column.shown: column.description for column in found.columns}
    kinds = ["number" if numeric else "" for numeric in right]
    head = [
        cells.heading(name, meanings.get(name.removesuffix(" [95 %]"), ""), kind)
        for name, kind in zip(names, kinds, strict=True)
    ]
    counts = _counts(found)
    body = [
        cells.of_samples(
            [_told(cell, kind, links.get(name)) for cell, name, kind in zip(row, names, kinds, strict=True)],
            None if counts is None else counts[at],
        )
        for at, row in enumerate(rows[:most_rows])
    ]
    hidden = len(rows) - most_rows
    note = " ".join(
        part
        for part in (found.note, f"{counted(hidden, 'further rows', 'are')} not shown." if hidden > 0 else "")
        if part
    )
    return html.Section(
        [
            menus.headed(
                heading([found.title, " ", html.Span(found.evidence, className="evidence")]),
                menus.menu(found.title, found.name, menus.files_of(files, found.name) if files else None),
            ),
            html.P(note, className="quiet") if note else None,
            cells.drawn(head, body),
        ],
        id=menus.ANCHOR + found.name,
    )


def _counts(found: ResultTable) -> list[int | None] | None:
    """The samples that each row is of; None for a table that does not count any."""
    at = next((at for name in ("n", "n_active") for at, one in enumerate(found.columns) if one.name == name), None)
    if at is None:
        return None
    return [row[at] if isinstance(row[at], int) else None for row in found.rows]  # type: ignore[misc]


def _told(cell: str, kind: str, leads_to: Callable[[int], str] | None) -> cells.Cell:
    if leads_to is not None:
        return cells.link(cell, leads_to(int(cell.replace(",", ""))), c=kind)
    return {"t": cell, "c": kind} if kind else cell


def effects(rows: Sequence[Mapping[str, Any]], longest: float, sign: int) -> html.Div:
    """Tokens with how much a unit of the feature moves each one's logit."""
    body = [
        [
            {**cells.heading(row["token"]), "t": marked(row["token"], row.get("in_data")), "h": of_token(row["token"])},
            cells.bar(abs(row["value"]) / longest if longest else 0, f"{row['value']:+.4g}", sign),
        ]
        for row in rows
    ]
    return cells.drawn([], body, "effects")


def example(row: Mapping[str, Any], strongest: float) -> list[cells.Cell]:
    """One sample: how strongly the feature fires on it, its weapon and what it wears."""
    value = float(row["activation"])
    return [
        cells.bar(value / strongest if strongest else 0, shown(value)),
        {"t": visible(row.get("weapon_name") or "unknown weapon"), "c": "weapon"},
        cells.build(row.get("abilities") or ()),
        cells.link(
            f"{row['global_index']:,}",
            of_sample(row["global_index"]),
            c="number",
            i="What if it were another build",
        ),
    ]


def alert(title: str, text: str, action: tuple[str, str] = ("Back to the list of features", "/features")) -> html.Div:
    """Something that is not there, and one way on: (words, address)."""
    return html.Div(
        [html.H1(title), html.P(text), dcc.Link(action[0], href=action[1])], role="alert", className="alert"
    )
