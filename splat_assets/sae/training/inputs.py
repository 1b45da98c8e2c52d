"""The statistics of the training rows: mean, scale, and gamma, and the check that they can be trained on."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.errors import InputError
from splat_assets.wording import counted

_BLOCK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """What training and export need to know of the rows it trains on.

    mean: float64, shape (d_in,). scale: x * scale has E||x - mean||^2 = d_in. gamma: ||mean|| / sqrt(E||x - mean||^2), how
    far the rows lie from the origin; above about 2, an SAE that does not start at the mean loses most features.
    fingerprint: sha256 over mean and variance, which every row enters.
    """

    mean: npt.NDArray[np.float64]
    scale: float
    gamma: float
    fingerprint: str


def measure_inputs(activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> InputStatistics:
    """Read the rows once, in blocks; raises InputError for a NaN, an infinity, or rows that are all equal."""
    if activations.ndim != 2:
        raise InputError(f"activations must be an array (n_rows, d_in), not of shape {activations.shape}")
    if rows.size == 0:
        raise InputError("there are no training rows")
    _refuse_outside(activations, rows, "training")
    mean = np.zeros(activations.shape[1], dtype=np.float64)
    ordered = np.sort(rows)
    for start in range(0, rows.size, _BLOCK_ROWS):
        chosen = ordered[start : start + _BLOCK_ROWS]
        block = np.asarray(activations[chosen], dtype=np.float64)
        _refuse_non_finite(block, chosen)
        mean += block.sum(axis=0)
    mean /= rows.size
    variance = np.zeros_like(mean)
    for start in range(0, rows.size, _BLOCK_ROWS):
        block = np.asarray(activations[ordered[start : start + _BLOCK_ROWS]], dtype=np.float64)
        variance += np.square(block - mean).sum(axis=0)
    variance /= rows.size
    total = float(variance.sum())
    if total <= 1e-12 * float(mean @ mean):
        raise InputError(
            f"all {counted(rows.size, 'training rows', 'are')} equal: there is nothing for an SAE to explain"
        )
    fingerprint = hashlib.sha256(mean.tobytes() + variance.tobytes() + rows.astype(np.int64).tobytes()).hexdigest()
    scale = float(np.sqrt(mean.size / total))
    return InputStatistics(mean, scale, float(np.linalg.norm(mean) / np.sqrt(total)), fingerprint)


def check_held_out(activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> None:
    """Raise InputError unless there are held-out rows, all in the activations, without a NaN or an infinity."""
    if rows.size == 0:
        raise InputError("an SAE needs held-out rows to be measured and calibrated on; there are none")
    _refuse_outside(activations, rows, "held-out")
    ordered = np.sort(rows)
    for start in range(0, rows.size, _BLOCK_ROWS):
        chosen = ordered[start : start + _BLOCK_ROWS]
        _refuse_non_finite(activations[chosen], chosen)


def _refuse_outside(activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], which: str) -> None:
    if rows.min() < 0 or rows.max() >= activations.shape[0]:
        raise InputError(f"{which} rows {rows.min()} to {rows.max()} are not all in 0 to {activations.shape[0] - 1}")


def _refuse_non_finite(block: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> None:
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        bad = int(rows[np.flatnonzero(~finite)[0]])
        raise InputError(f"row {bad} of the activations holds a NaN or an infinity; an SAE cannot be trained on it")
