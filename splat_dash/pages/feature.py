"""One feature: name, activations, examples, effects, and similar features."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

from dash import ClientsideFunction, Dash, Input, Output, dcc, html, no_update

from splat_assets.domain.builds import Build
from splat_assets.errors import InputError, SplatError
from splat_assets.numerals import is_number
from splat_assets.store.errors import FeatureNotFoundError
from splat_assets.wording import counted, visible
from splat_dash import address, cells, figures, gear, menus, ui
from splat_dash.pages import experiments, labelling
from splat_dash.query import ListQuery, ShownExamples
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Place, Source
from splat_dash.terms import meaning_of
from splat_serving.database.errors import NotComputedError
from splat_serving.database.protocol import FeatureSummary
from splat_serving.investigations.near_duplicates import are_equal, group_near_duplicates
from splat_serving.investigations.overview import COMPUTED_SECTIONS
from splat_serving.investigations.results.rendering import shown

Address = Callable[..., str]
"""The address of the feature with the list and the build of the page, and other parameters changed."""
TABS = ("examples", *COMPUTED_SECTIONS, "effects", "experiments")
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
    "random_active": "random, firing",
    "random_inactive": "random, not firing",
}
_KINDS = {
    "decoder_cosine": "by decoder direction (cosine)",
    "pearson": "by activations (Pearson's r)",
    "jaccard": "by shared samples (Jaccard)",
}


def layout(source: Source, fid: str = "", tab: str = "examples", group: str = "top", **parameters: Any) -> Any:
    """The page of a feature. parameters: `list`, the list that `next` and `previous` follow."""
    n_features = source.about.n_features
    try:
        feature_id = _feature_id(fid, n_features)
        query = ListQuery.from_text(str(parameters.get("list") or ""))
        summary = source.feature(feature_id)
        build = gear.parse(str(parameters["b"]), len(source.subject.contexts)) if parameters.get("b") else None
    except FeatureNotFoundError:
        return ui.alert(f"Feature {fid[:20]} does not exist", f"This SAE has features 0 to {n_features - 1:,}.")
    except InputError as error:
        return ui.alert("Invalid address", str(error))
    names = source.names()
    at = partial(address.feature_url, feature_id, query, b=str(parameters.get("b") or ""))
    place = source.place(feature_id, query)
    if place.after is not None:
        source.prepare(place.after)
    tab = tab if tab in TABS else "examples"
    return html.Article(
        [
            _head(summary, names.get(feature_id), place, query, tab),
            html.Div(
                [
                    html.Div(
                        [
                            labelling.section(source, summary),
                            _numbers(summary),
                            _effects(summary),
                            _neighbours(summary, names),
                        ],
                        className="claim",
                    ),
                    html.Div(
                        [
                            _histogram(source, summary, build),
                            _tabs(tab, at),
                            _panel(source, summary, tab, group, query, parameters, at),
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
        raise InputError(f"{text[:40]!r} is not a feature: write its number, a whole number")
    if int(text) >= n_features:
        raise FeatureNotFoundError(int(text), n_features, "this SAE")
    return int(text)


def _head(summary: FeatureSummary, name: str | None, place: Place, query: ListQuery, tab: str) -> html.Header:
    kept = "" if tab == "examples" else tab
    steps = [
        dcc.Link([words, html.Kbd(key)], href=address.feature_url(other, query, tab=kept), className=f"step to-{words}")
        for key, words, other in (
            ("k", "previous", place.before),
            ("j", "next", place.after),
            ("r", "random", place.other),
        )
        if other is not None
    ]
    where = f"{place.number:,} of {place.n_rows:,}" if place.number else f"not in the list of {place.n_rows:,}"
    files = [
        html.A(words, href=f"/api/features/{summary.feature_id}{path}", title=meaning)
        for words, path, meaning in (
            ("JSON", ".json", "Everything that the store's tables hold on it, with its label"),
            ("examples as CSV", "/examples.csv", "Its examples, all groups"),
        )
    ]
    pin: dict[str, Any] = {"data-feature": str(summary.feature_id), "title": "Pin for comparison with another feature"}
    way = [
        dcc.Link("Features", href=address.list_url(query)),
        html.Span(where, className="quiet"),
        *files,
        html.Span(steps, className="steps"),
        html.Button(["pin", html.Kbd("p")], id="pin", type="button", className="plain-button", **pin),
    ]
    name_part = html.Span(f" {visible(name)}" if name else "", className="name", id="feature-name")
    return html.Header([html.Nav(way, **ui.named("List")), html.H1([f"Feature {summary.feature_id}", name_part])])


def _numbers(summary: FeatureSummary) -> html.Section:
    own = summary.statistics
    density = 1 - own["sparsity"] if own["sparsity"] is not None else None
    rows = [
        (
            "fires on",
            f"{own['n_active']:,} of {counted(own['n_samples'], 'samples')}",
            "Number of samples with an activation above 0.",
        ),
        ("density", "—" if density is None else f"{density:.4%}", "Share of all samples on which it fires."),
        ("max", shown(own["max"]), "Its largest activation."),
        ("mean", shown(own["mean"]), "Mean over the samples on which it fires."),
        ("median", shown(own["median"]), "Median over the samples on which it fires."),
        ("99 %", shown(own["q99"]), "99th percentile over the samples on which it fires."),
    ]
    shown_there = html.Div(ui.numbers(rows, own["n_samples"]), id="numbers")
    return html.Section([_headed(summary, html.H2("Numbers"), "statistics"), shown_there])


def _headed(summary: FeatureSummary, heading: Any, part: str, table: str = "") -> html.Div:
    """A heading with the menu of a section of the record; the panel's id is the heading's."""
    name = table or part
    heading.id = menus.ANCHOR + name
    return menus.headed(heading, menus.menu(name, name, _files(summary, part, name)))


def _files(summary: FeatureSummary, part: str, table: str, parameters: str = "") -> dict[str, str]:
    return menus.files_of(address.files_of_feature(summary.feature_id, part, parameters), table)


def _effects(summary: FeatureSummary) -> html.Section:
    head = html.H2(
        "Effect per unit of activation",
        title="W_dec @ W_out^T: the change of each token's logit per unit of activation.",
    )
    if summary.influences is None:
        return html.Section([head, html.P("Influences were not computed for this version.", className="quiet")])
    raised, lowered = (summary.influences[key][:_N_EFFECTS] for key in ("raised", "lowered"))
    longest = max((abs(row["value"]) for row in (*raised, *lowered)), default=0.0)
    return html.Section(
        [
            head,
            _headed(summary, html.H3("raises"), "influences", "raised"),
            ui.effects(raised, longest, 1),
            _headed(summary, html.H3("lowers"), "influences", "lowered"),
            ui.effects(lowered, longest, -1),
        ]
    )


def _neighbours(summary: FeatureSummary, names: Mapping[int, str]) -> html.Section:
    if summary.neighbours is None:
        text = "Neighbours were not computed for this version."
        return html.Section([html.H2("Similar features"), html.P(text, className="quiet")])
    parts: list[Any] = [_headed(summary, html.H2("Similar features"), "neighbours")]
    for kind, title in _KINDS.items():
        rows = summary.neighbours.get(kind, [])[:_N_NEIGHBOURS]
        if rows:
            items = [_neighbour(summary.feature_id, row, names) for row in rows]
            parts += [html.H3(title), html.Ul(items, className="plain")]
    return html.Section(parts)


def _neighbour(feature_id: int, row: Mapping[str, Any], names: Mapping[int, str]) -> html.Li:
    other = row["feature_id"]
    return html.Li(
        [
            dcc.Link(str(other), href=address.feature_url(other)),
            f" {shown(row['score'])} ",
            html.Span(visible(names.get(other, "no label")), className="quiet"),
            " ",
            dcc.Link("compare", href=address.of_comparison(feature_id, other)),
        ]
    )


def _histogram(source: Source, summary: FeatureSummary, build: tuple[int, Build] | None) -> html.Figure:
    """build: weapon and gear to mark, None for none."""
    own = summary.statistics
    if not own["n_active"]:
        return html.Figure(
            html.Figcaption(
                [
                    "Never fires on ",
                    ui.term(counted(own["n_samples"], "samples"), "sample"),
                    " (dead feature): only its weights are known.",
                ]
            )
        )
    caption = [
        ui.term(f"Fires on {counted(own['n_active'], 'samples')}", "fires on"),
        " (",
        ui.term(f"{1 - own['sparsity']:.4%}", "density"),
        "), ",
        ui.term(f"largest activation {shown(own['max'])}", "max"),
        "; ",
        ui.term(f"zeros: {summary.histogram['n_zero']:,}", "zeros"),
        ", not drawn. Dotted lines: lower bounds of the ",
        ui.term("bands", "band"),
        ", as shares of the ",
        ui.term(f"effective maximum {shown(own['effective_max'])}", "effective max"),
        ".",
    ]
    marked = None
    if build is not None:
        marked, sentence = _on_build(source, summary.feature_id, *build)
        caption += [" ", ui.term(sentence, "activation")]
    files = _files(summary, "histogram", "histogram")
    drawn = figures.histogram(summary.histogram, own["effective_max"] or 0.0, marked)
    title = "Histogram of the activations"
    return figures.figure(drawn, caption, "feature-histogram", files=files, title=title, n=own["n_samples"])


def _on_build(source: Source, feature_id: int, weapon: int, worn: Build) -> tuple[float | None, str]:
    """Activation of the feature on a build, and a sentence on it."""
    try:
        value = source.activation_on(feature_id, gear.token_set(weapon, worn, source.subject))
    except NotComputedError as error:
        return None, f"The activation on the build of the address is not available: {error}."
    return value, f"Activation on the build of the address: {shown(value)}."


def _tabs(tab: str, at: Address) -> html.Nav:
    links = [
        dcc.Link(name, href=at(tab="" if name == "examples" else name),
                 className="choice chosen" if name == tab else "choice")
        for name in TABS
    ]  # fmt: skip
    return html.Nav(links, className="choices", **ui.named("Evidence"))


def _panel(
    source: Source,
    summary: FeatureSummary,
    tab: str,
    group: str,
    query: ListQuery,
    parameters: Mapping[str, Any],
    at: Address,
) -> Any:
    if tab == "experiments":
        return experiments.panel(source, summary.feature_id, query, parameters)
    if tab == "effects":
        return experiments.alone("causal-effect", summary.feature_id)
    if tab == "examples":
        chosen = interval(parameters)
        return _between(source, summary, chosen, at) if chosen else _examples(source, summary, group, at)
    tables = source.tables(summary.feature_id, tab)
    if not tables:
        return html.P("It never fires, so this section is empty.", className="quiet")
    files = address.files_of_feature(summary.feature_id, tab)
    return html.Div([ui.table(table, files=files) for table in tables])


def interval(parameters: Mapping[str, Any]) -> tuple[float, float] | None:
    """From `min` and `max` of an address; InputError."""
    if not parameters.get("min") and not parameters.get("max"):
        return None
    texts = [str(parameters[name]) for name in ("min", "max") if parameters.get(name)]
    if not all(map(is_number, texts)):
        raise InputError("min and max must be numbers, as min=0.5&max=0.75")
    low, high = float(parameters.get("min") or 0), float(parameters.get("max") or math.inf)
    return low, min(high, _LARGEST)


def _between(source: Source, summary: FeatureSummary, chosen: tuple[float, float], at: Address) -> html.Section:
    """The samples whose activation is within an interval, such as a bar of the histogram."""
    n, rows = source.between(summary.feature_id, *chosen)
    upper = "" if chosen[1] == _LARGEST else f" to {shown(chosen[1])}"
    shown_are = f" (the {len(rows)} strongest shown)" if n > len(rows) else ""
    return html.Section(
        [
            _intervals(summary, at, chosen),
            html.P(
                [
                    "Activation from ",
                    ui.term(f"{shown(chosen[0])}{upper}", "activation"),
                    ": ",
                    ui.term(counted(n, "samples"), "sample"),
                    ui.term(shown_are, "sample"),
                    ". ",
                    dcc.Link("All examples", href=at()),
                ],
                id="interval",
            ),
            *_shown_examples(source, summary, rows, {"min": chosen[0], "max": chosen[1]}),
        ]
    )


def _shown_examples(
    source: Source, summary: FeatureSummary, rows: Sequence[Mapping[str, Any]], which: Mapping[str, Any]
) -> list[Any]:
    """The table at once; the drop without each ability follows from the model. which: selects the same rows again."""
    strongest = float(summary.statistics["max"] or 0)
    request = {"feature": summary.feature_id, **which}
    files = _files(summary, "examples", "examples", urlencode(which))
    return [
        menus.headed(html.Span(id=f"{menus.ANCHOR}examples"), menus.menu("examples", "examples", files)),
        html.Div(_table_of(rows, strongest), id="examples"),
        html.P("", id="examples-legend", className="quiet"),
        dcc.Store(id="examples-shown", data=request if source.subject.has_model and rows else None),
        dcc.Store(id="examples-drops"),
    ]


def _table_of(rows: Sequence[Mapping[str, Any]], strongest: float) -> html.Div:
    head = [cells.heading(name) for name in ("activation", "weapon", "build")] + [cells.heading("sample", "", "number")]
    body = [
        cells.with_duplicates([ui.example(row, strongest) for row in group], are_equal(group))
        for group in group_near_duplicates(rows)
    ]
    return cells.drawn(head, body, "examples")


def callbacks(app: Dash) -> None:
    """The drop of the activation without each ability of the examples, computed after they are shown."""

    @app.callback(
        Output("examples-drops", "data"),
        Output("examples-legend", "children", allow_duplicate=True),
        Input("examples-shown", "data"),
        prevent_initial_call="initial_duplicate",
    )
    async def ablation_drop(request: Any) -> tuple[Any, Any]:
        if request is None:
            return no_update, no_update
        try:
            return await asyncio.to_thread(
                _drops_by_badge, current_source(), value_of(ShownExamples, request, "examples")
            ), no_update
        except SplatError as error:
            return no_update, f"The drop without each ability is not available: {error}"

    app.clientside_callback(
        ClientsideFunction("splat", "showDrops"),
        Output("examples-legend", "children"),
        Input("examples-drops", "data"),
        prevent_initial_call=True,
    )


def _drops_by_badge(source: Source, which: ShownExamples) -> list[list[tuple[str, float] | None]]:
    """For each badge, text on the drop without it, and the drop in percent, 0 to 100; in the order of the table."""
    if which.group is None:
        rows = source.between(which.feature, which.min, which.max)[1]
    else:
        rows = (source.feature(which.feature).examples or {}).get(which.group, [])
    drops = source.ablation_drop(which.feature, tuple(row["global_index"] for row in rows))
    return [
        [
            _drop_text(drops.get(row["global_index"], {}).get(ability))
            for ability, _ in cells.in_order(row.get("abilities") or ())
        ]
        for group in group_near_duplicates(rows)
        for row in group
    ]


def _drop_text(drop: tuple[float, float] | None) -> tuple[str, float] | None:
    if drop is None:
        return None
    return f"; without it {-drop[0]:+.3g} ({-drop[1]:+.0%})", round(100 * min(max(drop[1], 0.0), 1.0), 1)


def _examples(source: Source, summary: FeatureSummary, group: str, at: Address) -> html.Section:
    groups = summary.examples or {}
    if not groups:
        text = (
            "It never fires, so there are no examples."
            if not summary.statistics["n_active"]
            else "Examples were not computed for this version."
        )
        return html.Section(html.P(text, className="quiet"))
    group = group if group in groups else next(iter(groups))
    links = [
        dcc.Link(_GROUPS.get(name, name), href=at(group="" if name == "top" else name),
                 className="choice chosen" if name == group else "choice")
        for name in groups
    ]  # fmt: skip
    nav = html.Nav(links, className="choices", **ui.named("Examples"))
    return html.Section(
        [nav, _intervals(summary, at), *_shown_examples(source, summary, groups[group], {"group": group})]
    )


def _intervals(summary: FeatureSummary, at: Address, chosen: tuple[float, float] | None = None) -> html.Nav | None:
    """Links to ten intervals from 0 to the largest activation, each with its share of the samples on which the feature fires."""
    edges, counts = summary.histogram["edges"], summary.histogram["counts"]
    size = len(counts) // _N_INTERVALS
    total = sum(counts)
    if not total or not size:
        return None
    edges_at = [*range(0, size * _N_INTERVALS, size), len(counts)]
    links = []
    for first, last in zip(edges_at, edges_at[1:], strict=False):
        low, high = edges[first], edges[last]
        share = sum(counts[first:last]) / total
        href = at(min=repr(low), max=repr(high))
        kind = "choice chosen" if chosen == (low, high) else "choice"
        share_text = html.Small(f"{share:.1%}", title=meaning_of("share"))
        links.append(dcc.Link([f"{low:.3g} to {high:.3g} ", share_text], href=href, className=kind))
    return html.Nav(links, className="choices small", **ui.named("Intervals of the activation"), **ui.of_n(total))
