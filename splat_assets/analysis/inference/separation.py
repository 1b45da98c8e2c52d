"""Separation of two sets of samples by a feature: AUROC with its interval, and its bounds from firing alone.

The Mann-Whitney statistic as a probability: that the activation is higher on a sample of the left set than on one of the right,
ties counting half. Samples on which the feature does not fire have activation 0 and tie with each other.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.inference.intervals import Z

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Separation:
    """auroc: None where a set is empty. low, high: its 95 % interval (DeLong, DeLong, Clarke-Pearson 1988), within 0 and 1."""

    auroc: float | None
    low: float | None
    high: float | None


def separation(left: npt.NDArray[np.float32], n_left: int, right: npt.NDArray[np.float32], n_right: int) -> Separation:
    """How well a feature separates two sets. left, right: its activations in them, zeros left out; n_left, n_right: samples."""
    if not n_left or not n_right:
        return Separation(None, None, None)
    of_left, of_right = np.sort(left.astype(np.float64)), np.sort(right.astype(np.float64))
    zeros_left, zeros_right = n_left - left.size, n_right - right.size
    # Of each sample, the share of the other set that it beats, ties counting half.
    beats_right = (zeros_right + _below(of_right, of_left)) / n_right
    beats_left = (zeros_left + _below(of_left, of_right)) / n_left
    zero_left, zero_right = 0.5 * zeros_right / n_right, 0.5 * zeros_left / n_left
    auroc = (beats_right.sum() + zeros_left * zero_left) / n_left
    spread = (
        _variance(beats_right, zero_left, zeros_left) / n_left
        + _variance(beats_left, zero_right, zeros_right) / n_right
    )
    half = Z * float(np.sqrt(spread))
    return Separation(float(auroc), max(0.0, float(auroc) - half), min(1.0, float(auroc) + half))


def auroc_bounds(k_left: Floats, n_left: int, k_right: Floats, n_right: int) -> tuple[Floats, Floats]:
    """Bounds of the AUROC from firing counts alone: k_left of n_left samples, k_right of n_right.

    Who fires beats who does not, who does not ties with who does not; of pairs in which both fire, all or none may be won.
    """
    fires_left, fires_right = k_left / n_left, k_right / n_right
    low = fires_left * (1 - fires_right) + (1 - fires_left) * (1 - fires_right) / 2
    return low, low + fires_left * fires_right


def _below(ordered: Floats, values: Floats) -> Floats:
    """The number of ordered values below each value, ties counting half."""
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2.0


def _variance(values: Floats, zero: float, n_zeros: int) -> float:
    """Sample variance of the values and n_zeros times zero; 0 of a single one."""
    n = values.size + n_zeros
    if n < 2:
        return 0.0
    mean = (values.sum() + n_zeros * zero) / n
    return float((((values - mean) ** 2).sum() + n_zeros * (zero - mean) ** 2) / (n - 1))
