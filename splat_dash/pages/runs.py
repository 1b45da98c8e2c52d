"""The runs of the data root and their versions, with the scorecards of their SAEs side by side."""

from typing import Any
from urllib.parse import quote

from dash import html

from splat_assets.analysis.scorecard import MEANINGS
from splat_assets.text.wording import counted, visible
from splat_dash import cells
from splat_dash.source import Source
from splat_dash.terms import TERMS
from splat_serving.database.protocol import Published

_FIGURES = ("fvu", "l0_mean", "dead_percent", "dense_percent", "fidelity", "bce_recovered")
_COLUMNS = ("run", "version", "published", "samples", "features", "activations")


def layout(source: Source, **_: Any) -> Any:
    """The page."""
    heading = html.H1("Runs")
    versions = source.subject.published()
    if versions is None:
        text = "This is a single store: runs are listed for a run of a data root."
        return html.Article([heading, html.P(text, className="quiet")])
    meanings = {**TERMS["Runs"], **MEANINGS}
    texts = {"run", "version", "published"}
    columns = (*_COLUMNS, *_FIGURES)
    head = [cells.heading(name, meanings[name], "" if name in texts else "number") for name in columns]
    messages = [f"{one.run}: {one.said}" for one in versions if one.said]
    here = f"Shown in this window: {source.about.name}, version {source.about.version}. "
    dagster: Any = html.Span("With `splat up`, runs link to the Dagster UI.", className="quiet")
    if source.dagster_url:
        dagster = html.A("All artifacts in the Dagster UI", href=f"{source.dagster_url}/assets")
    return html.Article(
        [
            heading,
            html.P([f"{counted(len(versions), 'versions')}. {here}", html.A("JSON", href="/api/runs.json")]),
            cells.drawn(head, [_row(source, one) for one in versions]),
            html.P(["To show another run: ", html.Code("splat dash RUN"), ". ", dagster]),
            html.Ul([html.Li(visible(text)) for text in messages], className="quiet") if messages else None,
            *_recent_activity(source),
        ]
    )


def _recent_activity(source: Source) -> list[Any]:
    """Incoming inputs with their outcomes, and how runs ended."""
    lines = source.subject.activity()
    if not lines:
        return []
    head = [cells.heading(name, TERMS["Runs"].get(name, "")) for name in ("at", "what", "of", "details")]
    body = [[one.at[:16].replace("T", " "), one.kind, visible(one.subject), visible(one.said)] for one in lines]
    return [html.H2("Recent activity"), cells.drawn(head, body)]


def _row(source: Source, one: Published) -> list[cells.Cell]:
    shown = (one.run, one.version) == (source.about.name, source.about.version)
    name = visible(one.run) + (" (shown)" if shown else "")
    address = f"{source.dagster_url}/assets/published_store?partition={quote(one.run, safe='')}"
    return [
        cells.link(name, address, i="In the Dagster UI") if source.dagster_url else name,
        f"{one.version or '—'}{' *' if one.current else ''}",
        one.published.strftime("%Y-%m-%d %H:%M") if one.published else "—",
        *map(cells.number, (one.n_samples, one.n_features, one.n_activations)),
        *(cells.number(one.scorecard.get(name)) for name in _FIGURES),
    ]
