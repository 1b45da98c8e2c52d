"""The start page: quality of the SAE, overview of its features, and links to start from; and the About page."""

from typing import Any

import polars as pl
from dash import Dash, Input, Output, dcc, html

from splat_assets.analysis.scorecard import MEANINGS
from splat_assets.errors import SplatError
from splat_assets.text.wording import counted
from splat_dash import address, cells, figures, ui
from splat_dash.query import ListQuery
from splat_dash.source import Source
from splat_dash.terms import TERMS

_CARDS = (
    ("fvu", "FVU", ""),
    ("l0_mean", "L0", ""),
    ("dead_percent", "dead", " %"),
    ("dense_percent", "dense", " %"),
    ("fidelity", "fidelity", ""),
    ("bce_recovered", "loss recovered", ""),
)
"""Metric, heading and unit."""
_WAYS = (
    ("features with the best rules", ListQuery(state="suggested", sort="-f1")),
    ("most frequent features", ListQuery(sort="-density")),
    ("features with the largest activations", ListQuery(sort="-max")),
    ("features with the largest effect on the outputs", ListQuery(sort="-effect")),
    ("features without a label", ListQuery(state="unlabelled", sort="-density")),
    ("dead features", ListQuery(state="dead")),
)


def layout(source: Source, **_: Any) -> html.Article:
    """The page."""
    about = source.about
    n_activations = "" if about.n_activations is None else f", {counted(about.n_activations, 'activations')}"
    return html.Article(
        [
            html.H1(about.name or "A store"),
            html.P(f"{counted(about.n_features, 'features')} on {counted(about.n_samples, 'samples')}{n_activations}."),
            html.Section([html.H2("Quality of the SAE"), _scorecard(source)]),
            html.Div(
                [
                    html.Section([html.H2("Where to start"), html.Ul([html.Li(_way(source, *way)) for way in _WAYS])]),
                    html.Section([html.H2("All features that fire"), _spread(source)]),
                ],
                className="feature",
            ),
        ]
    )


def _scorecard(source: Source) -> Any:
    try:
        card = source.subject.scorecard
    except SplatError as error:
        return html.P(f"No scorecard: {error}", className="quiet")
    cards = []
    for name, words, unit in _CARDS:
        value = "—" if card.get(name) is None else cells.in_digits(card[name]) + unit
        of = ui.of_n(source.about.n_features if unit else card.get("n_test_samples") or 0)
        cards.append(html.Div([html.Dt(words, title=MEANINGS[name]), html.Dd(value)], className="card", **of))
    rows = [
        [cells.heading(name), cells.number(card[name]), {"t": meaning, "c": "meaning"}]
        for name, meaning in MEANINGS.items()
        if card.get(name) is not None
    ]
    measured = f"Measured on {counted(card.get('n_test_samples') or 0, 'test samples')} held out from training."
    return html.Div(
        [
            html.Dl(cards, className="cards"),
            html.P(measured, className="quiet"),
            html.Details([html.Summary("all metrics"), cells.drawn([], rows)]),
        ]
    )


def _way(source: Source, words: str, query: ListQuery) -> list[Any]:
    n = source.rows(query).height
    return [dcc.Link(words, href=address.list_url(query)), html.Span(f" ({n:,})", className="quiet")]


def _spread(source: Source) -> html.Figure:
    """All features by density and effect; by their mean if effects were not computed."""
    features = source.rows(ListQuery()).filter(pl.col("n_active") > 0)
    known = features["effect"].null_count() < features.height
    name = "effect" if known else "mean"
    title = "largest change of a logit at its mean" if known else "mean activation where it fires"
    what = "the change of its most affected logit" if known else "its mean activation where it fires"
    text = f"Each point is a feature: density and {what}. Click a point to open it."
    drawn = figures.spread(features.filter(pl.col(name) > 0), name, title)
    return ui.figure(drawn, text, "home-spread", 420, {"CSV": address.of_list_file()})


def about(source: Source, **_: Any) -> html.Div:
    """The About page: the store, its provenance, and the definitions of terms."""
    store = source.about
    facts = [
        ("run", store.name or "—", "Run that the store belongs to."),
        ("version", store.version, "Its published version."),
        ("samples", f"{store.n_samples:,}", "All samples."),
        ("features", f"{store.n_features:,}", "Features of the SAE, dead ones included."),
        *((f"{name} (sha256)", str(value)[:16], "Fingerprint.") for name, value in store.provenance.items()
          if isinstance(value, str) and len(value) == 64),
    ]  # fmt: skip
    return html.Div(
        [
            html.H1("About"),
            html.H2("Data shown"),
            ui.numbers(facts),
            html.H2("Definitions"),
            *(
                part
                for title, terms in TERMS.items()
                for part in (html.H3(title), ui.numbers([(term, meaning, "") for term, meaning in terms.items()]))
            ),
        ]
    )


def register(app: Dash) -> None:
    """Clicks on points."""
    ui.in_browser(app, "openPoint", Output("home-spread", "className"), Input("home-spread", "clickData"))
