"""Exact statistics of one feature: over the samples on which it fires, and over all samples, zeros included.

Everything is computed in float64 from sorted values. A feature that never fires is without statistics of its activations
(None, never a made-up zero); over all samples it has, and they are zeros.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EFFECTIVE_MAX_QUANTILE = 0.995


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary of some numbers. Quantiles interpolate linearly (Hyndman and Fan 1996, type 7); std divides by n."""

    min: float
    q25: float
    median: float
    q75: float
    q90: float
    q95: float
    q99: float
    max: float
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """What one feature does over n_samples samples.

    over_active: of its values > 0, None if it never fires. over_all: of all samples, None without samples.
    effective_max: the 99.5th percentile of the values > 0, a maximum that one outlier cannot move.
    """

    n_active: int
    n_samples: int
    effective_max: float | None
    over_active: Distribution | None
    over_all: Distribution | None

    @property
    def sparsity(self) -> float | None:
        """The share of samples on which the feature is zero, None without samples."""
        return 1.0 - self.n_active / self.n_samples if self.n_samples else None


def feature_statistics(values: npt.NDArray[np.floating], n_samples: int) -> FeatureStatistics:
    """Statistics of a feature over all n_samples.

    Args:
        values: its activations > 0, in any order, shape (n_active,).

    Raises:
        ValueError: there are more activations than samples.

    Examples:
        >>> statistics = feature_statistics(np.array([1.0, 3.0]), n_samples=8)
        >>> statistics.sparsity, statistics.over_active.mean, statistics.over_all.mean
        (0.75, 2.0, 0.5)
    """
    return statistics_of_sorted(np.sort(values).astype(np.float64), n_samples)


def statistics_of_sorted(ordered: npt.NDArray[np.float64], n_samples: int) -> FeatureStatistics:
    """As `feature_statistics`, of values that already rise."""
    n_zero = n_samples - ordered.size
    if n_zero < 0:
        raise ValueError(f"{ordered.size} activations cannot come from {n_samples} samples")
    return FeatureStatistics(
        n_active=int(ordered.size),
        n_samples=n_samples,
        effective_max=quantile_of_sorted(ordered, EFFECTIVE_MAX_QUANTILE) if ordered.size else None,
        over_active=distribution_of_sorted(ordered) if ordered.size else None,
        over_all=distribution_of_sorted(ordered, n_zero) if n_samples else None,
    )


def effective_max(values: npt.NDArray[np.floating]) -> float:
    """The 99.5th percentile of values > 0, of which there must be at least one."""
    return quantile_of_sorted(np.sort(values).astype(np.float64), EFFECTIVE_MAX_QUANTILE)


def distribution_of_sorted(ordered: npt.NDArray[np.float64], n_zero: int = 0) -> Distribution:
    """Summary of rising values >= 0 together with n_zero zeros; there must be at least one number."""
    n = ordered.size + n_zero
    mean = float(ordered.sum()) / n
    squares = float(np.square(ordered - mean).sum()) + n_zero * mean * mean

    def at(q: float) -> float:
        return quantile_of_sorted(ordered, q, n_zero)

    return Distribution(
        min=at(0.0),
        q25=at(0.25),
        median=at(0.5),
        q75=at(0.75),
        q90=at(0.9),
        q95=at(0.95),
        q99=at(0.99),
        max=at(1.0),
        mean=mean,
        std=math.sqrt(squares / n),
    )


def quantile_of_sorted(ordered: npt.NDArray[np.float64], q: float, n_zero: int = 0) -> float:
    """The q-quantile (0 <= q <= 1) of rising values >= 0 together with n_zero zeros."""
    position = q * (ordered.size + n_zero - 1)
    below = math.floor(position)
    low = _nth(ordered, below, n_zero)
    if below == position:
        return low
    return low + (position - below) * (_nth(ordered, below + 1, n_zero) - low)


def _nth(ordered: npt.NDArray[np.float64], n: int, n_zero: int) -> float:
    return 0.0 if n < n_zero else float(ordered[n - n_zero])


@dataclass(frozen=True, slots=True)
class Band:
    """Activations above one share of the effective maximum, up to and with another."""

    name: str
    above: float
    up_to: float


BANDS = (
    Band("floor", 0.0, 0.01),
    Band("low", 0.01, 0.10),
    Band("below_core", 0.10, 0.25),
    Band("core", 0.25, 0.75),
    Band("high", 0.75, 0.90),
    Band("top", 0.90, float("inf")),
)


def band_numbers(values: npt.NDArray[np.floating], effective_max: float) -> npt.NDArray[np.int64]:
    """The position in BANDS of each value > 0: int64, the shape of values."""
    edges = np.array([band.up_to for band in BANDS[:-1]]) * effective_max
    return np.searchsorted(edges, values.astype(np.float64), side="left")
