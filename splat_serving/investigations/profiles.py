"""Words and tables that several experiments share: profiles of tokens and weapons, strong samples, shares with intervals."""

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.statistics import BANDS, band_numbers, effective_max
from splat_assets.errors import InputError
from splat_assets.store.activations import Activations
from splat_serving.investigations.results.result import LinesOrBars, ResultTable, bar_figure

PROFILE = {
    "n": "Samples with it.",
    "n_active": "Samples with it that are in the set.",
    "share_of_active": "Share of the set that has it.",
    "lift": "How many times as often it occurs in the set as overall.",
    "phi": "Correlation of having it and being in the set.",
    "q": "p-value of independence, adjusted for the number of rows compared (Benjamini-Hochberg).",
}


def profile_table(name: str, title: str, frame: pl.DataFrame, what: str, top_k: int, note: str = "") -> ResultTable:
    """The first rows of a profile (`analysis.profile`)."""
    return ResultTable.of(name, title, "observed", frame.head(top_k), {what: f"The {what}.", **PROFILE}, note)


def strong(activations: Activations, percentile: float) -> Activations:
    """The activations at or above a percentile (0 to 1) of the activations > 0; InputError for another number."""
    if not 0 <= percentile < 1:
        raise InputError(
            f"high_percentile: {percentile} is not a share; 0.9 means the strongest tenth of the activations"
        )
    if not activations.n_active:
        return activations
    kept = activations.values >= np.quantile(activations.values, percentile)
    return Activations(activations.sample_ids[kept], activations.values[kept])


def in_band(activations: Activations, name: str) -> Activations:
    """The activations in a band (`analysis.bands`)."""
    if not activations.n_active:
        return activations
    number = next(at for at, band in enumerate(BANDS) if band.name == name)
    kept = band_numbers(activations.values, effective_max(activations.values)) == number
    return Activations(activations.sample_ids[kept], activations.values[kept])


def flags(activations: Activations, n_samples: int) -> npt.NDArray[np.bool_]:
    """Which samples are among the activations: bool, shape (n_samples,)."""
    whole = np.zeros(n_samples, dtype=np.bool_)
    whole[activations.sample_ids] = True
    return whole


def bars(name: str, title: str, frame: pl.DataFrame, x: str, y: str, y_label: str, top: int = 20) -> LinesOrBars:
    """The first rows of a table as bars, with the interval of y where the table has it."""
    shown = frame.head(top)
    known = {f"{y}_low", f"{y}_high"} <= set(shown.columns)
    low, high = (shown[f"{y}_low"], shown[f"{y}_high"]) if known else (None, None)
    return bar_figure(name, title, x, y_label, [str(value) for value in shown[x]], shown[y], low, high)


def never(feature_id: int) -> str:
    """The warning for a feature that never fires."""
    return f"feature {feature_id} never fires on these samples: what it responds to is unknown"
