"""The compiled loops of a training step over the weights of one feature: gradients, Adam, unit-norm decoder rows.

All in this one file: kept machine code is made anew when its own file changes, not when a function it calls changes
elsewhere. The plain version is `step.apply_gradients`; a test compares the two.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from splat_assets.compiled import compiled_with_sums
from splat_assets.sae.products import Floats


class AdamNumbers(NamedTuple):
    """The numbers of one step of Adam, all float32; what is left of 1 was taken in double."""

    keep_mean: np.float32
    add_mean: np.float32
    keep_square: np.float32
    add_square: np.float32
    rate: np.float32
    correction: np.float32
    epsilon: np.float32


class Weights(NamedTuple):
    """A parameter and its moments, as arrays that share the state's memory."""

    value: Floats
    mean: Floats
    square: Floats


class EntryArrays(NamedTuple):
    """Active entries by feature (`gradients.entries_of`), and the gradient of the loss by each entry's value."""

    indptr: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    values: Floats
    of_values: Floats
    residual: Floats
    factor: np.float32


@compiled_with_sums
def adam_row(row: Floats, mean: Floats, square: Floats, gradient: Floats, numbers: AdamNumbers) -> None:
    """One step of Adam on a row, in place."""
    for j in range(row.size):
        mean_j = numbers.keep_mean * mean[j] + numbers.add_mean * gradient[j]
        square_j = numbers.keep_square * square[j] + numbers.add_square * gradient[j] * gradient[j]
        mean[j] = mean_j
        square[j] = square_j
        row[j] -= numbers.rate * mean_j / (math.sqrt(square_j) * numbers.correction + numbers.epsilon)


@compiled_with_sums
def remove_parallel_component(gradient: Floats, row: Floats) -> None:
    """Take away the part of a gradient that lies along the row, in place."""
    along = np.float32(0)
    for j in range(row.size):
        along += gradient[j] * row[j]
    for j in range(row.size):
        gradient[j] -= along * row[j]


@compiled_with_sums
def square_sum(row: Floats) -> np.float32:
    """The sum of squares of a row."""
    total = np.float32(0)
    for j in range(row.size):
        total += row[j] * row[j]
    return total


@compiled_with_sums
def update_feature(
    encoder: Weights, decoder: Weights, feature: int, of_encoder: Floats, of_decoder: Floats, numbers: AdamNumbers
) -> None:
    """Adam on the encoder and decoder row of a feature; the decoder row ends at unit norm.

    of_encoder, of_decoder: their gradients, clipped; of_decoder across the row only.
    """
    adam_row(encoder.value[feature], encoder.mean[feature], encoder.square[feature], of_encoder, numbers)
    row = decoder.value[feature]
    adam_row(row, decoder.mean[feature], decoder.square[feature], of_decoder, numbers)
    scale = np.float32(1) / math.sqrt(square_sum(row))
    for j in range(row.size):
        row[j] *= scale


@compiled_with_sums
def _add_entries(entries: EntryArrays, feature: int, decoder_row: Floats, of_decoder: Floats) -> np.float32:
    """Add the entries of a feature to its decoder row's gradient, set the gradients by value, and return their sum."""
    total = np.float32(0)
    for i in range(entries.indptr[feature], entries.indptr[feature + 1]):
        row_residual = entries.residual[entries.rows[i]]
        value = entries.values[i] * entries.factor
        inner = np.float32(0)
        for j in range(of_decoder.size):
            of_decoder[j] += value * row_residual[j]
            inner += row_residual[j] * decoder_row[j]
        entries.of_values[i] = inner * entries.factor
        total += inner * entries.factor
    return total


@compiled_with_sums
def _add_rows(
    entries: EntryArrays, feature: int, weights: Floats, source: Floats, factor: np.float32, target: Floats
) -> None:
    """target += factor * weight * row of source, over the entries of a feature."""
    for i in range(entries.indptr[feature], entries.indptr[feature + 1]):
        row = source[entries.rows[i]]
        weight = weights[i] * factor
        for j in range(target.size):
            target[j] += weight * row[j]


@compiled_with_sums
def measure_features(
    active: EntryArrays,
    dead: EntryArrays,
    decoder: Floats,
    centred: Floats,
    of_bias: Floats,
    squares: npt.NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Gradients by value and by bias, and each feature's sum of squares, of the features start..stop - 1."""
    one = np.float32(1)
    of_decoder = np.empty(decoder.shape[1], dtype=np.float32)
    of_encoder = np.empty(decoder.shape[1], dtype=np.float32)
    for feature in range(start, stop):
        n_entries = (
            active.indptr[feature + 1] - active.indptr[feature] + dead.indptr[feature + 1] - dead.indptr[feature]
        )
        if n_entries == 0:
            continue
        row = decoder[feature]
        of_decoder[:] = 0
        of_encoder[:] = 0
        bias = _add_entries(active, feature, row, of_decoder) + _add_entries(dead, feature, row, of_decoder)
        _add_rows(active, feature, active.of_values, centred, one, of_encoder)
        _add_rows(dead, feature, dead.of_values, centred, one, of_encoder)
        remove_parallel_component(of_decoder, row)
        of_bias[feature] = bias
        squares[feature] = np.float64(square_sum(of_decoder)) + square_sum(of_encoder) + bias * bias


@compiled_with_sums
def apply_entries(
    active: EntryArrays,
    dead: EntryArrays,
    encoder: Weights,
    decoder: Weights,
    centred: Floats,
    clip: np.float32,
    numbers: AdamNumbers,
    start: int,
    stop: int,
) -> None:
    """A step of Adam with clip times the gradients of the features start..stop - 1, summed from their entries."""
    of_decoder = np.empty(centred.shape[1], dtype=np.float32)
    of_encoder = np.empty(centred.shape[1], dtype=np.float32)
    for feature in range(start, stop):
        of_decoder[:] = 0
        of_encoder[:] = 0
        _add_rows(active, feature, active.values, active.residual, active.factor * clip, of_decoder)
        _add_rows(dead, feature, dead.values, dead.residual, dead.factor * clip, of_decoder)
        _add_rows(active, feature, active.of_values, centred, clip, of_encoder)
        _add_rows(dead, feature, dead.of_values, centred, clip, of_encoder)
        remove_parallel_component(of_decoder, decoder.value[feature])
        update_feature(encoder, decoder, feature, of_encoder, of_decoder, numbers)


@compiled_with_sums
def square_features(
    of_encoder: Floats, of_decoder: Floats, decoder: Floats, of_bias: Floats, squares: npt.NDArray[np.float64]
) -> None:
    """Keep of the decoder's gradient what lies across its rows, and sum each feature's squares."""
    for feature in range(decoder.shape[0]):
        remove_parallel_component(of_decoder[feature], decoder[feature])
        bias = of_bias[feature]
        squares[feature] = np.float64(square_sum(of_encoder[feature])) + square_sum(of_decoder[feature]) + bias * bias


@compiled_with_sums
def apply_dense(
    encoder: Weights,
    decoder: Weights,
    of_encoder: Floats,
    of_decoder: Floats,
    clip: np.float32,
    numbers: AdamNumbers,
    start: int,
    stop: int,
) -> None:
    """A step of Adam with clip times the gradients of the features start..stop - 1."""
    for feature in range(start, stop):
        for j in range(of_encoder.shape[1]):
            of_encoder[feature, j] *= clip
            of_decoder[feature, j] *= clip
        update_feature(encoder, decoder, feature, of_encoder[feature], of_decoder[feature], numbers)
