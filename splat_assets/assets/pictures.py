"""Small plots that the Dagster UI shows beside an asset: PNG bytes, one function per plot."""

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.text.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def density_histogram(n_active: npt.NDArray[np.int64], n_samples: int) -> bytes:
    """Number of features per share of samples on which they are active (logarithmic), dead ones in the title."""
    alive = n_active[n_active > 0] / max(1, n_samples)
    n_dead = int((n_active == 0).sum())
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 2.6), layout="constrained")
    axes = figure.add_subplot()
    if alive.size:
        lowest = np.floor(np.log10(alive.min()))
        axes.hist(alive, bins=np.logspace(lowest, 0, 41).tolist())
        axes.set_xscale("log")
    axes.set(xlabel="share of samples on which a feature is active", ylabel="features")
    axes.set_title(f"{counted(n_active.size, 'features')}, {n_dead:,} never fire", fontsize=9)
    return _png(figure)


def training_curves(metrics: pl.DataFrame) -> bytes:
    """Held-out FVU (left) and L0 (right) over the samples seen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 2.6), layout="constrained")
    left = figure.add_subplot()
    left.plot(metrics["samples"], metrics["fvu_held_out"], label="FVU")
    left.set(xlabel="samples seen", ylabel="held-out FVU", yscale="log")
    right = left.twinx()
    right.plot(metrics["samples"], metrics["l0_held_out"], color="tab:orange", label="L0")
    right.set_ylabel("held-out L0")
    figure.legend(loc="upper right", fontsize=8)
    return _png(figure)


def pareto_plot(runs: pl.DataFrame) -> bytes:
    """FVU over L0, a point per run, a colour per width; the front as a line. runs: as `sweeps.compare_sweep` gives them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for width in runs["width"].unique(maintain_order=False).sort().to_list():
        own = runs.filter(pl.col("width") == width)
        axes.scatter(own["l0_mean"], own["fvu"], label=counted(width, "features"), s=22)
    front = runs.filter("on_front").sort("l0_mean")
    axes.plot(front["l0_mean"], front["fvu"], color="grey", linewidth=1, zorder=0)
    axes.set(xlabel="L0: active features per sample", ylabel="FVU: unexplained variance", yscale="log")
    axes.legend(fontsize=8)
    return _png(figure)


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    # Without a date or version the same plot is the same bytes.
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()
