"""Columns of p-values become q-values, and NaN a missing value."""

import numpy as np
import polars as pl

from splat_assets.analysis.inference.intervals import q_of, with_q


def test_q_takes_the_place_of_p_and_nan_becomes_missing() -> None:
    frame = pl.DataFrame({"mean": [1.0, np.nan, 2.0], "p": [0.01, None, 0.04], "n": [1, 2, 3]})

    found = with_q(frame)

    assert found.columns == ["mean", "n", "q"]
    assert found["mean"].to_list() == [1.0, None, 2.0]
    assert found["q"].to_list() == [0.02, None, 0.04]


def test_what_is_not_known_is_no_question() -> None:
    known, with_unknown = pl.Series([0.01, 0.04]), pl.Series([0.01, None, 0.04, np.nan])

    assert q_of(with_unknown).drop_nulls().to_list() == q_of(known).to_list()
