"""The training step of `step.batch_topk_loss` on a CPU, from the active entries alone: one matrix product, no dense gradient.

Per step: the product of rows and encoder, cut by feature (`products`); the k * n largest entries, grouped by feature
(`selection`); the decode; then, feature by feature, the gradients of encoder row, decoder row and bias from the feature's own
entries (`gradients`). The clip needs the norm of the whole gradient, so gradients are summed twice, once for the norm and
once to be applied: entries are few and their rows are in the cache, while a dense gradient would be written to memory and
read again.
"""

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.compiled import compiled
from splat_assets.sae.products import (
    FeatureLists,
    Floats,
    blocks,
    collect_above,
    in_parallel,
    subtract_decoded,
    sum_of_squares,
    weighted_sum,
)
from splat_assets.sae.training.feature_loops import EntryArrays
from splat_assets.sae.training.gradients import apply_to_features, apply_to_vector, entries_of, measure_gradients
from splat_assets.sae.training.selection import select_largest
from splat_assets.sae.training.state import TrainingState
from splat_assets.sae.training.step import TINY, StepOutcome, StepSettings, residual_variance

_BLOCK_ROWS = 64


def _model_residual(
    state: TrainingState, centred: torch.Tensor, residual: torch.Tensor, dead: torch.Tensor, settings: StepSettings
) -> tuple[EntryArrays, float]:
    """AuxK (`step.batch_topk_loss`): the aux_k largest positive pre-activations of dead features in each row, and their error.

    centred, residual: (n, d_in). dead: bool, shape (d_sae,). Nothing is modelled without dead features, or with AuxK off.
    """
    wanted = settings.aux_k and settings.aux_coeff and bool(dead.any())
    variance = residual_variance(residual) if wanted else 0.0
    if variance == 0:
        none = np.zeros(dead.shape[0] + 1, dtype=np.int64), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
        return entries_of(FeatureLists(*none), residual, 0.0), 0.0
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
    return entries_of(lists, left, -2 * settings.aux_coeff / variance), loss


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


class FusedStep:
    """A `Step` for batch_topk on the CPU. Keeps a guess of the next threshold, which changes speed and nothing else."""

    def __init__(self) -> None:
        self._hint: float | None = None

    @torch.no_grad()
    def __call__(self, state: TrainingState, x: torch.Tensor, settings: StepSettings) -> StepOutcome:
        """See `Step`."""
        n_rows = x.shape[0]
        centred = torch.from_numpy(x.numpy() - state.b_dec.numpy())
        selected = select_largest(centred, state.encoder, state.b_enc, settings.k * n_rows, self._hint)
        self._hint = selected.smallest
        residual = torch.from_numpy(centred.numpy().copy())
        subtract_decoded(residual, selected.lists, state.decoder)
        squared_error = sum_of_squares(residual.numpy())
        active = entries_of(selected.lists, residual, -2 / residual.numel())
        dead = state.silent_for >= settings.dead_after
        modelled, aux_loss = _model_residual(state, centred, residual, dead, settings)
        norm = _update(state, centred, active, modelled, settings)
        state.silent_for += n_rows
        state.silent_for[torch.from_numpy(np.diff(selected.lists.indptr) > 0)] = 0
        state.step += 1
        return StepOutcome(
            loss=squared_error / residual.numel() + settings.aux_coeff * aux_loss,
            squared_error=squared_error,
            n_active=selected.lists.nnz,
            n_dead=int(dead.sum()),
            aux_loss=aux_loss,
            gradient_norm=norm,
        )


def _update(
    state: TrainingState, centred: torch.Tensor, active: EntryArrays, dead: EntryArrays, settings: StepSettings
) -> float:
    of_bias, squared_norm = measure_gradients(state, centred, active, dead)
    of_b_dec = active.factor * active.residual.sum(axis=0) - weighted_sum(of_bias, state.encoder.numpy())
    norm = float(np.sqrt(squared_norm + np.square(of_b_dec, dtype=np.float64).sum()))
    clip = 1.0 if settings.clip_norm is None else min(1.0, settings.clip_norm / max(norm, TINY))
    apply_to_features(state, centred, active, dead, clip, settings)
    apply_to_vector(state, "b_enc", of_bias * np.float32(clip), settings)
    apply_to_vector(state, "b_dec", of_b_dec * np.float32(clip), settings)
    return norm
