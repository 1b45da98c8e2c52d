"""Tables of statistics: NaN, which is a number to polars, becomes a missing value; p-values become q-values."""

import numpy as np
import polars as pl

from splat_assets.analysis.intervals import benjamini_hochberg


def with_q(frame: pl.DataFrame, p: str = "p", q: str = "q") -> pl.DataFrame:
    """The frame with missing values for NaN, and with the column q, `benjamini_hochberg` of its column p, in the place of p."""
    adjusted = benjamini_hochberg(frame[p].fill_null(np.nan).to_numpy())
    return frame.drop(p).with_columns(pl.Series(q, adjusted)).fill_nan(None)
