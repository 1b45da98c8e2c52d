"""The training step of `step.batch_topk_loss` on a CPU, from the active entries alone: one matrix product, no dense gradient.

Per step: the product of rows and encoder, cut by feature (`products`); the k * n largest entries, grouped by feature
(`selection`); the decode; then, feature by feature, the gradients of encoder row, decoder row and bias from the feature's own
entries (`gradients`). The clip needs the norm of the whole gradient, so gradients are summed twice, once for the norm and
once to be applied: entries are few and their rows are in the cache, while a dense gradient would be written to memory and
read again.
"""

import numpy as np
import torch

from splat_assets.sae.products import subtract_decoded, sum_of_squares, weighted_sum
from splat_assets.sae.training.adam import apply_to_vector
from splat_assets.sae.training.dead_features import DeadFeatures, model_residual
from splat_assets.sae.training.gradients import Entries, apply_to_features, measure_gradients
from splat_assets.sae.training.selection import select_largest
from splat_assets.sae.training.state import TrainingState
from splat_assets.sae.training.step import TINY, StepOutcome, StepSettings


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
        active = Entries(selected.lists, residual, -2 / residual.numel())
        dead = state.silent_for >= settings.dead_after
        modelled = _model_residual(state, centred, residual, dead, settings)
        norm = self._update(state, centred, active, modelled, settings)
        state.silent_for += n_rows
        state.silent_for[torch.from_numpy(np.diff(selected.lists.indptr) > 0)] = 0
        state.step += 1
        return StepOutcome(
            loss=squared_error / residual.numel() + settings.aux_coeff * modelled.loss,
            squared_error=squared_error,
            n_active=selected.lists.nnz,
            n_dead=int(dead.sum()),
            aux_loss=modelled.loss,
            gradient_norm=norm,
        )

    def _update(
        self,
        state: TrainingState,
        centred: torch.Tensor,
        active: Entries,
        modelled: DeadFeatures,
        settings: StepSettings,
    ) -> float:
        parts = [active] if modelled.entries is None else [active, modelled.entries]
        measured = measure_gradients(state, centred, parts)
        through_encoder = weighted_sum(measured.of_bias, state.encoder.numpy())
        of_b_dec = np.float32(active.factor) * active.rows.numpy().sum(axis=0) - through_encoder
        norm = float(np.sqrt(measured.squared_norm + np.square(of_b_dec, dtype=np.float64).sum()))
        clip = 1.0 if settings.clip_norm is None else min(1.0, settings.clip_norm / max(norm, TINY))
        apply_to_features(state, centred, parts, measured, clip, settings)
        apply_to_vector(state, "b_enc", measured.of_bias * np.float32(clip), settings)
        apply_to_vector(state, "b_dec", of_b_dec * np.float32(clip), settings)
        return norm


def _model_residual(
    state: TrainingState, centred: torch.Tensor, residual: torch.Tensor, dead: torch.Tensor, settings: StepSettings
) -> DeadFeatures:
    if not settings.aux_k or not settings.aux_coeff or not bool(dead.any()):
        return DeadFeatures(None, 0.0)
    return model_residual(state, centred, residual, dead, settings)
