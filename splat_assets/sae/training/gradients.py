"""Gradients of encoder and decoder rows from sparse entries, and Adam on them, one feature at a time.

A feature's gradient lives in two buffers of one row while it is summed, applied and forgotten. Each feature is handled by
one thread, its entries in order, so results do not depend on how features are shared among threads.
"""

import math

import numpy as np
import torch

from splat_assets.sae.products import FeatureLists, Floats, in_parallel
from splat_assets.sae.training.feature_loops import (
    AdamNumbers,
    EntryArrays,
    Weights,
    adam_row,
    apply_entries,
    measure_features,
)
from splat_assets.sae.training.state import TrainingState
from splat_assets.sae.training.step import ADAM_EPSILON, StepSettings


def adam_numbers(state: TrainingState, settings: StepSettings) -> AdamNumbers:
    """The numbers of the step that comes after state.step."""
    t = state.step + 1
    numbers = (
        settings.beta1,
        1 - settings.beta1,
        settings.beta2,
        1 - settings.beta2,
        settings.learning_rate / (1 - settings.beta1**t),
        1 / math.sqrt(1 - settings.beta2**t),
        ADAM_EPSILON,
    )
    return AdamNumbers(*(np.float32(number) for number in numbers))


def weights_of(state: TrainingState, name: str) -> Weights:
    """A parameter of the state by name."""
    return Weights(state.parameter(name).numpy(), state.mean_of[name].numpy(), state.square_of[name].numpy())


def apply_to_vector(state: TrainingState, name: str, gradient: Floats, settings: StepSettings) -> None:
    """Adam on b_enc or b_dec."""
    value, mean, square = weights_of(state, name)
    adam_row(value, mean, square, gradient, adam_numbers(state, settings))


_PARTS_PER_THREAD = 8


def entries_of(lists: FeatureLists, rows: torch.Tensor, factor: float) -> EntryArrays:
    """Active entries; the gradient of the loss by what an entry adds to row r is factor * rows[r]. rows: float32, (n, d_in)."""
    of_values = np.empty(lists.nnz, dtype=np.float32)
    return EntryArrays(lists.indptr, lists.rows, lists.values, of_values, rows.numpy(), np.float32(factor))


def measure_gradients(
    state: TrainingState, centred: torch.Tensor, active: EntryArrays, dead: EntryArrays
) -> tuple[Floats, float]:
    """Sum every gradient once, and set those by value in the entries.

    Returns the gradient by bias, float32, shape (d_sae,), and the squared norm of the gradients of encoder, decoder (what is
    left across its rows) and encoder bias together.
    """
    d_sae = state.decoder.shape[0]
    of_bias = np.zeros(d_sae, dtype=np.float32)
    squares = np.zeros(d_sae, dtype=np.float64)
    shared = (active, dead, state.decoder.numpy(), centred.numpy(), of_bias, squares)
    in_parallel(measure_features, [(*shared, *features) for features in _balanced(active, dead)])
    return of_bias, float(squares.sum())


def apply_to_features(
    state: TrainingState,
    centred: torch.Tensor,
    active: EntryArrays,
    dead: EntryArrays,
    clip: float,
    settings: StepSettings,
) -> None:
    """Sum every gradient again, and take a step of Adam on encoder and decoder with clip times it."""
    weights = weights_of(state, "encoder"), weights_of(state, "decoder")
    shared = (active, dead, *weights, centred.numpy(), np.float32(clip), adam_numbers(state, settings))
    in_parallel(apply_entries, [(*shared, *features) for features in _balanced(active, dead)])


def _balanced(active: EntryArrays, dead: EntryArrays) -> list[tuple[int, int]]:
    """Ranges of features with about the same work: a fixed cost each, and their entries."""
    work = active.indptr + dead.indptr + 2 * np.arange(active.indptr.size)
    n_parts = min(work.size - 1, _PARTS_PER_THREAD * torch.get_num_threads())
    cuts = np.searchsorted(work, np.arange(1, n_parts) * (work[-1] / n_parts))
    bounds = np.unique(np.concatenate([[0], cuts, [work.size - 1]])).tolist()
    return list(zip(bounds[:-1], bounds[1:], strict=True))
