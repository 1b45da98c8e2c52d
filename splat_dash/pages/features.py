"""The list of features: searched, filtered and sorted on the server; the browser holds only the visible blocks of rows."""

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
import polars as pl
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from splat_assets.errors import InputError
from splat_assets.text.wording import counted
from splat_dash import address, ui
from splat_dash.query import STATES, ListQuery, RowsRequest
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Source
from splat_dash.terms import meaning_of

BLOCK_ROWS = 100
_TEXT = {"flex": 2, "minWidth": 160}


def _number(name: str, field: str = "", width: int = 100, form: str = "") -> dict[str, Any]:
    """A column of numbers. form: `%` for a share."""
    written = {"function": f"inDigits(params.value, '{form}')"}
    return {"field": field or name, "headerName": name, "width": width, "headerTooltip": meaning_of(name),
            "valueFormatter": written, "type": "rightAligned", "filter": False}  # fmt: skip


COLUMNS: list[dict[str, Any]] = [
    {"field": "feature_id", "headerName": "feature", "width": 105, "cellRenderer": "FeatureLink", "type": "rightAligned",
     "filter": False},
    {"field": "label", "headerName": "label", "headerTooltip": meaning_of("label"), **_TEXT},
    {"field": "text", "headerName": "rule", "sortable": False, "headerTooltip": meaning_of("rule"), **_TEXT},
    _number("rule F1", "f1", 105),
    _number("density", width=115, form="%"),
    *map(_number, ("max", "mean", "effect")),
]  # fmt: skip
_STATE_NAMES = {
    "": "all",
    "labelled": "labelled",
    "unlabelled": "without a label",
    "suggested": "with a rule",
    "queued": "in the queue",
    "dead": "dead",
}


def _no_match(n_searched: int) -> list[Any]:
    """The empty state of the list, with a button to clear the search."""
    clear = html.Button("Clear the search", type="button", className="plain-button clear-search")
    return [f"No feature matches ({n_searched:,} searched) ", clear]


def layout(source: Source, **parameters: Any) -> Any:
    """The page, for the list query in the URL."""
    try:
        query = ListQuery.parse(parameters)
    except InputError as error:
        return ui.alert("This list cannot be shown", str(error), ("Show all features", "/features"))
    grid = dag.AgGrid(
        id="features-grid",
        columnDefs=COLUMNS,
        rowModelType="infinite",
        getRowId="params.data.id",
        defaultColDef={"sortable": True, "resizable": True, "suppressMovable": True},
        dashGridOptions={
            "cacheBlockSize": BLOCK_ROWS,
            "maxBlocksInCache": 20,
            "rowHeight": 32,
            "tooltipShowDelay": 300,
            "theme": {
                "function": "themeQuartz.withParams({backgroundColor: 'var(--mantine-color-body)', "
                "foregroundColor: 'var(--mantine-color-text)', browserColorScheme: 'inherit'})"
            },
        },
        style={"height": "calc(100vh - 15rem)", "minHeight": "20rem"},
    )
    return html.Div(
        [
            html.H1("Features"),
            dmc.Group(
                [
                    dmc.TextInput(id="features-q", label="Search", description="label, rule, token or number", value=query.q,
                                  debounce=200, w=320),
                    dmc.Select(id="features-state", label="Status", description="of the feature", value=query.state,
                               data=[{"value": name, "label": _STATE_NAMES[name]} for name in ("", *STATES)],
                               allowDeselect=False, w=200),
                    html.P(id="features-count", className="count", role="status"),
                    html.A("as CSV", id="features-file", href=address.of_list_file(query), className="count"),
                ],
                align="flex-end",
            ),
            dcc.Store(id="features-sort", data=query.sort),
            grid,
        ]
    )  # fmt: skip


def register(app: Dash) -> None:
    """The rows of the list, and its address while one types."""

    @app.callback(
        Output("features-grid", "getRowsResponse"),
        Output("features-count", "children"),
        Input("features-grid", "getRowsRequest"),
        State("features-q", "value"),
        State("features-state", "value"),
        State("features-sort", "data"),
    )
    def rows(request: Any, q: Any, state: Any, sort: Any) -> tuple[Any, Any]:
        if request is None:
            raise PreventUpdate
        block = value_of(RowsRequest, request, "getRowsRequest")
        words, which, order = (value_of(str | None, value, "search") for value in (q, state, sort))
        source = current_source()
        matches = source.rows(ListQuery(words or "", which or "", block.sort(order)))
        page = matches.slice(block.startRow, max(block.endRow - block.startRow, 0))
        n_all = source.about.n_features
        caption = f"{matches.height:,} of {counted(n_all, 'features')}" if matches.height else _no_match(n_all)
        named = page.with_columns(pl.col("feature_id").cast(pl.String).alias("id"))  # row ids are strings
        return {"rowData": named.to_dicts(), "rowCount": matches.height}, caption

    inputs = [Input("features-q", "value"), Input("features-state", "value")]
    ui.in_browser(app, "listChanged", Output("features-q", "className"), *inputs)
