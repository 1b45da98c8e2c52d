"""One threshold for all features, chosen so that held-out rows have k active features on average."""

import numpy as np
import numpy.typing as npt

from splat_assets.sae.autoencoder import Sae
from splat_assets.sae.products import collect_above
from splat_assets.sae.training.selection import select_largest

_BLOCK_ROWS = 4096
_MARGINS = (0.9, 0.5, 0.0)


def calibrated_threshold(sae: Sae, activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int) -> float:
    """The threshold at which the mean number of active features over rows is k (less where fewer are positive).

    It lies between the k * n_rows-th largest pre-activation and the next one, so that a rounding error flips neither.

    Args:
        sae: its own threshold is not used.
        activations: float32, shape (n, d_in), an array or a memory map; read in blocks.
        rows: int64, at least one, those to calibrate on.

    Examples:
        >>> import torch
        >>> zeros = torch.zeros(2)
        >>> sae = Sae(torch.eye(2), zeros, torch.eye(2), zeros, zeros)
        >>> calibrated_threshold(sae, np.float32([[4, 1], [2, 3]]), np.arange(2), k=1)
        2.5
    """
    n_wanted = k * rows.size
    first = sae.centred(activations[rows[:_BLOCK_ROWS]])
    guess = select_largest(first, sae.encoder, sae.b_enc, k * first.shape[0]).smallest
    values = np.empty(0, dtype=np.float32)
    for margin in _MARGINS:
        values = _values_above(sae, activations, rows, guess * margin)
        if values.size > n_wanted:
            break
    if values.size <= n_wanted:
        return 0.0
    around = np.partition(values, [values.size - n_wanted - 1, values.size - n_wanted])
    below, above = around[values.size - n_wanted - 1], around[values.size - n_wanted]
    middle = np.float32((float(below) + float(above)) / 2)
    return float(middle if middle < above else below)


def _values_above(
    sae: Sae, activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], lower: float
) -> npt.NDArray[np.float32]:
    bounds = np.full(sae.d_sae, lower, dtype=np.float32)
    values = []
    for start in range(0, rows.size, _BLOCK_ROWS):
        centred = sae.centred(activations[rows[start : start + _BLOCK_ROWS]])
        values.append(collect_above(centred, sae.encoder, sae.b_enc, bounds).values)
    return np.concatenate(values)
