"""The map: all features as points of a plane, with clusters and links."""

from typing import Any
from urllib.parse import parse_qsl

import polars as pl
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from splat_assets.errors import InputError
from splat_assets.text.wording import counted, visible
from splat_dash import address, cells, figures, ui
from splat_dash.query import COLORS, MapQuery
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Source
from splat_serving.database.errors import NotComputedError
from splat_serving.investigations.feature_map import MAPS, clusters
from splat_serving.investigations.results.result import ResultTable

_MOST_LISTED = 100
_MOST_CLUSTERS = 40


def layout(source: Source, **parameters: Any) -> Any:
    """The page, for the map query in the URL."""
    try:
        query = MapQuery.parse(parameters)
        features = source.on_map(query)
    except InputError as error:
        return ui.alert("This map cannot be shown", str(error), ("The whole map", "/map"))
    except NotComputedError as error:
        return ui.alert("No map for this version", str(error))
    of_file = f"/api/map.csv?{query.as_text()}"
    drawn = figures.on_map(features, query.color, query.corners)
    figure = ui.figure(drawn, _caption(features), "map", 640, {"CSV": of_file}, "The map", features.height)
    beside = [html.Div(chosen(features, query), id="map-chosen", role="status"), _clusters(features, query)]
    return html.Article(
        [
            html.H1("Map of the features"),
            html.Div(
                [
                    _choice("Map", MAPS, "by", query),
                    _choice("Colour", {name: f"colour: {name}" for name in COLORS}, "color", query),
                    _search(query),
                ],
                className="rule",
            ),
            html.Div([html.Div([figure, _legend(query.color)]), html.Div(beside)], className="map"),
            dcc.Store(id="map-query", data=query.as_text()),
            dcc.Store(id="map-box"),
        ]
    )


def _choice(name: str, words: dict[str, str], field: str, query: MapQuery) -> html.Nav:
    # Clusters and boxes belong to one map and are invalid on the other.
    dropped = {"cluster": "", "box": ""} if field == "by" else {}
    links = [
        (text, address.of_map(query, **{field: value}, **dropped), getattr(query, field) == value)
        for value, text in words.items()
    ]
    return ui.choices(name, links)


def _search(query: MapQuery) -> html.Form:
    parts = [
        html.Label("Highlight", htmlFor="map-q"),
        dcc.Input(id="map-q", name="q", value=query.q, type="text", placeholder="words of label, rule or token"),
    ]
    for name in ("by", "color"):
        parts.append(dcc.Input(type="hidden", name=name, value=getattr(query, name), id=f"map-keeps-{name}"))
    parts.append(html.Button("Show", type="submit", className="plain-button"))
    return html.Form(parts, action="/map", method="get", className="rule")


def _caption(features: pl.DataFrame) -> list[Any]:
    placed = features.drop_nulls("x")
    caption: list[Any] = [
        ui.term(counted(placed.height, "features"), "feature"),
        " as points. Click a point to open it; draw a box to list the features in it.",
    ]
    if unplaced := features.height - placed.height:
        caption += [" ", ui.term(f"{unplaced:,} without neighbours", "feature"), " not shown."]
    if placed["kept"].count():
        kept = placed.select(pl.col("kept").mean()).item()
        caption += [
            " Of a feature's ten nearest neighbours, ",
            ui.term(f"{cells.in_digits(kept, '%')} are near it", "near"),
            " on the map: distant points can still be similar.",
        ]
    return caption


def _legend(color: str) -> html.P | None:
    if color == "label":
        dots = ((html.Span("●", style={"color": rgb}, **ui.HIDDEN), f" {name} ") for rgb, name in figures.LABEL_COLORS)
        return html.P([html.Span([*dot]) for dot in dots], className="legend")
    if color == "cluster":
        n = counted(figures.N_CLUSTER_COLORS, "clusters")
        return html.P(f"Colours repeat after {n}; the table has a link to each.", className="quiet")
    return None


def chosen(features: pl.DataFrame, query: MapQuery) -> list[Any]:
    """The list of selected features, the most frequent first, and the download of all of them."""
    heading = html.H2("Selected features")
    if not query.chooses:
        return [heading, html.P("None yet: draw a box on the map, select a cluster, or search.", className="quiet")]
    matches = features.filter("chosen").sort(["density", "feature_id"], descending=[True, False])
    ways = [dcc.Link("Clear the selection", href=address.of_map(query, q="", cluster="", box=""))]
    if not matches.height:
        return [heading, html.P("No feature matches. "), *ways]
    file = html.A("all as CSV", href=f"/api/map.csv?{query.as_text()}")
    head = [cells.heading("feature", "", "number"), cells.heading("density", "", "number"), cells.heading("called")]
    body = [
        [
            cells.link(str(row["feature_id"]), address.feature_url(row["feature_id"]), c="number"),
            cells.number(row["density"], "%"),
            visible(row["label"] or (row["text"] if row["suggested"] else None) or "—"),
        ]
        for row in matches.head(_MOST_LISTED).rows(named=True)
    ]
    more = f" (the {_MOST_LISTED} most frequent shown)" if matches.height > _MOST_LISTED else ""
    summary = html.P([f"{counted(matches.height, 'features')}{more}. ", file, " · ", *ways])
    return [heading, summary, html.Div(cells.drawn(head, body), className="tall")]


def cluster_table(features: pl.DataFrame, query: MapQuery) -> ResultTable:
    """The clusters of a map. features: all of it, as `Source.on_map` has them."""
    return clusters(features.with_columns(labelled=pl.col("label").is_not_null()), query.by)


def _clusters(features: pl.DataFrame, query: MapQuery) -> html.Section:
    def choosing(cluster: int) -> str:
        return address.of_map(query, cluster=str(cluster), q="", box="", color="cluster")

    table = cluster_table(features, query)
    return ui.table(table, html.H2, _MOST_CLUSTERS, {"cluster": choosing}, address.Files("/api/map", f"by={query.by}"))


def register(app: Dash) -> None:
    """The list of the features in a box that is drawn, and clicks on points."""

    @app.callback(
        Output("map-chosen", "children"),
        Input("map-box", "data"),
        State("map-query", "data"),
        prevent_initial_call=True,
    )
    def in_box(box: Any, query: Any) -> Any:
        if box is None:
            raise PreventUpdate
        drawn = MapQuery.parse({**dict(parse_qsl(value_of(str, query, "map-query"))), "box": value_of(str, box, "box")})
        return chosen(current_source().on_map(drawn), drawn)

    ui.in_browser(app, "openOnMap", Output("map", "className"), Input("map", "clickData"))
    ui.in_browser(app, "boxDrawn", Output("map-box", "data"), Input("map", "selectedData"))
