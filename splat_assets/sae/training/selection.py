"""The n largest positive pre-activations of a block: the batch-wide top-k, exact, without the whole block in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.compiled import compiled
from splat_assets.sae.products import FeatureLists, Floats, collect_above
from splat_assets.sae.recipe import SaeRecipe

_SAMPLED_ROWS = 64
_HINT_MARGIN = np.float32(0.9)
_ROOM_FACTORS = (2.0, 8.0)


@dataclass(frozen=True, slots=True)
class Selection:
    """What was selected, and the smallest value among it (0 where fewer than n were positive)."""

    lists: FeatureLists
    smallest: float


def select_largest(
    x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, n: int, hint: float | None = None
) -> Selection:
    """The n largest values > 0 of x @ encoder.T + bias over all rows and features; all of them where there are fewer.

    Equal values at the cut-off are taken by lower feature, then by lower row, so the result does not depend on hint.
    hint is a guess of the smallest selected value (that of the step before); a good one saves time.
    """
    for lower in _lower_bounds(x, encoder, bias, n, hint):
        lists = collect_above(x, encoder, bias, np.full(encoder.shape[0], lower, dtype=np.float32))
        if lists.nnz >= n or lower == 0:
            return _largest(lists, n)
    raise AssertionError("the last lower bound is 0")


def active_entries(recipe: SaeRecipe, x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor) -> FeatureLists:
    """The activations of rows while a recipe trains: k per row on average for batch_topk, all positive ones for relu_l1."""
    if recipe.architecture == "batch_topk":
        return select_largest(x, encoder, bias, recipe.k * x.shape[0]).lists
    return collect_above(x, encoder, bias, np.zeros(encoder.shape[0], dtype=np.float32))


def _lower_bounds(
    x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, n: int, hint: float | None
) -> Iterator[np.float32]:
    """Falling guesses of a bound that at least n values exceed; the last is 0."""
    if hint is not None and hint > 0:
        yield np.float32(hint) * _HINT_MARGIN
    n_rows = x.shape[0]
    sampled = x[:: max(1, n_rows // _SAMPLED_ROWS)]
    values = collect_above(sampled, encoder, bias, np.zeros(encoder.shape[0], dtype=np.float32)).values
    for factor in _ROOM_FACTORS:
        rank = int(factor * n * sampled.shape[0] / n_rows)
        if rank < values.size:
            yield np.partition(values, values.size - rank - 1)[values.size - rank - 1]
    yield np.float32(0)


def _largest(lists: FeatureLists, n: int) -> Selection:
    if lists.nnz <= n:
        return Selection(lists, float(lists.values.min()) if lists.nnz else 0.0)
    smallest = np.partition(lists.values, lists.nnz - n)[lists.nnz - n]
    n_equal = n - int(np.count_nonzero(lists.values > smallest))
    return Selection(
        FeatureLists(*_keep(lists.indptr, lists.rows, lists.values, smallest, n_equal, n)), float(smallest)
    )


@compiled
def _keep(
    indptr: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    values: Floats,
    smallest: np.float32,
    n_equal: int,
    n: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Floats]:
    kept_indptr = np.zeros(indptr.size, dtype=np.int64)
    kept_rows = np.empty(n, dtype=np.int32)
    kept_values = np.empty(n, dtype=np.float32)
    at = 0
    for feature in range(indptr.size - 1):
        for i in range(indptr[feature], indptr[feature + 1]):
            equal = values[i] == smallest
            if values[i] > smallest or (equal and n_equal > 0):
                n_equal -= equal
                kept_rows[at] = rows[i]
                kept_values[at] = values[i]
                at += 1
        kept_indptr[feature + 1] = at
    return kept_indptr, kept_rows, kept_values
