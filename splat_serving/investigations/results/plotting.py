"""The figures of a result as pictures (PNG, SVG), and a whole result as one self-contained HTML page."""

import io
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from splat_assets.errors import InputError
from splat_serving.investigations.results.rendering import as_json, cells, checked_ending, evidence_in_words
from splat_serving.investigations.results.result import Figure, Heatmap, LinesOrBars, Result, ResultTable

_WIDTH, _HEIGHT = 7.2, 3.6  # inches
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .15rem .6rem; border-bottom: 1px solid #8884; text-align: left; }
.number { text-align: right; white-space: nowrap; }
.evidence { font-size: .8em; border: 1px solid #8888; border-radius: .6em; padding: 0 .5em; }
.warning { border-left: .3em solid #c80; padding-left: .7em; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; background: #fff; }
footer { font-size: .85em; opacity: .8; }
"""


def draw(result: Result, path: Path) -> list[Path]:
    """Write the figures of a result into path, or the whole result where that ends in .html; returns what was written.

    Raises InputError for another ending, and for a result without figures.
    """
    if checked_ending(path).suffix == ".html":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_html([result]), encoding="utf-8")
        return [path]
    if not result.figures:
        raise InputError(f"--plot {path}: this result has no figures; a path that ends in .html gets its tables")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(figsize=(_WIDTH, _HEIGHT * len(result.figures)), layout="constrained")
    for axes, figure in zip(np.atleast_1d(canvas.subplots(len(result.figures))), result.figures, strict=True):
        draw_figure(axes, figure)
    canvas.savefig(path, dpi=144)
    return [path]


def draw_figure(axes: Axes, figure: Figure) -> None:
    """One figure."""
    axes.set_title(figure.title, fontsize=10, loc="left")
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    if isinstance(figure, Heatmap):
        _draw_cells(axes, figure)
    else:
        _draw_series(axes, figure)


def as_svg(figure: Figure) -> str:
    """A figure as an SVG element."""
    canvas = Canvas(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    draw_figure(canvas.subplots(), figure)
    sink = io.StringIO()
    canvas.savefig(sink, format="svg", metadata={"Date": None})
    return sink.getvalue()[sink.getvalue().index("<svg") :]


def as_html(results: list[Result], title: str | None = None, question: str = "") -> str:
    """Results as one page: findings, figures, tables, and the JSON of each. question: the one that all of them answer."""
    body = "\n".join(_section(result) for result in results)
    heading = escape(title or results[0].title)
    note = f"<p>{escape(question)}</p>\n" if question else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{heading}</h1>\n{note}{body}\n</body></html>\n"
    )


def _section(result: Result) -> str:
    findings = "".join(f"<p>{escape(sentence)}</p>" for sentence in result.findings)
    warnings = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in result.warnings)
    figures = "".join(f"<figure>{as_svg(figure)}</figure>" for figure in result.figures)
    tables = "".join(_table(table) for table in result.tables)
    made = result.provenance
    origin = escape(f"{made.run or made.source}, version {made.store_version}; {made.command}")
    whole = escape(as_json(result))
    return (
        f"<section><h2>{escape(result.title)}</h2>{findings}{warnings}{figures}{tables}"
        f"<footer>{origin}<details><summary>JSON</summary><pre>{whole}</pre></details></footer></section>"
    )


def _table(table: ResultTable) -> str:
    names, right, rows = cells(table)
    descriptions = {column.shown: column.description for column in table.columns}
    kinds = ['class="number"' if numeric else "" for numeric in right]
    head = "".join(
        f'<th {kind} title="{escape(descriptions.get(name.removesuffix(" [95 %]"), ""))}">{escape(name)}</th>'
        for name, kind in zip(names, kinds, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td {kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    return (
        f'<h3>{escape(table.title)} <span class="evidence">{evidence_in_words(table.evidence)}</span></h3>{note}'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _draw_series(axes: Axes, figure: LinesOrBars) -> None:
    labels = list(dict.fromkeys(x for series in figure.series for x in series.x))
    place = {x: at for at, x in enumerate(labels)}
    n_series = len(figure.series)
    for number, series in enumerate(figure.series):
        x = np.array([place[one] for one in series.x], dtype=np.float64)
        y = _numbers(series.y)
        low, high = (_numbers(bound) if bound else y for bound in (series.low, series.high))
        if figure.kind == "bars":
            x += (number - (n_series - 1) / 2) * 0.8 / n_series
            axes.bar(x, y, 0.8 / n_series, label=series.name)
            if series.low and series.high:
                error = [np.abs(y - low), np.abs(high - y)]
                axes.errorbar(x, y, error, fmt="none", ecolor="black", capsize=2, linewidth=0.8)
        else:
            (line,) = axes.plot(x, y, marker="o", label=series.name)
            axes.fill_between(x, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    long = sum(len(str(label)) for label in labels) > 60
    axes.set_xticks(range(len(labels)), [str(label) for label in labels], rotation=45 if long else 0)
    if n_series > 1:
        axes.legend(frameon=False)


def _draw_cells(axes: Axes, figure: Heatmap) -> None:
    if not figure.x or not figure.y:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)
        return
    z = np.array([_numbers(row) for row in figure.z])
    image = axes.imshow(np.ma.masked_invalid(z), aspect="auto", origin="lower", cmap="viridis")
    axes.set_xticks(range(len(figure.x)), [str(x) for x in figure.x])
    axes.set_yticks(range(len(figure.y)), [str(y) for y in figure.y])
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, label=figure.z_label)


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
