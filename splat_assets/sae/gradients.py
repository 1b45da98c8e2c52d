"""Gradients of encoder and decoder rows from sparse entries, and Adam on them, one feature at a time.

A feature's gradient lives in two buffers of one row while it is summed, applied and forgotten. Each feature is handled by
one thread, its entries in order, so results do not depend on how features are shared among threads.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.sae.adam import (
    AdamNumbers,
    Weights,
    adam_numbers,
    keep_across,
    square_sum,
    update_feature,
    weights_of,
)
from splat_assets.sae.kernels import compiled_with_sums, in_parallel, n_threads
from splat_assets.sae.products import FeatureLists, Floats
from splat_assets.sae.state import TrainingState
from splat_assets.sae.step import StepSettings

_PARTS_PER_THREAD = 8


@dataclass(frozen=True, slots=True)
class Entries:
    """Active entries and what the loss wants of them.

    rows: float32, shape (n, d_in); factor: the gradient of the loss by what an entry adds to row r is factor * rows[r].
    """

    lists: FeatureLists
    rows: torch.Tensor
    factor: float


class _Arrays(NamedTuple):
    """`Entries` for compiled loops, and the gradient of the loss by each entry's value."""

    indptr: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    values: Floats
    of_values: Floats
    wanted: Floats
    factor: np.float32


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
    shared = (*_arrays(parts, of_values), state.decoder.numpy(), centred.numpy(), of_bias, squares)
    in_parallel(_measure, [(*shared, *features) for features in _balanced(parts)])
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
    in_parallel(_apply, [(*shared, *features) for features in _balanced(parts)])


def _arrays(parts: list[Entries], of_values: list[Floats]) -> tuple[_Arrays, _Arrays]:
    """Two sets of entries; where there is one, the second has none for any feature."""
    found = [
        _Arrays(*_listed(part.lists), gradient, part.rows.numpy(), np.float32(part.factor))
        for part, gradient in zip(parts, of_values, strict=True)
    ]
    one = found[0]
    none = _Arrays(
        np.zeros_like(one.indptr), one.rows[:0], one.values[:0], one.of_values[:0], one.wanted, np.float32(0)
    )
    return one, found[1] if len(found) > 1 else none


def _listed(lists: FeatureLists) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Floats]:
    return lists.indptr, lists.rows, lists.values


def _balanced(parts: list[Entries]) -> list[tuple[int, int]]:
    """Ranges of features with about the same work: a fixed cost each, and their entries."""
    work = sum(part.lists.indptr for part in parts) + 2 * np.arange(parts[0].lists.indptr.size)
    n_parts = min(work.size - 1, _PARTS_PER_THREAD * n_threads())
    cuts = np.searchsorted(work, np.arange(1, n_parts) * (work[-1] / n_parts))
    bounds = np.unique(np.concatenate([[0], cuts, [work.size - 1]])).tolist()
    return list(zip(bounds[:-1], bounds[1:], strict=True))


@compiled_with_sums
def _add_entries(entries: _Arrays, feature: int, decoder_row: Floats, of_decoder: Floats) -> np.float32:
    """Add the entries of a feature to its decoder row's gradient, set the gradients by value, and return their sum."""
    total = np.float32(0)
    for i in range(entries.indptr[feature], entries.indptr[feature + 1]):
        wanted = entries.wanted[entries.rows[i]]
        value = entries.values[i] * entries.factor
        inner = np.float32(0)
        for j in range(of_decoder.size):
            of_decoder[j] += value * wanted[j]
            inner += wanted[j] * decoder_row[j]
        entries.of_values[i] = inner * entries.factor
        total += inner * entries.factor
    return total


@compiled_with_sums
def _add_rows(
    entries: _Arrays, feature: int, weights: Floats, source: Floats, factor: np.float32, target: Floats
) -> None:
    """target += factor * weight * row of source, over the entries of a feature."""
    for i in range(entries.indptr[feature], entries.indptr[feature + 1]):
        row = source[entries.rows[i]]
        weight = weights[i] * factor
        for j in range(target.size):
            target[j] += weight * row[j]


@compiled_with_sums
def _measure(
    active: _Arrays,
    dead: _Arrays,
    decoder: Floats,
    centred: Floats,
    of_bias: Floats,
    squares: npt.NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
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
        keep_across(of_decoder, row)
        of_bias[feature] = bias
        squares[feature] = np.float64(square_sum(of_decoder)) + square_sum(of_encoder) + bias * bias


@compiled_with_sums
def _apply(
    active: _Arrays,
    dead: _Arrays,
    encoder: Weights,
    decoder: Weights,
    centred: Floats,
    clip: np.float32,
    numbers: AdamNumbers,
    start: int,
    stop: int,
) -> None:
    of_decoder = np.empty(centred.shape[1], dtype=np.float32)
    of_encoder = np.empty(centred.shape[1], dtype=np.float32)
    for feature in range(start, stop):
        of_decoder[:] = 0
        of_encoder[:] = 0
        _add_rows(active, feature, active.values, active.wanted, active.factor * clip, of_decoder)
        _add_rows(dead, feature, dead.values, dead.wanted, dead.factor * clip, of_decoder)
        _add_rows(active, feature, active.of_values, centred, clip, of_encoder)
        _add_rows(dead, feature, dead.of_values, centred, clip, of_encoder)
        keep_across(of_decoder, decoder.value[feature])
        update_feature(encoder, decoder, feature, of_encoder, of_decoder, numbers)
