"""Two features side by side: how much their activations agree, and which tokens or weapons are associated with one only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import erfc

from splat_assets.analysis.inference.intervals import benjamini_hochberg, wilson_interval
from splat_assets.analysis.inference.similarity import inverse_spread, jaccard, pearson, phi
from splat_assets.store.activations import Activations


@dataclass(frozen=True, slots=True)
class Agreement:
    """The association of two features over n_samples. None where one of them is constant."""

    n_left: int
    n_right: int
    n_both: int
    jaccard: float
    phi: float | None
    pearson: float | None


def agreement(left: Activations, right: Activations, n_samples: int) -> Agreement:
    """The association of two features: samples on which both fire, correlation of firing (phi) and of activations (Pearson)."""
    _, at_left, at_right = np.intersect1d(left.sample_ids, right.sample_ids, assume_unique=True, return_indices=True)
    x, y = left.values.astype(np.float64), right.values.astype(np.float64)
    spread_x, spread_y = (
        inverse_spread(x.sum(), (x * x).sum(), n_samples),
        inverse_spread(y.sum(), (y * y).sum(), n_samples),
    )
    correlation = pearson((x[at_left] * y[at_right]).sum(), x.sum(), y.sum(), spread_x, spread_y, n_samples)
    of_firing = float(phi(np.array(at_left.size), np.array(left.n_active), right.n_active, n_samples))
    return Agreement(
        left.n_active,
        right.n_active,
        int(at_left.size),
        float(jaccard(at_left.size, left.n_active, right.n_active)),
        of_firing if np.isfinite(of_firing) else None,
        float(correlation) if spread_x > 0 and spread_y > 0 else None,
    )


def contrast(left: pl.DataFrame, right: pl.DataFrame, what: str, n_left: int, n_right: int) -> pl.DataFrame:
    """Two profiles (`profile.token_profile`) side by side: shares of the activations that have each token, and their difference.

    difference = share_left - share_right, with Newcombe's interval (1998, method 10, from Wilson's intervals) for independent
    shares: where both fire on the same samples it is wider than it need be. q: of a two-sided z test of equal shares.
    """
    both = (
        left.select(what, f"{what}_id", pl.col("n"), pl.col("n_active").alias("n_left"))
        .join(right.select(f"{what}_id", pl.col("n_active").alias("n_right")), on=f"{what}_id", how="left")
        .sort(f"{what}_id")
    )
    k_left, k_right = both["n_left"].to_numpy().astype(np.float64), both["n_right"].to_numpy().astype(np.float64)
    share_left, share_right = k_left / max(n_left, 1), k_right / max(n_right, 1)
    low_left, high_left = wilson_interval(k_left, n_left)
    low_right, high_right = wilson_interval(k_right, n_right)
    difference = share_left - share_right
    low = difference - np.sqrt((share_left - low_left) ** 2 + (high_right - share_right) ** 2)
    high = difference + np.sqrt((high_left - share_left) ** 2 + (share_right - low_right) ** 2)
    return (
        both.with_columns(
            pl.Series("share_left", share_left),
            pl.Series("share_right", share_right),
            pl.Series("difference", difference),
            pl.Series("difference_low", low),
            pl.Series("difference_high", high),
            pl.Series("q", benjamini_hochberg(equal_shares_p(k_left, n_left, k_right, n_right))).fill_nan(None),
        )
        .sort([pl.col("difference").abs(), pl.col(f"{what}_id")], descending=[True, False])
    )  # fmt: skip


def equal_shares_p(
    k_left: npt.NDArray[np.float64], n_left: int, k_right: npt.NDArray[np.float64], n_right: int
) -> npt.NDArray[np.float64]:
    """p of equal shares k / n left and right (two-sided z test, pooled), shape of k_left; NaN where nothing varies."""
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = (k_left + k_right) / (n_left + n_right)
        spread = (
            np.sqrt(pooled * (1 - pooled) * (1 / n_left + 1 / n_right))
            if n_left and n_right
            else np.full_like(pooled, np.nan)
        )
        z = (k_left / n_left - k_right / n_right) / spread if n_left and n_right else spread
    return np.where(spread > 0, erfc(np.abs(z) / np.sqrt(2)), np.nan)
