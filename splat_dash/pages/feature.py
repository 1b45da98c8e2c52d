"""One feature: what it is called, how it fires, on what, what it does, and which others are like it."""

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
"""The address of the feature, in the list and with the build that the page has, after some change of the rest."""
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
        build = gear.parse(str(given["b"]), len(source.subject.contexts)) if given.get("b") else None
    except FeatureNotFoundError:
        return ui.alert(f"There is no feature {fid[:20]}", f"This SAE has features 0 to {n_features - 1:,}.")
    except InputError as error:
        return ui.alert("This address means nothing", str(error))
    names = source.names()
    at = partial(address.feature_url, feature_id, query, b=str(given.get("b") or ""))
    place = source.place(feature_id, query)
    if place.after is not None:
        source.prepare(place.after)
    tab = tab if tab in TABS else "examples"
    return html.Article(
        [
            _head(found, names.get(feature_id), place, query, tab),
            html.Div(
                [
                    html.Div(
                        [labelling.section(source, found), _numbers(found), _effects(found), _neighbours(found, names)],
                        className="claim",
                    ),
                    html.Div(
                        [
                            _histogram(source, found, build),
                            _tabs(tab, at),
                            _panel(source, found, tab, group, query, given, at),
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
        dcc.Link([words, html.Kbd(key)], href=address.feature_url(other, query, tab=kept), className=f"step to-{words}")
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
        dcc.Link("Features", href=address.list_url(query)),
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
            f"{own['n_active']:,} of {counted(own['n_samples'], 'samples')}",
            "Samples with an activation above 0, of all.",
        ),
        ("density", "—" if density is None else f"{density:.4%}", "Share of all samples on which it fires."),
        ("max", shown(own["max"]), "Its largest activation."),
        ("mean", shown(own["mean"]), "Mean over the samples on which it fires."),
        ("median", shown(own["median"]), "Median over the samples on which it fires."),
        ("99 %", shown(own["q99"]), "99th percentile over the samples on which it fires."),
    ]
    shown_there = html.Div(ui.numbers(rows, own["n_samples"]), id="numbers")
    return html.Section([_headed(found, html.H2("Numbers"), "statistics"), shown_there])


def _headed(found: FeatureSummary, heading: Any, part: str, table: str = "") -> html.Div:
    """A heading with the menu of a part of the record; the panel's id is the heading's."""
    name = table or part
    heading.id = menus.ANCHOR + name
    return menus.headed(heading, menus.menu(name, name, _files(found, part, name)))


def _files(found: FeatureSummary, part: str, table: str, parameters: str = "") -> dict[str, str]:
    return menus.files_of(address.files_of_feature(found.feature_id, part, parameters), table)


def _effects(found: FeatureSummary) -> html.Section:
    head = html.H2(
        "What a unit of it does", title="W_dec @ W_out^T: the change of each token's logit per unit of activation."
    )
    if found.influences is None:
        return html.Section([head, html.P("Influences were not computed for this version.", className="quiet")])
    raised, lowered = (found.influences[key][:_N_EFFECTS] for key in ("raised", "lowered"))
    longest = max((abs(row["value"]) for row in (*raised, *lowered)), default=0.0)
    return html.Section(
        [
            head,
            _headed(found, html.H3("raises"), "influences", "raised"),
            ui.effects(raised, longest, 1),
            _headed(found, html.H3("lowers"), "influences", "lowered"),
            ui.effects(lowered, longest, -1),
        ]
    )


def _neighbours(found: FeatureSummary, names: Mapping[int, str]) -> html.Section:
    if found.neighbours is None:
        text = "Neighbours were not computed for this version."
        return html.Section([html.H2("Features like it"), html.P(text, className="quiet")])
    parts: list[Any] = [_headed(found, html.H2("Features like it"), "neighbours")]
    for kind, title in _KINDS.items():
        rows = found.neighbours.get(kind, [])[:_N_NEIGHBOURS]
        if rows:
            items = [_neighbour(found.feature_id, row, names) for row in rows]
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


def _histogram(source: Source, found: FeatureSummary, build: tuple[int, Build] | None) -> html.Figure:
    """build: weapon and gear to be marked, None for none."""
    own = found.statistics
    if not own["n_active"]:
        return html.Figure(
            html.Figcaption(
                [
                    "It never fires on ",
                    ui.term(counted(own["n_samples"], "samples"), "sample"),
                    " (dead): only its weights can be told.",
                ]
            )
        )
    caption = [
        ui.term(f"Fires on {counted(own['n_active'], 'samples')}", "fires on"),
        " (",
        ui.term(f"{1 - own['sparsity']:.4%}", "density"),
        "), ",
        ui.term(f"at most with {shown(own['max'])}", "max"),
        "; ",
        ui.term(f"zeros: {found.histogram['n_zero']:,}", "zeros"),
        ", not drawn. Dotted: where ",
        ui.term("bands", "band"),
        " begin, shares of the ",
        ui.term(f"effective maximum {shown(own['effective_max'])}", "effective max"),
        ".",
    ]
    marked = None
    if build is not None:
        marked, told = _on_build(source, found.feature_id, *build)
        caption += [" ", ui.term(told, "activation")]
    files = _files(found, "histogram", "histogram")
    drawn = figures.histogram(found.histogram, own["effective_max"], marked)
    title = "Histogram of the activations"
    return figures.figure(drawn, caption, "feature-histogram", files=files, title=title, n=own["n_samples"])


def _on_build(source: Source, feature_id: int, weapon: int, worn: Build) -> tuple[float | None, str]:
    """The feature on a build, and a sentence on it."""
    try:
        value = source.activation_on(feature_id, gear.token_set(weapon, worn, source.subject))
    except NotComputedError as error:
        return None, f"What it is on the build of the address cannot be asked: {error}."
    return value, f"On the build of the address it is {shown(value)}."


def _tabs(tab: str, at: Address) -> html.Nav:
    links = [
        dcc.Link(name, href=at(tab="" if name == "examples" else name),
                 className="choice chosen" if name == tab else "choice")
        for name in TABS
    ]  # fmt: skip
    return html.Nav(links, className="choices", **ui.named("Evidence"))


def _panel(
    source: Source, found: FeatureSummary, tab: str, group: str, query: ListQuery, given: Mapping[str, Any], at: Address
) -> Any:
    if tab == "experiments":
        return experiments.panel(source, found.feature_id, query, given)
    if tab == "effects":
        return experiments.alone("causal-effect", found.feature_id)
    if tab == "examples":
        chosen = interval(given)
        return _between(source, found, chosen, at) if chosen else _examples(source, found, group, at)
    tables = source.tables(found.feature_id, tab)
    if not tables:
        return html.P("It never fires: there is nothing to tell of it here.", className="quiet")
    files = address.files_of_feature(found.feature_id, tab)
    return html.Div([ui.table(table, files=files) for table in tables])


def interval(given: Mapping[str, Any]) -> tuple[float, float] | None:
    """From `min` and `max` of an address; InputError."""
    if not given.get("min") and not given.get("max"):
        return None
    texts = [str(given[name]) for name in ("min", "max") if given.get(name)]
    if not all(map(is_number, texts)):
        raise InputError("min and max are numbers, as min=0.5&max=0.75")
    low, high = float(given.get("min") or 0), float(given.get("max") or math.inf)
    return low, min(high, _LARGEST)


def _between(source: Source, found: FeatureSummary, chosen: tuple[float, float], at: Address) -> html.Section:
    """The samples whose activation is within an interval: what a bar of the histogram counts."""
    n, rows = source.between(found.feature_id, *chosen)
    upper = "" if chosen[1] == _LARGEST else f" to {shown(chosen[1])}"
    shown_are = f", the {len(rows)} strongest of them here" if n > len(rows) else ""
    return html.Section(
        [
            _intervals(found, at, chosen),
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
            *_shown_examples(source, found, rows, {"min": chosen[0], "max": chosen[1]}),
        ]
    )


def _shown_examples(
    source: Source, found: FeatureSummary, rows: Sequence[Mapping[str, Any]], which: Mapping[str, Any]
) -> list[Any]:
    """The table at once; what each badge is worth follows when the model has been asked. which: how to find the rows again."""
    strongest = float(found.statistics["max"] or 0)
    asked_for = {"feature": found.feature_id, **which}
    files = _files(found, "examples", "examples", urlencode(which))
    return [
        menus.headed(html.Span(id=f"{menus.ANCHOR}examples"), menus.menu("examples", "examples", files)),
        html.Div(_table_of(rows, strongest), id="examples"),
        html.P("", id="examples-legend", className="quiet"),
        dcc.Store(id="examples-shown", data=asked_for if source.subject.has_model and rows else None),
        dcc.Store(id="examples-lost"),
    ]


def _table_of(rows: Sequence[Mapping[str, Any]], strongest: float) -> html.Div:
    head = [cells.heading(name) for name in ("activation", "weapon", "build")] + [cells.heading("sample", "", "number")]
    body = [
        cells.folded([ui.example(row, strongest) for row in group], are_equal(group))
        for group in group_near_duplicates(rows)
    ]
    return cells.drawn(head, body, "examples")


def callbacks(app: Dash) -> None:
    """What each ability of the examples is worth: asked of the model once they are shown."""

    @app.callback(
        Output("examples-lost", "data"),
        Output("examples-legend", "children", allow_duplicate=True),
        Input("examples-shown", "data"),
        prevent_initial_call="initial_duplicate",
    )
    async def lost(shown: Any) -> tuple[Any, Any]:
        if shown is None:
            return no_update, no_update
        try:
            return await asyncio.to_thread(
                _lost, current_source(), value_of(ShownExamples, shown, "examples")
            ), no_update
        except SplatError as error:
            return no_update, f"What each ability is worth cannot be asked: {error}"

    app.clientside_callback(
        ClientsideFunction("splat", "showLost"),
        Output("examples-legend", "children"),
        Input("examples-lost", "data"),
        prevent_initial_call=True,
    )


def _lost(source: Source, which: ShownExamples) -> list[list[tuple[str, float] | None]]:
    """Badge by badge, what is told of what is lost without it, and its share in percent, 0 to 100; in the order of the table."""
    if which.group is None:
        rows = source.between(which.feature, which.min, which.max)[1]
    else:
        rows = (source.feature(which.feature).examples or {}).get(which.group, [])
    found = source.lost(which.feature, tuple(row["global_index"] for row in rows))
    return [
        [
            _worth(found.get(row["global_index"], {}).get(ability))
            for ability, _ in cells.in_order(row.get("abilities") or ())
        ]
        for group in group_near_duplicates(rows)
        for row in group
    ]


def _worth(lost: tuple[float, float] | None) -> tuple[str, float] | None:
    if lost is None:
        return None
    return f"; without it {-lost[0]:+.3g} ({-lost[1]:+.0%})", round(100 * min(max(lost[1], 0.0), 1.0), 1)


def _examples(source: Source, found: FeatureSummary, group: str, at: Address) -> html.Section:
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
        dcc.Link(_GROUPS.get(name, name), href=at(group="" if name == "top" else name),
                 className="choice chosen" if name == group else "choice")
        for name in groups
    ]  # fmt: skip
    nav = html.Nav(links, className="choices", **ui.named("Examples"))
    return html.Section([nav, _intervals(found, at), *_shown_examples(source, found, groups[group], {"group": group})])


def _intervals(found: FeatureSummary, at: Address, chosen: tuple[float, float] | None = None) -> html.Nav | None:
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
        href = at(min=repr(low), max=repr(high))
        kind = "choice chosen" if chosen == (low, high) else "choice"
        told = html.Small(f"{share:.1%}", title=meaning_of("share"))
        links.append(dcc.Link([f"{low:.3g} to {high:.3g} ", told], href=href, className=kind))
    return html.Nav(links, className="choices small", **ui.named("Intervals of the activation"), **ui.of_n(total))
