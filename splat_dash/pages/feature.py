"""One feature: name, activations, examples, effects, and similar features."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from dash import Dash, Input, Output, dcc, html

from splat_assets.domain.builds import Build
from splat_assets.errors import InputError
from splat_assets.store.errors import FeatureNotFoundError
from splat_assets.text.wording import counted, visible
from splat_dash import address, figures, gear, ui
from splat_dash.cells import in_digits
from splat_dash.listing import Place
from splat_dash.pages import examples, experiments, label_form, labelling
from splat_dash.query import ListQuery
from splat_dash.source import Source
from splat_dash.terms import meaning_of
from splat_serving.database.errors import NotComputedError
from splat_serving.database.protocol import FeatureSummary
from splat_serving.investigations.overview import COMPUTED_SECTIONS

TABS = ("examples", *COMPUTED_SECTIONS, "effects", "experiments")
_N_EFFECTS, _N_NEIGHBOURS = 8, 5
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
    form = label_form.fields(source, feature_id) if source.subject.has_labels else []
    label = html.Section([*labelling.section(source, summary), *form], id="label")
    claim = [label, _numbers(summary), _effects(summary), _neighbours(summary, names)]
    tabs = ui.choices("Evidence", [(name, at(tab="" if name == "examples" else name), name == tab) for name in TABS])
    proof = [_histogram(source, summary, build), tabs, _panel(source, summary, tab, group, query, parameters, at)]
    return html.Article(
        [
            _head(summary, names.get(feature_id), place, query, tab),
            html.Div([html.Div(claim, className="claim"), html.Div(proof, className="proof")], className="feature"),
        ]
    )


def register(app: Dash) -> None:
    """The callbacks of the page and of its sections."""
    for part in (examples, experiments, label_form):
        part.register(app)
    ui.in_browser(app, "openBar", Output("feature-histogram", "className"), Input("feature-histogram", "clickData"))


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
        html.Button(["pin", html.Kbd("p")], id="pin", **ui.PLAIN, **pin),
    ]
    name_part = html.Span(f" {visible(name)}" if name else "", className="name", id="feature-name")
    return html.Header([html.Nav(way, **ui.named("List")), html.H1([f"Feature {summary.feature_id}", name_part])])


def _numbers(summary: FeatureSummary) -> html.Section:
    own = summary.statistics
    density = 1 - own["sparsity"] if own["sparsity"] is not None else None
    rows = [("fires on", f"{own['n_active']:,} of {counted(own['n_samples'], 'samples')}"),
            ("density", in_digits(density, "%")), ("max", in_digits(own["max"])), ("mean", in_digits(own["mean"])),
            ("median", in_digits(own["median"])), ("99 %", in_digits(own["q99"]))]  # fmt: skip
    shown_there = html.Div(ui.numbers([(*row, meaning_of(row[0])) for row in rows], own["n_samples"]), id="numbers")
    return html.Section([_headed(summary, html.H2("Numbers"), "statistics"), shown_there])


def _headed(summary: FeatureSummary, heading: Any, part: str, table: str = "") -> html.Div:
    """A heading with the menu of a section of the record; the panel's id is the heading's."""
    name = table or part
    heading.id = ui.ANCHOR + name
    return ui.headed(heading, ui.menu(name, name, address.files_of_feature(summary.feature_id, part).by_format(name)))


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
            f" {in_digits(row['score'])} ",
            html.Span(visible(names.get(other, "no label")), className="quiet"),
            " ",
            dcc.Link("compare", href=address.of_comparison(feature_id, other)),
        ]
    )


def _histogram(source: Source, summary: FeatureSummary, build: tuple[int, Build] | None) -> html.Figure:
    """build: weapon and gear to mark, None for none."""
    own = summary.statistics
    if not own["n_active"]:
        samples = ui.term(counted(own["n_samples"], "samples"), "sample")
        return html.Figure(
            html.Figcaption(["Never fires on ", samples, " (dead feature): only its weights are known."])
        )
    caption = [
        ui.term(f"Fires on {counted(own['n_active'], 'samples')}", "fires on"),
        " (",
        ui.term(in_digits(1 - own["sparsity"], "%"), "density"),
        "), ",
        ui.term(f"largest activation {in_digits(own['max'])}", "max"),
        "; ",
        ui.term(f"zeros: {summary.histogram['n_zero']:,}", "zeros"),
        ", not drawn. Dotted lines: lower bounds of the ",
        ui.term("bands", "band"),
        ", as shares of the ",
        ui.term(f"effective maximum {in_digits(own['effective_max'])}", "effective max"),
        ".",
    ]
    marked = None
    if build is not None:
        marked, sentence = _on_build(source, summary.feature_id, *build)
        caption += [" ", ui.term(sentence, "activation")]
    files = address.files_of_feature(summary.feature_id, "histogram").by_format("histogram")
    drawn = figures.histogram(summary.histogram, own["effective_max"] or 0.0, marked)
    title = "Histogram of the activations"
    return ui.figure(drawn, caption, "feature-histogram", files=files, title=title, n=own["n_samples"])


def _on_build(source: Source, feature_id: int, weapon: int, worn: Build) -> tuple[float | None, str]:
    """Activation of the feature on a build, and a sentence on it."""
    try:
        value = source.activation_on(feature_id, gear.token_set(weapon, worn, source.subject))
    except NotComputedError as error:
        return None, f"The activation on the build of the address is not available: {error}."
    return value, f"Activation on the build of the address: {in_digits(value)}."


def _panel(
    source: Source,
    summary: FeatureSummary,
    tab: str,
    group: str,
    query: ListQuery,
    parameters: Mapping[str, Any],
    at: examples.Address,
) -> Any:
    if tab == "experiments":
        return experiments.panel(source, summary.feature_id, query, parameters)
    if tab == "effects":
        return experiments.alone("causal-effect", summary.feature_id)
    if tab == "examples":
        return examples.panel(source, summary, group, parameters, at)
    tables = source.tables(summary.feature_id, tab)
    if not tables:
        return html.P("It never fires, so this section is empty.", className="quiet")
    files = address.files_of_feature(summary.feature_id, tab)
    return html.Div([ui.table(table, files=files) for table in tables])
