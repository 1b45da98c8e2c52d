"""The one large matrix product of an SAE, cut by feature, and the sparse collection of what exceeds a threshold.

The pre-activations of a block of rows are never held at once: a band of features is multiplied, scanned while it is still
in the cache, and overwritten by the next band. What is kept is a list of (feature, row, value), feature by feature.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.sae.kernels import compiled, compiled_with_sums, in_parallel, n_threads, ranges

_BAND_FEATURES = 512
_BAND_DIMENSIONS = 64
_SCAN_BLOCK = 64
_SEVERAL = 4
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureLists:
    """Values above a threshold, grouped by feature, rows rising within a feature.

    indptr: int64, shape (n_features + 1,). rows: int32, shape (nnz,). values: float32, shape (nnz,).
    """

    indptr: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    values: Floats

    @property
    def nnz(self) -> int:
        """The number of values."""
        return int(self.values.size)


@compiled
def _collect(
    products: Floats,
    bias: Floats,
    lower: Floats,
    start: int,
    stop: int,
    counts: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    values: Floats,
) -> int:
    """Features start..stop - 1 of products (features, rows): where products + bias > lower. Returns how many there are.

    Past the end of rows and values it only counts, so that the caller can come back with more room. Blocks of a fixed length
    without anything above are passed over with vector compares; a block with several is written without branches.
    """
    n_rows = products.shape[1]
    whole = n_rows // _SCAN_BLOCK * _SCAN_BLOCK
    room = rows.size
    found = 0
    for feature in range(start, stop):
        before = found
        shift = bias[feature]
        least = lower[feature]
        row = products[feature]
        for first in range(0, whole, _SCAN_BLOCK):
            block = row[first : first + _SCAN_BLOCK]
            above: Any = np.int32(0)
            for i in range(_SCAN_BLOCK):
                above = np.int32(above + np.int32(block[i] + shift > least))
            if above == 0:
                continue
            if found + _SCAN_BLOCK > room:
                found += above
            elif above < _SEVERAL:
                for i in range(_SCAN_BLOCK):
                    value = block[i] + shift
                    if value > least:
                        rows[found] = first + i
                        values[found] = value
                        found += 1
            else:
                for i in range(_SCAN_BLOCK):
                    value = block[i] + shift
                    rows[found] = first + i
                    values[found] = value
                    found += value > least
        for i in range(whole, n_rows):
            value = row[i] + shift
            if value > least:
                if found < room:
                    rows[found] = i
                    values[found] = value
                found += 1
        counts[feature] = found - before
    return found


class _Part:
    """The growing buffers of one thread."""

    def __init__(self) -> None:
        self._make_room(1 << 14)

    def _make_room(self, room: int) -> None:
        self._rows: npt.NDArray[np.int32] = np.empty(room, dtype=np.int32)
        self._values: Floats = np.empty(room, dtype=np.float32)

    def collect(
        self, products: Floats, bias: Floats, lower: Floats, counts: npt.NDArray[np.int64], start: int, stop: int
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """Rows and values of features start..stop - 1, and counts set for them."""
        found = _collect(products, bias, lower, start, stop, counts, self._rows, self._values)
        if found + _SCAN_BLOCK > self._rows.size:
            self._make_room(found + found // 4 + _SCAN_BLOCK)
            found = _collect(products, bias, lower, start, stop, counts, self._rows, self._values)
        return self._rows[:found].copy(), self._values[:found].copy()


def collect_above(x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, lower: Floats) -> FeatureLists:
    """Where x @ encoder.T + bias exceeds lower, exactly as float32 gives it.

    x: (n_rows, d_in). encoder: (n_features, d_in), contiguous. bias: (n_features,). lower: (n_features,). All on the CPU.
    """
    n_features, n_rows = encoder.shape[0], x.shape[0]
    counts = np.zeros(n_features, dtype=np.int64)
    parts = [_Part() for _ in range(n_threads())]
    found: list[tuple[npt.NDArray[np.int32], Floats]] = []
    band = torch.empty((min(_BAND_FEATURES, n_features), n_rows), dtype=torch.float32)
    transposed = x.t()
    shift = bias.numpy()
    for first in range(0, n_features, _BAND_FEATURES):
        last = min(first + _BAND_FEATURES, n_features)
        products = band[: last - first]
        torch.mm(encoder[first:last], transposed, out=products)
        shared = (products.numpy(), shift[first:last], lower[first:last], counts[first:last])
        jobs = [
            (part, *shared, start, stop)
            for part, (start, stop) in zip(parts, ranges(last - first, len(parts)), strict=False)
        ]
        found += in_parallel(_Part.collect, jobs)
    indptr = np.zeros(n_features + 1, dtype=np.int64)
    np.cumsum(counts, out=indptr[1:])
    return FeatureLists(indptr, np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found]))


def subtract_decoded(target: torch.Tensor, lists: FeatureLists, decoder: torch.Tensor) -> None:
    """target -= what the entries add up to through decoder, in place. target: (n_rows, d_in). decoder: (n_features, d_in).

    Bands of input dimensions are independent: a band of target stays in the cache while the entries pass once.
    """
    width = target.shape[1]
    shared = (lists.indptr, lists.rows, lists.values, decoder.numpy(), target.numpy())
    bands = [(first, min(first + _BAND_DIMENSIONS, width)) for first in range(0, width, _BAND_DIMENSIONS)]
    in_parallel(_subtract_decoded, [(*shared, first, last) for first, last in bands])


@compiled_with_sums
def _subtract_decoded(
    indptr: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    values: Floats,
    decoder: Floats,
    target: Floats,
    first: int,
    last: int,
) -> None:
    for feature in range(indptr.size - 1):
        direction = decoder[feature, first:last]
        for i in range(indptr[feature], indptr[feature + 1]):
            row = target[rows[i], first:last]
            value = values[i]
            for j in range(last - first):
                row[j] -= value * direction[j]


@compiled
def by_row(
    indptr: npt.NDArray[np.int64], rows: npt.NDArray[np.int32], n_rows: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Turn feature lists to row lists: (row indptr, feature of each entry, position of each entry in the feature lists)."""
    row_indptr = np.zeros(n_rows + 1, dtype=np.int64)
    for i in range(rows.size):
        row_indptr[rows[i] + 1] += 1
    for row in range(n_rows):
        row_indptr[row + 1] += row_indptr[row]
    next_free = row_indptr[:-1].copy()
    features = np.empty(rows.size, dtype=np.int32)
    positions = np.empty(rows.size, dtype=np.int64)
    for feature in range(indptr.size - 1):
        for i in range(indptr[feature], indptr[feature + 1]):
            at = next_free[rows[i]]
            next_free[rows[i]] = at + 1
            features[at] = feature
            positions[at] = i
    return row_indptr, features, positions
