"""Plotly figures that are readable on light and dark."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import polars as pl

from splat_assets.analysis.statistics import BANDS
from splat_assets.text.wording import percent
from splat_serving.investigations.results.result import LinesOrBars

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
CLUSTER_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#868e96")
N_CLUSTER_COLORS = len(CLUSTER_COLORS)
LABEL_COLORS = (("#D55E00", "labelled"), ("#2f8fc4", "with a rule"), ("#868e96", "neither"), ("#CC79A7", "dead"))
_DENSITY = [(0.0, "#8068c8"), (0.33, "#2f8fc4"), (0.66, "#1fa187"), (1.0, "#d98a00")]  # visible on light and on dark
_NAMED_FROM = 10  # a band is named if it takes at least this fraction of the width
_INK, _BAR, _GRID = "#868e96", "#0072B2", "rgba(134,142,150,.2)"


def histogram(bins_and_counts: Mapping[str, Any], effective_max: float, marked: float | None = None) -> dict[str, Any]:
    """How often each activation occurs, zeros left out; counts on a logarithmic axis, bands dotted and named.

    Args:
        bins_and_counts: `edges`, ascending and one more than `counts`.
        effective_max: Reference of the bands.
        marked: An activation to mark.

    Returns:
        Plain JSON values: every page of a feature has one, and building a `go.Figure` takes several times as long as everything
        else on it.

    Examples:
        >>> drawn = histogram({"edges": [0.0, 0.5, 1.0], "counts": [30, 4]}, effective_max=0.9)
        >>> drawn["data"][0]["x"], drawn["data"][0]["width"]
        ([0.25, 0.75], [0.5, 0.5])
    """
    edges, counts = bins_and_counts["edges"], bins_and_counts["counts"]
    bins = [*zip(edges, edges[1:], strict=False)]
    bars = {
        "type": "bar",
        "x": [(low + high) / 2 for low, high in bins],
        "y": counts,
        "width": [high - low for low, high in bins],
        "marker": {"color": _BAR, "line": {"width": 0}},
        "customdata": bins,
        "hovertemplate": "%{customdata[0]:.3g} to %{customdata[1]:.3g}: %{y:,}<extra></extra>",
    }
    lines, names = _bands(effective_max, edges[-1])
    if marked is not None:
        lines.append(_upright(marked, {"color": _COLORS[1], "width": 2}))
        names.append(_named("this build", marked, "right", -4))
    layout = {
        "xaxis": _axis("activation", rangemode="tozero"),
        "yaxis": _axis("samples", type="log", dtick=1),
        "bargap": 0,
        "shapes": lines,
        "annotations": names,
    }
    return {"data": [bars], "layout": layout}


def _bands(effective_max: float, largest: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lower bound of each band, and the names of those that are wide enough."""
    ends = [(band, band.above * effective_max, min(band.up_to * effective_max, largest)) for band in BANDS]
    lines = [_upright(low, {"color": _INK, "width": 1, "dash": "dot"}) for _, low, _ in ends if 0 < low < largest]
    named = [(band, (low + high) / 2) for band, low, high in ends if (high - low) * _NAMED_FROM > largest]
    return lines, [_named(band.name.replace("_", " "), middle, "center", 0) for band, middle in named]


def _upright(x: float, line: dict[str, Any]) -> dict[str, Any]:
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}


def _named(text: str, x: float, anchor: str, shift: int) -> dict[str, Any]:
    at = {"x": x, "y": 1, "yref": "paper", "yanchor": "top" if shift else "bottom", "xanchor": anchor, "xshift": shift}
    return {"text": text, "showarrow": False, "font": {"size": 12 if shift else 10}, **at}


def spread(features: pl.DataFrame, name: str, title: str) -> go.Figure:
    """Density against another column, both on logarithmic axes, a point per feature.

    Args:
        features: `feature_id, density` and the column name, all above 0.
        title: Of the axis of that column.

    Examples:
        >>> features = pl.DataFrame({"feature_id": [7, 9], "density": [0.5, 0.25], "mean": [1.0, 2.0]})
        >>> spread(features, "mean", "mean activation").data[0].customdata
        array([7, 9], dtype=int32)
    """
    figure = go.Figure(
        go.Scattergl(
            x=features["density"].to_numpy().astype(np.float32),
            y=features[name].to_numpy().astype(np.float32),
            customdata=features["feature_id"].to_numpy().astype(np.int32),
            mode="markers",
            marker={"color": _BAR, "size": 5, "opacity": 0.6},
            hovertemplate="feature %{customdata}: fires on %{x:.3p}; %{y:.3g}<extra></extra>",
        )
    )
    figure.update_layout(xaxis=_axis("density", type="log", tickformat="~%"), yaxis=_axis(title, type="log"))
    return figure


def on_map(features: pl.DataFrame, color: str, box: Sequence[float] | None) -> go.Figure:
    """Every feature as a point, in the order of ids, so that a point's number is its feature's.

    Args:
        features: `x, y, cluster, density, label, suggested, n_active, chosen`; x is null without a position.
        color: `density`, `label` or `cluster`.
        box: Left, right, bottom, top of the selection, drawn.

    Returns:
        Positions as float32, colours as uint8: 24,576 features weigh less than 400 kB.

    Examples:
        >>> one = {"x": 0.5, "y": 1.0, "cluster": 0, "density": 0.1, "label": None, "suggested": True, "n_active": 9}
        >>> drawn = on_map(pl.DataFrame([{**one, "chosen": True}]), "density", None)
        >>> drawn.data[0].selectedpoints
        (0,)
    """
    shade, scale, bar = _shades(features, color)
    chosen = features["chosen"].arg_true().to_list()
    figure = go.Figure(
        go.Scattergl(
            x=features["x"].to_numpy().astype(np.float32),
            y=features["y"].to_numpy().astype(np.float32),
            mode="markers",
            marker={"color": shade, "colorscale": scale, "cmin": 0, "cmax": 255, "size": 5, **bar},
            selectedpoints=chosen if features["chosen"].any() or box else None,
            unselected={"marker": {"opacity": 0.12}},
            selected={"marker": {"opacity": 1}},
            hovertemplate="feature %{pointNumber}<extra></extra>",
        )
    )
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    plane = {"xaxis": hidden, "yaxis": {**hidden, "scaleanchor": "x"}, "selectdirection": "any"}
    figure.update_layout(plane, dragmode="select", hovermode="closest")
    if box:
        left, right, bottom, top = box
        figure.add_selection(x0=left, x1=right, y0=bottom, y1=top, line={"color": _INK, "width": 1, "dash": "dot"})
    return figure


def _shades(
    features: pl.DataFrame, color: str
) -> tuple[npt.NDArray[np.uint8], list[tuple[float, str]], dict[str, Any]]:
    """A byte per feature, the colour scale, and the colour bar if there is one."""
    if color == "density":
        density = np.log10(np.maximum(features["density"].fill_null(0).to_numpy(), 1e-12))
        fires = (features["n_active"] > 0).to_numpy()
        low, high = (float(density[fires].min()), float(density[fires].max())) if fires.any() else (-1.0, 0.0)
        shade = np.clip(255 * (density - low) / max(high - low, 1e-9), 0, 255)
        decades = np.arange(math.ceil(low), math.floor(high) + 1, dtype=np.float64)
        at = decades if high - low > 1 else np.array([low, high])
        ticks = {
            "tickvals": (255 * (at - low) / max(high - low, 1e-9)).tolist(),
            "ticktext": [percent(10**one) for one in at],
        }
        bar = {"showscale": True, "colorbar": {"title": {"text": "density"}, "thickness": 10, **ticks}}
        return shade.astype(np.uint8), _DENSITY, bar
    if color == "label":
        labelled, dead = features["label"].is_not_null().to_numpy(), (features["n_active"] == 0).to_numpy()
        kind = np.select([labelled, dead, features["suggested"].fill_null(False).to_numpy()], [0, 3, 1], 2)
    else:
        kind = features["cluster"].fill_null(0).to_numpy() % N_CLUSTER_COLORS
    names = [rgb for rgb, _ in LABEL_COLORS] if color == "label" else list(CLUSTER_COLORS)
    step = 256 / len(names)
    scale = [(min(1.0, edge), rgb) for i, rgb in enumerate(names) for edge in (i / len(names), (i + 1) / len(names))]
    return (step * (kind + 0.5)).astype(np.uint8), scale, {"showscale": False}


def series(plot: LinesOrBars) -> go.Figure:
    """Lines or bars of a result, with their intervals where a series has both `low` and `high`."""
    figure = go.Figure()
    for at, one in enumerate(plot.series):
        color = _COLORS[at % len(_COLORS)]
        error = None
        if one.low is not None and one.high is not None:
            above = [None if y is None or high is None else high - y for y, high in zip(one.y, one.high, strict=True)]
            below = [None if y is None or low is None else y - low for y, low in zip(one.y, one.low, strict=True)]
            error = {"type": "data", "array": above, "arrayminus": below, "thickness": 1}
        x = [str(value) for value in one.x]
        if plot.kind == "bars":
            figure.add_bar(x=x, y=one.y, name=one.name, error_y=error, marker={"color": color})
        else:
            figure.add_scatter(x=x, y=one.y, name=one.name, error_y=error, mode="lines+markers", line={"color": color})
    figure.update_layout(
        xaxis=_axis(plot.x_label, type="category"), yaxis=_axis(plot.y_label), showlegend=len(plot.series) > 1
    )
    return figure


def framed(drawn: go.Figure | dict[str, Any]) -> go.Figure | dict[str, Any]:
    """A figure with the margins and colours that all figures have."""
    frame = {
        "margin": {"l": 55, "r": 10, "t": 14, "b": 45},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": _INK},
    }
    return (
        drawn.update_layout(frame)
        if isinstance(drawn, go.Figure)
        else {**drawn, "layout": {**drawn["layout"], **frame}}
    )


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title}, "gridcolor": _GRID, "zerolinecolor": _GRID, **more}
