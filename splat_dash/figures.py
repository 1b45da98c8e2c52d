"""Data as Plotly figures that read well on light and dark. No component here."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

_INK, _BAR = "#868e96", "#0072B2"


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
        height=220,
        margin={"l": 50, "r": 10, "t": 10, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _INK},
        xaxis={"title": {"text": "activation"}, "gridcolor": "rgba(134,142,150,.2)", "rangemode": "tozero"},
        yaxis={"title": {"text": "samples"}, "type": "log", "gridcolor": "rgba(134,142,150,.2)", "dtick": 1},
        bargap=0,
    )
    return figure
