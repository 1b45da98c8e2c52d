"""Differences of mean activations between samples with and without something: plain, within strata, and of differences.

Means are over all samples, zeros included. Variances are those of each cell, never pooled over cells, and intervals are Student's
with the degrees of freedom that Welch (1947) gives a sum of unequal variances.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.inference.grouped import Grouped
from splat_assets.analysis.inference.intervals import LEVEL

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference with its 95 % interval and two-sided p (Welch); NaN where a side has fewer than two samples."""

    value: float
    low: float
    high: float
    p: float


def variance(cells: Grouped) -> Floats:
    """Sample variance of the activation in each cell, zeros included; NaN below two samples."""
    n = cells.n.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = np.maximum(cells.total_of_squares - n * cells.mean**2, 0) / (n - 1)
    return np.asarray(np.where(n > 1, variances, np.nan))


def difference(cells: Grouped, left: int, right: int) -> Difference:
    """Mean of cell `left` less mean of cell `right`."""
    return combination(cells, {left: 1.0, right: -1.0})


def interaction_contrast(cells: Grouped, both: int, first: int, second: int, neither: int) -> Difference:
    """The interaction effect, beyond the sum of the single ones: m(both) - m(first) - m(second) + m(neither)."""
    return combination(cells, {both: 1.0, first: -1.0, second: -1.0, neither: 1.0})


def combination(cells: Grouped, weights: dict[int, float]) -> Difference:
    """A weighted sum of cell means."""
    at, factors = np.array(list(weights)), np.array(list(weights.values()))
    spread = factors**2 * variance(cells)[at] / np.maximum(cells.n[at], 1)
    return _difference(float((factors * cells.mean[at]).sum()), spread, cells.n[at])


def stratified_difference(cells: Grouped, n_strata: int) -> Difference:
    """Difference of with and without, within strata: cells are coded stratum * 2 + with.

    Strata are weighted by n_with n_without / (n_with + n_without), as Mantel and Haenszel (1959) do; strata where a side has
    fewer than two samples say nothing and are left out.
    """
    n = cells.n.reshape(n_strata, 2).astype(np.float64)
    means, spread = cells.mean.reshape(n_strata, 2), variance(cells).reshape(n_strata, 2)
    used = (n > 1).all(axis=1)
    if not used.any():
        return Difference(np.nan, np.nan, np.nan, np.nan)
    weight = (n[used].prod(axis=1)) / n[used].sum(axis=1)
    weight /= weight.sum()
    value = float((weight * (means[used, 1] - means[used, 0])).sum())
    return _difference(value, (weight[:, None] ** 2 * spread[used] / n[used]).ravel(), n[used].ravel())


def standardised(cells: Grouped, with_it: int, without: int) -> float:
    """The difference in units of the pooled standard deviation (Cohen's d); NaN where nothing varies."""
    n, spread = cells.n.astype(np.float64), variance(cells)
    pooled = ((n[with_it] - 1) * spread[with_it] + (n[without] - 1) * spread[without]) / (n[with_it] + n[without] - 2)
    return float((cells.mean[with_it] - cells.mean[without]) / np.sqrt(pooled)) if pooled > 0 else float("nan")


def _difference(value: float, spread: Floats, n: npt.NDArray[np.number[Any]]) -> Difference:
    """spread: of each term of the sum, the variance of its mean; n: its samples."""
    from scipy.special import stdtr, stdtrit

    whole = float(spread.sum())
    if not np.isfinite(value) or not np.isfinite(whole):
        return Difference(np.nan, np.nan, np.nan, np.nan)
    if whole == 0:  # nothing varies: of how sure the difference is nothing is known
        return Difference(value, np.nan, np.nan, 1.0 if value == 0 else np.nan)
    degrees = whole**2 / float((spread**2 / (n - 1)).sum())
    error = float(np.sqrt(whole))
    half = float(stdtrit(degrees, (1 + LEVEL) / 2)) * error
    return Difference(value, value - half, value + half, float(2 * stdtr(degrees, -abs(value) / error)))
