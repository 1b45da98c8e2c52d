"""A result as text: for a terminal, as Markdown, as JSON."""

import json
from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape

from splat_assets.errors import InputError
from splat_assets.text.terminal import FittedTable
from splat_assets.text.wording import counted, visible
from splat_serving.investigations.results.result import Evidence, LinesOrBars, Result, ResultTable, Scalar

_SHOWN_ROWS = 60
_BAR_CELLS = 32
_DISPENSABLE = frozenset(("in_data", "min", "q25", "q75", "q90", "q95", "std", "sample", "phi", "mean_without"))
"""Columns that a narrow terminal hides first."""
_ENDINGS = (".png", ".svg", ".html")
_EVIDENCE = {
    "observed": "observed: counted over all samples, zeros included",
    "causal": "causal: builds edited and run through the model",
    "weights": "weights: computed from the weights",
    "people": "labels: written by people",
}


def evidence_in_words(evidence: Evidence) -> str:
    """The kind of evidence in one word."""
    return "labels" if evidence == "people" else evidence


def checked_ending(path: Path) -> Path:
    """The path itself; InputError where its ending does not say what is to be drawn."""
    if path.suffix not in _ENDINGS:
        raise InputError(f"--plot {path}: the file name must end in one of {', '.join(_ENDINGS)}")
    return path


def shown(value: Scalar) -> str:
    """A value as people read it: three significant digits of a fraction, a dash for what is not known."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0:
            return "0"
        return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}" if abs(value) >= 1e-4 else f"{value:.2e}"
    return visible(value)


def in_markdown(text: str) -> str:
    """A text as `visible` has it, for Markdown, which passes HTML through: text that people wrote must not become HTML."""
    return visible(text).replace("<", "&lt;")


def as_json(result: Result) -> str:
    """The result as JSON; its schema is `Result.model_json_schema()`."""
    return json.dumps(result.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_markdown(result: Result) -> str:
    """The result as Markdown: findings, warnings, every table in full, provenance."""
    parts = [f"# {in_markdown(result.title)}\n"]
    parts += [f"{in_markdown(sentence)}\n" for sentence in result.findings]
    parts += [f"> **Warning:** {in_markdown(warning)}\n" for warning in result.warnings]
    for table in result.tables:
        parts.append(f"## {table.title}\n\n*{_EVIDENCE[table.evidence]}.*{' ' + table.note if table.note else ''}\n")
        parts.append(markdown_table(table) + "\n")
    parts.append(_origin(result))
    return "\n".join(parts)


def markdown_table(table: ResultTable) -> str:
    """The rows as a Markdown table, numbers to the right."""
    names, right, rows = cells(table)
    lines = ["| " + " | ".join(names) + " |", "|" + "|".join("---:" if numeric else "---" for numeric in right) + "|"]
    lines += ["| " + " | ".join(in_markdown(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def cells(table: ResultTable) -> tuple[list[str], list[bool], list[list[str]]]:
    """A table as text: headings, whether each column holds numbers, rows. `x`, `x_low`, `x_high` are one column, `x [95 %]`."""
    at = {column.name: place for place, column in enumerate(table.columns)}
    with_interval = {name for name in at if f"{name}_low" in at and f"{name}_high" in at}
    bounds = {f"{name}_{end}" for name in with_interval for end in ("low", "high")}
    names = [name for name in at if name not in bounds]
    right = [_is_numeric(row[at[name]] for row in table.rows) for name in names]

    def cell(row: list[Scalar], name: str) -> str:
        text = shown(row[at[name]])
        if name in with_interval and row[at[name]] is not None:
            text += f" [{shown(row[at[f'{name}_low']])}, {shown(row[at[f'{name}_high']])}]"
        return text

    above = {column.name: column.shown for column in table.columns}
    headings = [f"{above[name]} [95 %]" if name in with_interval else above[name] for name in names]
    return headings, right, [[cell(row, name) for name in names] for row in table.rows]


def print_result(console: Console, result: Result) -> None:
    """Print a result for people: headline, warnings, tables (the first rows of long ones), figures of bars as bars."""
    console.print(f"[bold]{escape(visible(result.title))}[/bold]")
    for sentence in result.findings:
        console.print(escape(visible(sentence)))
    for warning in result.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(visible(warning))}")
    for figure in result.figures:
        if isinstance(figure, LinesOrBars) and figure.kind == "bars":
            console.print()
            for line in bars(figure):
                console.print(line, highlight=False)
    for table in (table for table in result.tables if not table.detail):
        console.print()
        console.print(_rich_table(table))
        hidden = len(table.rows) - _SHOWN_ROWS
        if hidden > 0:
            console.print(f"… and {counted(hidden, 'rows')} more; --format markdown or json shows all")
    left_out = [table.title for table in result.tables if table.detail]
    if left_out:
        console.print(f"\nAlso with --format markdown or json: {escape('; '.join(left_out))}")
    console.print(f"\n[dim]{escape(_origin(result))}[/dim]")


def bars(figure: LinesOrBars) -> list[str]:
    """A figure of bars in characters, one line a bar, the longest of _BAR_CELLS cells."""
    lines = [f"[bold]{escape(figure.title)}[/bold]  ({escape(figure.y_label)})"]
    for series in figure.series:
        if len(figure.series) > 1:
            lines.append(escape(series.name))
        longest = max((abs(y) for y in series.y if y is not None), default=0.0) or 1.0
        labels = [shown(x) for x in series.x]
        width = max(map(len, labels), default=0)
        for label, y in zip(labels, series.y, strict=True):
            eighths = 0 if y is None else round(abs(y) / longest * _BAR_CELLS * 8)
            bar = "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")
            lines.append(f"{escape(label):>{width}} {bar} {shown(y)}")
    return lines


def _rich_table(table: ResultTable) -> FittedTable:
    names, right, rows = cells(table)
    rich_table = FittedTable(
        hide=_least_useful_first(table, names),
        instead="--format json",
        title=f"{escape(table.title)}  [dim]{evidence_in_words(table.evidence)}[/dim]",
        caption=escape(table.note) or None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name, numeric in zip(names, right, strict=True):
        rich_table.add_column(escape(name), justify="right" if numeric else "left")
    for row in rows[:_SHOWN_ROWS]:
        rich_table.add_row(*map(escape, row))
    return rich_table


def _least_useful_first(table: ResultTable, names: list[str]) -> list[str]:
    """The headings that may be hidden: all but the first; then those of estimates, and last n, q and the label."""
    own = {column.shown: column.name for column in table.columns}

    def worth(at: int) -> tuple[int, int]:
        name = own.get(names[at])  # not known for an estimate with its interval
        return (3 if name in ("n", "q", "label") else 2 if name is None else 0 if name in _DISPENSABLE else 1), -at

    return [names[at] for at in sorted(range(1, len(names)), key=worth)]


def _is_numeric(values: Iterable[Scalar]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def _origin(result: Result) -> str:
    made = result.provenance
    sae = made.fingerprints.get("sae", "")
    origin = f"{made.run or made.source}, version {made.store_version}{f', SAE {sae[:12]}' if sae else ''}"
    return f"{origin}; {made.seconds:.2f} s"
