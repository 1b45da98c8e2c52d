"""The list of features: searched, filtered and sorted on the server; the browser holds only the visible blocks of rows."""

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import dcc, html

from splat_assets.errors import InputError
from splat_dash import address, ui
from splat_dash.query import STATES, ListQuery
from splat_dash.source import Source

BLOCK_ROWS = 100
_NUMBER = {"type": "rightAligned", "filter": False}
COLUMNS: list[dict[str, Any]] = [
    {"field": "feature_id", "headerName": "feature", "width": 105, "cellRenderer": "FeatureLink", **_NUMBER},
    {"field": "label", "headerName": "label", "flex": 2, "minWidth": 160, "headerTooltip": "Name given by a person."},
    {"field": "text", "headerName": "rule", "flex": 2, "minWidth": 160, "sortable": False,
     "headerTooltip": "The rule on builds that describes it best; scored on held-out builds."},
    {"field": "f1", "headerName": "rule F1", "width": 105, "headerTooltip": "F1 of the rule on held-out builds.",
     "valueFormatter": {"function": "params.value == null ? '—' : d3.format('.3f')(params.value)"}, **_NUMBER},
    {"field": "density", "headerName": "density", "width": 115, "headerTooltip": "Share of all samples on which it fires.",
     "valueFormatter": {"function": "params.value == null ? '—' : d3.format('.3%')(params.value)"}, **_NUMBER},
    {"field": "max", "headerName": "max", "width": 100, "headerTooltip": "Its largest activation.",
     "valueFormatter": {"function": "params.value == null ? '—' : d3.format('.3f')(params.value)"}, **_NUMBER},
    {"field": "mean", "headerName": "mean", "width": 100, "headerTooltip": "Mean over the samples on which it fires.",
     "valueFormatter": {"function": "params.value == null ? '—' : d3.format('.3f')(params.value)"}, **_NUMBER},
    {"field": "effect", "headerName": "effect", "width": 100,
     "headerTooltip": "Change of the most affected logit at the mean activation, on the direct path.",
     "valueFormatter": {"function": "params.value == null ? '—' : d3.format('.3f')(params.value)"}, **_NUMBER},
]  # fmt: skip
_STATE_NAMES = {
    "": "all",
    "labelled": "labelled",
    "unlabelled": "without a label",
    "suggested": "with a rule",
    "queued": "in the queue",
    "dead": "dead",
}


def nothing(n_searched: int) -> list[Any]:
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
