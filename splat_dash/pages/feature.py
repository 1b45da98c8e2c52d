"""One feature: what it is called, how it fires, on what, what it does, and which others are like it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dash import dcc, html

from splat_assets.errors import InputError
from splat_assets.store.errors import FeatureNotFoundError
from splat_dash import address, cells, figures, ui
from splat_dash.pages import experiments, labelling
from splat_dash.query import ListQuery
from splat_dash.source import Place, Source
from splat_serving.database import FeatureSummary
from splat_serving.investigations.overview import PARTS
from splat_serving.investigations.rendering import shown, visible

TABS = ("examples", *PARTS, "experiments")
_N_EFFECTS, _N_NEIGHBOURS = 8, 5
_N_INTERVALS = 10
_LARGEST = 3.4e38  # of float32
_GROUPS = {
    "top": "strongest",
    "band_top": "band: top",
    "band_high": "band: high",
    "band_core": "band: core",
    "band_below_core": "band: below core",
    "band_low": "band: low",
    "band_floor": "band: floor",
    "random_active": "random, where it fires",
    "random_inactive": "random, where it does not",
}
_KINDS = {
    "decoder_cosine": "by decoder direction (cosine)",
    "pearson": "by activations (Pearson's r)",
    "jaccard": "by samples shared (Jaccard)",
}


def layout(source: Source, fid: str = "", tab: str = "examples", group: str = "top", **given: Any) -> Any:
    """The page of a feature. given: `list`, the list that `next` and `previous` follow."""
    n_features = source.about.n_features
    try:
        feature_id = _feature_id(fid, n_features)
        query = ListQuery.from_text(str(given.get("list") or ""))
        found = source.feature(feature_id)
    except FeatureNotFoundError:
        return ui.alert(f"There is no feature {fid[:20]}", f"This SAE has features 0 to {n_features - 1:,}.")
    except InputError as error:
        return ui.alert("This address means nothing", str(error))
    names = source.names()
    tab = tab if tab in TABS else "examples"
    return html.Article(
        [
            _head(found, names.get(feature_id), source.place(feature_id, query), query, tab),
            html.Div(
                [
                    html.Div(
                        [labelling.section(source, found), _numbers(found), _effects(found), _neighbours(found, names)],
                        className="claim",
                    ),
                    html.Div(
                        [
                            _histogram(found),
                            _tabs(feature_id, tab, query),
                            _panel(source, found, tab, group, query, given),
                        ],
                        className="proof",
                    ),
                ],
                className="feature",
            ),
        ]
    )


def _feature_id(text: str, n_features: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"{text[:40]!r} is no feature: a feature is named by a whole number")
    if int(text) >= n_features:
        raise FeatureNotFoundError(int(text), n_features, "this SAE")
    return int(text)


def _head(found: FeatureSummary, name: str | None, place: Place, query: ListQuery, tab: str) -> html.Header:
    kept = "" if tab == "examples" else tab
    steps = [
        dcc.Link([words, html.Kbd(key)], href=address.of_feature(other, query, tab=kept), className=f"step to-{words}")
        for key, words, other in (
            ("k", "previous", place.before),
            ("j", "next", place.after),
            ("r", "random", place.other),
        )
        if other is not None
    ]
    where = f"{place.number:,} of {place.n_rows:,}" if place.number else f"not among the {place.n_rows:,} of the list"
    files = [
        html.A(words, href=f"/api/features/{found.feature_id}{path}", title=meaning)
        for words, path, meaning in (
            ("JSON", ".json", "Everything that the store's tables say of it, its label among it"),
            ("examples as CSV", "/examples.csv", "Its examples, all groups"),
        )
    ]
    pin: dict[str, Any] = {"data-feature": str(found.feature_id), "title": "Keep it, to be compared with another one"}
    way = [
        dcc.Link("Features", href=address.of_list(query)),
        html.Span(where, className="quiet"),
        *files,
        html.Span(steps, className="steps"),
        html.Button(["pin", html.Kbd("p")], id="pin", type="button", className="plain-button", **pin),
    ]
    told = html.Span(f" {visible(name)}" if name else "", className="name", id="feature-name")
    return html.Header([html.Nav(way, **ui.named("List")), html.H1([f"Feature {found.feature_id}", told])])


def _numbers(found: FeatureSummary) -> html.Section:
    own = found.statistics
    density = 1 - own["sparsity"] if own["sparsity"] is not None else None
    rows = [
        (
            "fires on",
            f"{own['n_active']:,} of {own['n_samples']:,} samples",
            "Samples with an activation above 0, of all.",
        ),
        ("density", "—" if density is None else f"{density:.4%}", "Share of all samples on which it fires."),
        ("max", shown(own["max"]), "Its largest activation."),
        ("mean", shown(own["mean"]), "Mean over the samples on which it fires."),
        ("median", shown(own["median"]), "Median over the samples on which it fires."),
        ("99 %", shown(own["q99"]), "99th percentile over the samples on which it fires."),
    ]
    return html.Section([html.H2("Numbers"), ui.numbers(rows)], id="numbers")


def _effects(found: FeatureSummary) -> html.Section:
    head = html.H2(
        "What a unit of it does", title="W_dec @ W_out^T: the change of each token's logit per unit of activation."
    )
    if found.influences is None:
        return html.Section([head, html.P("Influences were not computed for this version.", className="quiet")])
    raised, lowered = (found.influences[key][:_N_EFFECTS] for key in ("raised", "lowered"))
    longest = max((abs(row["value"]) for row in (*raised, *lowered)), default=0.0)
    return html.Section(
        [head, html.H3("raises"), ui.effects(raised, longest, 1), html.H3("lowers"), ui.effects(lowered, longest, -1)]
    )


def _neighbours(found: FeatureSummary, names: Mapping[int, str]) -> html.Section:
    parts: list[Any] = [html.H2("Features like it")]
    if found.neighbours is None:
        parts.append(html.P("Neighbours were not computed for this version.", className="quiet"))
    for kind, title in _KINDS.items():
        rows = (found.neighbours or {}).get(kind, [])[:_N_NEIGHBOURS]
        if rows:
            items = [_neighbour(found.feature_id, row, names) for row in rows]
            parts += [html.H3(title), html.Ul(items, className="plain")]
    return html.Section(parts)


def _neighbour(feature_id: int, row: Mapping[str, Any], names: Mapping[int, str]) -> html.Li:
    other = row["feature_id"]
    return html.Li(
        [
            dcc.Link(str(other), href=address.of_feature(other)),
            f" {shown(row['score'])} ",
            html.Span(visible(names.get(other, "no label")), className="quiet"),
            " ",
            dcc.Link("compare", href=address.of_comparison(feature_id, other)),
        ]
    )


def _histogram(found: FeatureSummary) -> html.Figure:
    own = found.statistics
    if not own["n_active"]:
        return html.Figure(
            html.Figcaption(f"It never fires on {own['n_samples']:,} samples (dead): only its weights can be told.")
        )
    caption = (
        f"Fires on {own['n_active']:,} samples ({1 - own['sparsity']:.4%}), at most with {shown(own['max'])}; "
        f"zeros: {found.histogram['n_zero']:,}, not drawn."
    )
    return figures.figure(figures.histogram(found.histogram), caption, "feature-histogram")


def _tabs(feature_id: int, tab: str, query: ListQuery) -> html.Nav:
    links = [
        dcc.Link(name, href=address.of_feature(feature_id, query, tab="" if name == "examples" else name),
                 className="choice chosen" if name == tab else "choice")
        for name in TABS
    ]  # fmt: skip
    return html.Nav(links, className="choices", **ui.named("Evidence"))


def _panel(
    source: Source, found: FeatureSummary, tab: str, group: str, query: ListQuery, given: Mapping[str, Any]
) -> Any:
    if tab == "experiments":
        return experiments.panel(source, found.feature_id, query, given)
    if tab == "examples":
        interval = _interval(given)
        return _between(source, found, interval, query) if interval else _examples(found, group, query)
    tables = source.tables(found.feature_id, tab)
    if not tables:
        return html.P("It never fires: there is nothing to tell of it here.", className="quiet")
    return html.Div([ui.table(table) for table in tables])


def _interval(given: Mapping[str, Any]) -> tuple[float, float] | None:
    """`min` and `max` of an address; InputError."""
    if not given.get("min") and not given.get("max"):
        return None
    try:
        low, high = float(given.get("min") or 0), float(given.get("max") or math.inf)
    except (TypeError, ValueError):
        raise InputError("min and max are numbers, as min=0.5&max=0.75") from None
    if math.isnan(low) or math.isnan(high):
        raise InputError("min and max are numbers, as min=0.5&max=0.75")
    return low, min(high, _LARGEST)


def _between(source: Source, found: FeatureSummary, interval: tuple[float, float], query: ListQuery) -> html.Section:
    """The samples whose activation is within an interval: what a bar of the histogram counts."""
    n, rows = source.between(found.feature_id, *interval)
    strongest = float(found.statistics["max"] or 0)
    upper = "" if interval[1] == _LARGEST else f" to {shown(interval[1])}"
    shown_are = f", the {len(rows)} strongest of them here" if n > len(rows) else ""
    return html.Section(
        [
            _intervals(found, query, interval),
            html.P(
                [
                    f"Activation from {shown(interval[0])}{upper}: {n:,} samples{shown_are}. ",
                    dcc.Link("All examples", href=address.of_feature(found.feature_id, query)),
                ],
                id="interval",
            ),
            _table_of(rows, strongest),
        ]
    )


def _table_of(rows: Sequence[Mapping[str, Any]], strongest: float) -> html.Div:
    head = [cells.heading(name) for name in ("activation", "weapon", "build")] + [cells.heading("sample", "", "number")]
    return cells.drawn(head, [ui.example(row, strongest) for row in rows], "examples")


def _examples(found: FeatureSummary, group: str, query: ListQuery) -> html.Section:
    groups = found.examples or {}
    if not groups:
        text = (
            "It never fires, so there are no examples."
            if not found.statistics["n_active"]
            else "Examples were not computed here."
        )
        return html.Section(html.P(text, className="quiet"))
    group = group if group in groups else next(iter(groups))
    links = [
        dcc.Link(_GROUPS.get(name, name), href=address.of_feature(found.feature_id, query, group="" if name == "top" else name),
                 className="choice chosen" if name == group else "choice")
        for name in groups
    ]  # fmt: skip
    rows = groups[group]
    strongest = float(found.statistics["max"] or 0)
    nav = html.Nav(links, className="choices", **ui.named("Examples"))
    return html.Section([nav, _intervals(found, query), _table_of(rows, strongest)])


def _intervals(found: FeatureSummary, query: ListQuery, chosen: tuple[float, float] | None = None) -> html.Nav | None:
    """Ways to ten intervals from 0 to the largest activation, each with its share of the samples on which the feature fires."""
    edges, counts = found.histogram["edges"], found.histogram["counts"]
    size = len(counts) // _N_INTERVALS
    total = sum(counts)
    if not total or not size:
        return None
    borders = [*range(0, size * _N_INTERVALS, size), len(counts)]
    links = []
    for first, last in zip(borders, borders[1:], strict=False):
        low, high = edges[first], edges[last]
        share = sum(counts[first:last]) / total
        href = address.of_feature(found.feature_id, query, min=repr(low), max=repr(high))
        kind = "choice chosen" if chosen == (low, high) else "choice"
        links.append(dcc.Link([f"{low:.3g} to {high:.3g} ", html.Small(f"{share:.1%}")], href=href, className=kind))
    return html.Nav(links, className="choices small", **ui.named("Intervals of the activation"))
