"""A feature in groups of samples: firing rate and mean activation, zeros included, and differences of those means.

The samples of a group on which it does not fire count with 0. Sums run over the activations alone, so a rare feature costs
little however many samples there are. Variances are those of each group, never pooled over groups, and intervals of
differences are Student's with the degrees of freedom that Welch (1947) gives a sum of unequal variances.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.inference.intervals import (
    LEVEL,
    bootstrap_mean_interval,
    resampled_mean_interval,
    share_interval,
)
from splat_assets.store.activations import Activations

Floats = npt.NDArray[np.float64]
FEW_ACTIVE = 20
"""In groups with fewer activations the interval of the mean is drawn; beyond, moments tell the same more exactly and at once."""


@dataclass(frozen=True)
class Grouped:
    """Per group, shape (n_groups,): n samples, n_active on which the feature fires, sum and sum of squares of activations."""

    n: npt.NDArray[np.int64]
    n_active: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64]
    total_of_squares: npt.NDArray[np.float64]
    codes: npt.NDArray[np.integer]
    values: npt.NDArray[np.float32]

    @cached_property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean over all samples of each group, zeros included; NaN for an empty group."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(self.n > 0, self.total / np.maximum(self.n, 1), np.nan))

    @cached_property
    def share(self) -> npt.NDArray[np.float64]:
        """The share of each group on which it fires; NaN for an empty group."""
        return np.asarray(np.where(self.n > 0, self.n_active / np.maximum(self.n, 1), np.nan))

    def share_interval(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The exact 95 % interval of `share`."""
        return share_interval(self.n_active, self.n)

    def mean_interval(self, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The 95 % interval of `mean`, of the bootstrap: drawn in groups with fewer than FEW_ACTIVE activations.

        NaN where the feature never fires: how strongly it would is not known.
        """
        exact = self.values.astype(np.float64)
        higher = [np.bincount(self.codes, weights=exact**power, minlength=self.n.size) for power in (3, 4)]
        low, high = resampled_mean_interval(self.n, [self.total, self.total_of_squares, *higher])
        unknown = (self.n_active == 0) | (self.n < 2)
        low[unknown] = high[unknown] = np.nan
        rng = np.random.default_rng(seed)
        few = np.flatnonzero((self.n > 1) & (self.n_active > 0) & (self.n_active < FEW_ACTIVE))
        if few.size:
            order = np.argsort(self.codes, kind="stable")
            edges = np.concatenate([[0], np.cumsum(self.n_active)])
            for group in few.tolist():
                values = self.values[order[edges[group] : edges[group + 1]]]
                low[group], high[group] = bootstrap_mean_interval(values, int(self.n[group] - values.size), rng)
        return low, high


def grouped(
    activations: Activations,
    codes: npt.NDArray[np.integer],
    n_groups: int,
    sizes: npt.NDArray[np.int64] | None = None,
) -> Grouped:
    """The activations of a feature by group. codes: the group of every sample, shape (n_samples,); -1 for none.

    sizes: samples in each group, shape (n_groups,), where they were counted before; that is what takes time for a rare feature.
    """
    here = codes[activations.sample_ids].astype(np.int64)
    inside = here >= 0
    groups, values = here[inside], activations.values[inside]
    exact = values.astype(np.float64)
    return Grouped(
        n=np.bincount(codes[codes >= 0], minlength=n_groups) if sizes is None else sizes,
        n_active=np.bincount(groups, minlength=n_groups),
        total=np.bincount(groups, weights=exact, minlength=n_groups).astype(np.float64),
        total_of_squares=np.bincount(groups, weights=exact**2, minlength=n_groups).astype(np.float64),
        codes=groups,
        values=values,
    )


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
