"""Data as Plotly figures that read well on light and dark, and the frame with a caption in which one is shown."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from dash import dcc, html

from splat_serving.investigations.result import LinesOrBars

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_INK, _BAR, _GRID = "#868e96", "#0072B2", "rgba(134,142,150,.2)"


def histogram(found: Mapping[str, Any]) -> go.Figure:
    """How often each activation occurs, zeros left out; counts on a logarithmic axis."""
    edges, counts = found["edges"], found["counts"]
    middles = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
    widths = [high - low for low, high in zip(edges, edges[1:], strict=False)]
    figure = go.Figure(
        go.Bar(
            x=middles,
            y=counts,
            width=widths,
            marker={"color": _BAR, "line": {"width": 0}},
            customdata=[[low, high] for low, high in zip(edges, edges[1:], strict=False)],
            hovertemplate="%{customdata[0]:.4g} to %{customdata[1]:.4g}: %{y:,}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={"title": {"text": "activation"}, "gridcolor": _GRID, "zerolinecolor": _GRID, "rangemode": "tozero"},
        yaxis={"title": {"text": "samples"}, "type": "log", "gridcolor": _GRID, "zerolinecolor": _GRID, "dtick": 1},
        bargap=0,
    )
    return figure


def spread(features: pl.DataFrame) -> go.Figure:
    """Density against mean activation, both on logarithmic axes, a point per feature. features: `feature_id, density, mean`."""
    figure = go.Figure(
        go.Scattergl(
            x=features["density"].to_numpy().astype(np.float32),
            y=features["mean"].to_numpy().astype(np.float32),
            customdata=features["feature_id"].to_numpy().astype(np.int32),
            mode="markers",
            marker={"color": _BAR, "size": 5, "opacity": 0.6},
            hovertemplate="feature %{customdata}: fires on %{x:.3%}, mean %{y:.4g}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={
            "title": {"text": "density"},
            "type": "log",
            "gridcolor": _GRID,
            "zerolinecolor": _GRID,
            "tickformat": "~%",
        },
        yaxis={
            "title": {"text": "mean activation where it fires"},
            "type": "log",
            "gridcolor": _GRID,
            "zerolinecolor": _GRID,
        },
    )
    return figure


def series(found: LinesOrBars) -> go.Figure:
    """Lines or bars of a result, with intervals where there are any."""
    figure = go.Figure()
    for at, one in enumerate(found.series):
        color = _COLORS[at % len(_COLORS)]
        error = None
        if one.low is not None and one.high is not None:
            above = [None if y is None or high is None else high - y for y, high in zip(one.y, one.high, strict=True)]
            below = [None if y is None or low is None else y - low for y, low in zip(one.y, one.low, strict=True)]
            error = {"type": "data", "array": above, "arrayminus": below, "thickness": 1}
        x = [str(value) for value in one.x]
        if found.kind == "bars":
            figure.add_bar(x=x, y=one.y, name=one.name, error_y=error, marker={"color": color})
        else:
            figure.add_scatter(x=x, y=one.y, name=one.name, error_y=error, mode="lines+markers", line={"color": color})
    figure.update_layout(
        xaxis={"title": {"text": found.x_label}, "gridcolor": _GRID, "zerolinecolor": _GRID, "type": "category"},
        yaxis={"title": {"text": found.y_label}, "gridcolor": _GRID, "zerolinecolor": _GRID},
        showlegend=len(found.series) > 1,
    )
    return figure


def figure(drawn: go.Figure, caption: str, name: str, height: int = 220) -> html.Figure:
    """The figure, which can be made as large as the window, with its caption. name: its id, and that of a saved image."""
    drawn.update_layout(
        margin={"l": 55, "r": 10, "t": 10, "b": 45},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _INK},
    )
    options: Any = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"filename": name}}
    graph = dcc.Graph(id=name, figure=drawn, config=options, style={"height": f"{height}px"})
    larger = html.Button("larger", type="button", className="plain-button grow", title="As large as the window; Escape")
    return html.Figure([graph, html.Figcaption([caption, " ", larger])], className="panel")
