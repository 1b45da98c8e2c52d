"""Gradients of encoder and decoder rows from sparse entries, and Adam on them, one feature at a time.

A feature's gradient lives in two buffers of one row while it is summed, applied and forgotten. Each feature is handled by
one thread, its entries in order, so results do not depend on how features are shared among threads.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.sae.products import FeatureLists, Floats, in_parallel, n_threads
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


@dataclass(frozen=True, slots=True)
class Entries:
    """Active entries and the gradient of the loss by them.

    rows: float32, shape (n, d_in); factor: the gradient of the loss by what an entry adds to row r is factor * rows[r].
    """

    lists: FeatureLists
    rows: torch.Tensor
    factor: float


@dataclass(frozen=True, slots=True)
class MeasuredGradients:
    """The result of the first pass over the entries.

    of_values: the gradient by each entry's value, one array per `Entries`. of_bias: float32, shape (d_sae,).
    squared_norm: of the gradients of encoder, decoder (what is left across its rows) and encoder bias together.
    """

    of_values: list[Floats]
    of_bias: Floats
    squared_norm: float


def measure_gradients(state: TrainingState, centred: torch.Tensor, parts: list[Entries]) -> MeasuredGradients:
    """Sum every gradient once, keeping the gradients by value and by bias and the norm."""
    d_sae = state.decoder.shape[0]
    of_values = [np.empty(part.lists.nnz, dtype=np.float32) for part in parts]
    of_bias = np.zeros(d_sae, dtype=np.float32)
    squares = np.zeros(d_sae, dtype=np.float64)
    shared = (*_arrays(parts, of_values), state.decoder.numpy(), centred.numpy(), of_bias, squares)
    in_parallel(measure_features, [(*shared, *features) for features in _balanced(parts)])
    return MeasuredGradients(of_values, of_bias, float(squares.sum()))


def apply_to_features(
    state: TrainingState,
    centred: torch.Tensor,
    parts: list[Entries],
    measured: MeasuredGradients,
    clip: float,
    settings: StepSettings,
) -> None:
    """Sum every gradient again, and take a step of Adam on encoder and decoder with clip times it."""
    encoder, decoder = weights_of(state, "encoder"), weights_of(state, "decoder")
    numbers = adam_numbers(state, settings)
    shared = (*_arrays(parts, measured.of_values), encoder, decoder, centred.numpy(), np.float32(clip), numbers)
    in_parallel(apply_entries, [(*shared, *features) for features in _balanced(parts)])


def _arrays(parts: list[Entries], of_values: list[Floats]) -> tuple[EntryArrays, EntryArrays]:
    """Two sets of entries; where there is one, the second has none for any feature."""
    arrays = [
        EntryArrays(*_entry_arrays(part.lists), gradient, part.rows.numpy(), np.float32(part.factor))
        for part, gradient in zip(parts, of_values, strict=True)
    ]
    one = arrays[0]
    none = EntryArrays(
        np.zeros_like(one.indptr), one.rows[:0], one.values[:0], one.of_values[:0], one.residual, np.float32(0)
    )
    return one, arrays[1] if len(arrays) > 1 else none


def _entry_arrays(lists: FeatureLists) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Floats]:
    return lists.indptr, lists.rows, lists.values


def _balanced(parts: list[Entries]) -> list[tuple[int, int]]:
    """Ranges of features with about the same work: a fixed cost each, and their entries."""
    work = sum(part.lists.indptr for part in parts) + 2 * np.arange(parts[0].lists.indptr.size)
    n_parts = min(work.size - 1, _PARTS_PER_THREAD * n_threads())
    cuts = np.searchsorted(work, np.arange(1, n_parts) * (work[-1] / n_parts))
    bounds = np.unique(np.concatenate([[0], cuts, [work.size - 1]])).tolist()
    return list(zip(bounds[:-1], bounds[1:], strict=True))
