"""Tables of statistics: NaN, which is a number to polars, becomes a missing value; p-values become q-values."""

import numpy as np
import polars as pl

from splat_assets.analysis.inference.intervals import benjamini_hochberg


def with_q(frame: pl.DataFrame, p: str = "p", q: str = "q") -> pl.DataFrame:
    """The frame with missing values for NaN, and with the column q, `q_of` its column p, in the place of p."""
    return frame.drop(p).with_columns(q_of(frame[p]).alias(q)).fill_nan(None)


def q_of(p: pl.Series) -> pl.Series:
    """`benjamini_hochberg` of a column of p-values; missing where p is."""
    return pl.Series("q", benjamini_hochberg(p.fill_null(np.nan).to_numpy())).fill_nan(None)
