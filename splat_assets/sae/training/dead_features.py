"""AuxK on a CPU: the dead features' model of the residual, as entries like the active ones.

Gao et al. 2024 (arXiv 2406.04093), section 2.2; the terms are defined in `step.batch_topk_loss`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.compiled import compiled
from splat_assets.sae.kernels import blocks, in_parallel
from splat_assets.sae.products import FeatureLists, Floats, collect_above, subtract_decoded, sum_of_squares
from splat_assets.sae.training.gradients import Entries
from splat_assets.sae.training.state import TrainingState
from splat_assets.sae.training.step import StepSettings, residual_variance

_BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True)
class DeadFeatures:
    """Entries of the dead features (None where they have nothing to model) and their normalised error."""

    entries: Entries | None
    loss: float


def model_residual(
    state: TrainingState, centred: torch.Tensor, residual: torch.Tensor, dead: torch.Tensor, settings: StepSettings
) -> DeadFeatures:
    """The aux_k largest positive pre-activations of dead features in each row, and how well they model the residual.

    centred, residual: (n, d_in). dead: bool, shape (d_sae,), at least one.
    """
    variance = residual_variance(residual)
    if variance == 0:
        return DeadFeatures(None, 0.0)
    ids = np.flatnonzero(dead.numpy())
    encoder, bias = (torch.from_numpy(held.numpy()[ids]) for held in (state.encoder, state.b_enc))
    if ids.size <= settings.aux_k:
        among_dead = collect_above(centred, encoder, bias, np.zeros(ids.size, dtype=np.float32))
    else:
        among_dead = _largest_per_row(centred, encoder, bias, settings.aux_k)
    lists = _among_all(among_dead, ids, state.decoder.shape[0])
    left = torch.from_numpy(residual.numpy().copy())
    subtract_decoded(left, lists, state.decoder)
    loss = sum_of_squares(left.numpy()) / variance
    return DeadFeatures(Entries(lists, left, -2 * settings.aux_coeff / variance), loss)


def _among_all(lists: FeatureLists, ids: npt.NDArray[np.int64], d_sae: int) -> FeatureLists:
    counts = np.zeros(d_sae, dtype=np.int64)
    counts[ids] = np.diff(lists.indptr)
    return FeatureLists(np.concatenate([[0], np.cumsum(counts)]), lists.rows, lists.values)


def _largest_per_row(centred: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, aux_k: int) -> FeatureLists:
    n_rows, n_dead = centred.shape[0], encoder.shape[0]
    features = np.empty((n_rows, aux_k), dtype=np.int32)
    values = np.empty((n_rows, aux_k), dtype=np.float32)
    n_kept = np.empty(n_rows, dtype=np.int64)

    def keep_block(first: int, last: int) -> None:
        pre = torch.addmm(bias, centred[first:last], encoder.t()).numpy()
        _keep_largest(pre, features[first:last], values[first:last], n_kept[first:last])

    in_parallel(keep_block, blocks(n_rows, _BLOCK_ROWS))
    return FeatureLists(*_grouped(features, values, n_kept, n_dead))


@compiled
def _keep_largest(pre: Floats, features: npt.NDArray[np.int32], values: Floats, n_kept: npt.NDArray[np.int64]) -> None:
    """Per row: ids and values of the largest positive entries, as many as features has columns; ties by lower id."""
    n_wanted = features.shape[1]
    positive_ids = np.empty(pre.shape[1] + 1, dtype=np.int32)
    positive = np.empty(pre.shape[1] + 1, dtype=np.float32)
    for row in range(pre.shape[0]):
        n_positive = 0
        for j in range(pre.shape[1]):
            value = pre[row, j]
            positive[n_positive] = value
            positive_ids[n_positive] = j
            n_positive += value > 0
        smallest = np.float32(0)
        n_equal = 0
        if n_positive > n_wanted:
            smallest = np.partition(positive[:n_positive], n_positive - n_wanted)[n_positive - n_wanted]
            n_equal = n_wanted
            for j in range(n_positive):
                n_equal -= positive[j] > smallest
        at = 0
        for j in range(n_positive):
            value = positive[j]
            if value > smallest or (n_equal > 0 and value == smallest):
                n_equal -= value == smallest
                features[row, at] = positive_ids[j]
                values[row, at] = value
                at += 1
        n_kept[row] = at


@compiled
def _grouped(
    features: npt.NDArray[np.int32], values: Floats, n_kept: npt.NDArray[np.int64], n_features: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Floats]:
    """Row lists as feature lists, rows rising within a feature."""
    indptr = np.zeros(n_features + 1, dtype=np.int64)
    for row in range(features.shape[0]):
        for i in range(n_kept[row]):
            indptr[features[row, i] + 1] += 1
    for feature in range(n_features):
        indptr[feature + 1] += indptr[feature]
    next_free = indptr[:-1].copy()
    rows = np.empty(indptr[-1], dtype=np.int32)
    grouped = np.empty(indptr[-1], dtype=np.float32)
    for row in range(features.shape[0]):
        for i in range(n_kept[row]):
            at = next_free[features[row, i]]
            next_free[features[row, i]] = at + 1
            rows[at] = row
            grouped[at] = values[row, i]
    return indptr, rows, grouped
