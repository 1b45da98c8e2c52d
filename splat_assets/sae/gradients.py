"""Gradients of encoder and decoder rows from sparse entries, and Adam on them, one feature at a time.

A feature's gradient lives in two buffers of one row while it is summed, applied and forgotten. Each feature is handled by
one thread, its entries in order, so results do not depend on how features are shared among threads.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.sae.kernels import compiled_with_sums, in_parallel, n_threads
from splat_assets.sae.products import FeatureLists, Floats
from splat_assets.sae.state import TrainingState
from splat_assets.sae.step import ADAM_EPSILON, StepSettings

Ints = npt.NDArray[np.int64]
AdamNumbers = tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]
_PARTS_PER_THREAD = 8


@dataclass(frozen=True, slots=True)
class Entries:
    """Active entries and what the loss wants of them.

    rows: float32, shape (n, d_in); factor: the gradient of the loss by what entry i of row r adds is factor * rows[r].
    """

    lists: FeatureLists
    rows: torch.Tensor
    factor: float


@dataclass(frozen=True, slots=True)
class MeasuredGradients:
    """What the first pass over the entries gives.

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
    first, second = _arguments(parts, of_values)
    shared = (state.decoder.numpy(), centred.numpy(), *first, *second, of_bias, squares)
    in_parallel(_measure, [(*shared, start, stop) for start, stop in _balanced(parts)])
    return MeasuredGradients(of_values, of_bias, float(squares.sum()))


def apply_to_features(
    state: TrainingState,
    centred: torch.Tensor,
    parts: list[Entries],
    measured: MeasuredGradients,
    clip: float,
    settings: StepSettings,
) -> None:
    """Adam on encoder and decoder with clip times the gradient; decoder rows end at unit norm. Call before the biases."""
    held = [
        tensor.numpy()
        for name in ("encoder", "decoder")
        for tensor in (state.parameter(name), state.mean_of[name], state.square_of[name])
    ]
    first, second = _arguments(parts, measured.of_values)
    shared = (*held, centred.numpy(), *first, *second, np.float32(clip), *_adam_numbers(state.step + 1, settings))
    in_parallel(_apply, [(*shared, start, stop) for start, stop in _balanced(parts)])


def apply_to_bias(state: TrainingState, name: str, gradient: Floats, settings: StepSettings) -> None:
    """Adam on a vector of the state."""
    value, mean, square = state.parameter(name).numpy(), state.mean_of[name].numpy(), state.square_of[name].numpy()
    _adam_row(value, mean, square, gradient, *_adam_numbers(state.step + 1, settings))


def _adam_numbers(t: int, settings: StepSettings) -> AdamNumbers:
    """The numbers of Adam's step t = 1, 2, ..., as `_adam_row` takes them; what is left of 1 is taken in double."""
    rate = settings.learning_rate / (1 - settings.beta1**t)
    correction = 1 / math.sqrt(1 - settings.beta2**t)
    keep_mean, add_mean = np.float32(settings.beta1), np.float32(1 - settings.beta1)
    keep_square, add_square = np.float32(settings.beta2), np.float32(1 - settings.beta2)
    return (
        keep_mean,
        add_mean,
        keep_square,
        add_square,
        np.float32(rate),
        np.float32(correction),
        np.float32(ADAM_EPSILON),
    )


def _arguments(parts: list[Entries], of_values: list[Floats]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Two sets of kernel arguments; where there is one set of entries, the second has none for any feature."""
    found = [
        (
            part.lists.indptr,
            part.lists.rows,
            part.lists.values,
            gradient,
            part.rows.numpy(),
            np.float32(part.factor),
        )
        for part, gradient in zip(parts, of_values, strict=True)
    ]
    if len(found) == 1:
        indptr, rows, values, gradient, residual, _ = found[0]
        found.append((np.zeros_like(indptr), rows[:0], values[:0], gradient[:0], residual, np.float32(0)))
    return found[0], found[1]


def _balanced(parts: list[Entries]) -> list[tuple[int, int]]:
    """Ranges of features with about the same work: a fixed cost each, and their entries."""
    work = sum(part.lists.indptr for part in parts) + 2 * np.arange(parts[0].lists.indptr.size)
    n_parts = min(work.size - 1, _PARTS_PER_THREAD * n_threads())
    cuts = np.searchsorted(work, np.arange(1, n_parts) * (work[-1] / n_parts))
    bounds = np.unique(np.concatenate([[0], cuts, [work.size - 1]])).tolist()
    return list(zip(bounds[:-1], bounds[1:], strict=True))


@compiled_with_sums
def _add_entries(
    of_decoder: Floats,
    decoder_row: Floats,
    rows: npt.NDArray[np.int32],
    values: Floats,
    of_values: Floats,
    residual: Floats,
    factor: np.float32,
    first: int,
    last: int,
) -> None:
    """Add the entries' part of a decoder row's gradient, and set the gradients by value."""
    for i in range(first, last):
        wanted = residual[rows[i]]
        value = values[i] * factor
        inner = np.float32(0)
        for j in range(of_decoder.size):
            of_decoder[j] += value * wanted[j]
            inner += wanted[j] * decoder_row[j]
        of_values[i] = inner * factor


@compiled_with_sums
def _add_scaled_rows(
    target: Floats,
    rows: npt.NDArray[np.int32],
    weights: Floats,
    source: Floats,
    factor: np.float32,
    first: int,
    last: int,
) -> None:
    for i in range(first, last):
        row = source[rows[i]]
        weight = weights[i] * factor
        for j in range(target.size):
            target[j] += weight * row[j]


@compiled_with_sums
def _measure(
    decoder: Floats,
    centred: Floats,
    indptr: Ints,
    rows: npt.NDArray[np.int32],
    values: Floats,
    of_values: Floats,
    residual: Floats,
    factor: np.float32,
    aux_indptr: Ints,
    aux_rows: npt.NDArray[np.int32],
    aux_values: Floats,
    of_aux_values: Floats,
    aux_residual: Floats,
    aux_factor: np.float32,
    of_bias: Floats,
    squares: npt.NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    width = decoder.shape[1]
    of_decoder = np.empty(width, dtype=np.float32)
    of_encoder = np.empty(width, dtype=np.float32)
    one = np.float32(1)
    for feature in range(start, stop):
        first, last = indptr[feature], indptr[feature + 1]
        aux_first, aux_last = aux_indptr[feature], aux_indptr[feature + 1]
        if first == last and aux_first == aux_last:
            continue
        decoder_row = decoder[feature]
        of_decoder[:] = 0
        of_encoder[:] = 0
        _add_entries(of_decoder, decoder_row, rows, values, of_values, residual, factor, first, last)
        _add_entries(
            of_decoder, decoder_row, aux_rows, aux_values, of_aux_values, aux_residual, aux_factor, aux_first, aux_last
        )
        _add_scaled_rows(of_encoder, rows, of_values, centred, one, first, last)
        _add_scaled_rows(of_encoder, aux_rows, of_aux_values, centred, one, aux_first, aux_last)
        bias = np.float32(0)
        for i in range(first, last):
            bias += of_values[i]
        for i in range(aux_first, aux_last):
            bias += of_aux_values[i]
        of_bias[feature] = bias
        along = np.float32(0)
        for j in range(width):
            along += of_decoder[j] * decoder_row[j]
        square = np.float32(0)
        for j in range(width):
            across = of_decoder[j] - along * decoder_row[j]
            square += across * across + of_encoder[j] * of_encoder[j]
        squares[feature] = np.float64(square) + np.float64(bias) * np.float64(bias)


@compiled_with_sums
def _adam_row(
    row: Floats,
    mean: Floats,
    square: Floats,
    gradient: Floats,
    keep_mean: np.float32,
    add_mean: np.float32,
    keep_square: np.float32,
    add_square: np.float32,
    rate: np.float32,
    correction: np.float32,
    epsilon: np.float32,
) -> None:
    for j in range(row.size):
        mean_j = keep_mean * mean[j] + add_mean * gradient[j]
        square_j = keep_square * square[j] + add_square * gradient[j] * gradient[j]
        mean[j] = mean_j
        square[j] = square_j
        row[j] -= rate * mean_j / (math.sqrt(square_j) * correction + epsilon)


@compiled_with_sums
def _apply(
    encoder: Floats,
    encoder_mean: Floats,
    encoder_square: Floats,
    decoder: Floats,
    decoder_mean: Floats,
    decoder_square: Floats,
    centred: Floats,
    indptr: Ints,
    rows: npt.NDArray[np.int32],
    values: Floats,
    of_values: Floats,
    residual: Floats,
    factor: np.float32,
    aux_indptr: Ints,
    aux_rows: npt.NDArray[np.int32],
    aux_values: Floats,
    of_aux_values: Floats,
    aux_residual: Floats,
    aux_factor: np.float32,
    clip: np.float32,
    keep_mean: np.float32,
    add_mean: np.float32,
    keep_square: np.float32,
    add_square: np.float32,
    rate: np.float32,
    correction: np.float32,
    epsilon: np.float32,
    start: int,
    stop: int,
) -> None:
    width = decoder.shape[1]
    of_decoder = np.empty(width, dtype=np.float32)
    of_encoder = np.empty(width, dtype=np.float32)
    for feature in range(start, stop):
        first, last = indptr[feature], indptr[feature + 1]
        aux_first, aux_last = aux_indptr[feature], aux_indptr[feature + 1]
        of_decoder[:] = 0
        of_encoder[:] = 0
        row = decoder[feature]
        _add_scaled_rows(of_decoder, rows, values, residual, factor * clip, first, last)
        _add_scaled_rows(of_decoder, aux_rows, aux_values, aux_residual, aux_factor * clip, aux_first, aux_last)
        _add_scaled_rows(of_encoder, rows, of_values, centred, clip, first, last)
        _add_scaled_rows(of_encoder, aux_rows, of_aux_values, centred, clip, aux_first, aux_last)
        along = np.float32(0)
        for j in range(width):
            along += of_decoder[j] * row[j]
        for j in range(width):
            of_decoder[j] -= along * row[j]
        _adam_row(
            encoder[feature], encoder_mean[feature], encoder_square[feature],
            of_encoder, keep_mean, add_mean, keep_square, add_square, rate, correction, epsilon,
        )  # fmt: skip
        _adam_row(
            row, decoder_mean[feature], decoder_square[feature],
            of_decoder, keep_mean, add_mean, keep_square, add_square, rate, correction, epsilon,
        )  # fmt: skip
        square = np.float32(0)
        for j in range(width):
            square += row[j] * row[j]
        scale = np.float32(1) / math.sqrt(square)
        for j in range(width):
            row[j] *= scale
