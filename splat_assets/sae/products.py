"""The one large matrix product of an SAE, cut by feature, and the sparse collection of what exceeds a threshold.

The pre-activations of a block of rows are never held at once: a band of features is multiplied, scanned while it is still
in the cache, and overwritten by the next band. What is kept is a list of (feature, row, value), feature by feature.

Compiled loops and products run on a small pool of Python threads, each of them single-threaded. Work is cut into parts by
position, never by who is free first, and every sum is done by one thread in a fixed order: the same input gives the same
bytes, whatever the number of threads. Parallel layers of libraries are not used: their threads meet at barriers many times
per step, which costs a factor on a machine that does other things too; OpenMP does not survive a fork; and the result of a
product would depend on the number of threads.
"""

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.compiled import compiled, compiled_with_sums

Result = TypeVar("Result")


def ranges(n: int, n_parts: int) -> list[tuple[int, int]]:
    """0..n cut into at most n_parts consecutive, nearly equal, non-empty ranges (start, stop)."""
    n_parts = max(1, min(n, n_parts))
    return [(n * part // n_parts, n * (part + 1) // n_parts) for part in range(n_parts)]


def blocks(n: int, size: int) -> list[tuple[int, int]]:
    """0..n cut into consecutive ranges (start, stop) of size, the last one shorter: the same on every machine."""
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def in_parallel(function: Callable[..., Result], parts: Sequence[tuple[Any, ...]]) -> list[Result]:
    """function(*part) for every part, results in the order of the parts. torch is single-threaded inside function.

    Work is shared among as many threads as torch would use in the calling thread.
    """
    n = torch.get_num_threads()
    if n == 1:
        return [function(*part) for part in parts]
    results: list[Any] = [None] * len(parts)
    taken = itertools.count()

    def work() -> None:
        while (i := next(taken)) < len(parts):
            results[i] = function(*parts[i])

    pool = _pool(os.getpid(), n)
    for worker in [pool.submit(work) for _ in range(min(n, len(parts)))]:
        worker.result()
    return results


@cache
def _pool(process_id: int, n: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child makes its own."""
    pool = ThreadPoolExecutor(n, thread_name_prefix="splat-kernel", initializer=torch.set_num_threads, initargs=(1,))
    all_started = threading.Barrier(n)
    for started in [pool.submit(all_started.wait) for _ in range(n)]:
        started.result()
    # The setting is each thread's own, but torch hands the last one set to threads that are yet to come.
    torch.set_num_threads(n)
    return pool


_BAND_VALUES = 1 << 21
_LEAST_BAND = 64
_LEAST_BANDS = 8
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
    counts: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    values: Floats,
) -> int:
    """Where products (features, rows) + bias > lower: rows, values, counts per feature. Returns how many there are.

    Past the end of rows and values it only counts, so that the caller can come back with more room. Blocks of a fixed length
    without anything above are passed over with vector compares; a block with several is written without branches.
    """
    n_rows = products.shape[1]
    whole = n_rows // _SCAN_BLOCK * _SCAN_BLOCK
    room = rows.size
    n_found = 0
    for feature in range(products.shape[0]):
        before = n_found
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
            if n_found + _SCAN_BLOCK > room:
                n_found += above
            elif above < _SEVERAL:
                for i in range(_SCAN_BLOCK):
                    value = block[i] + shift
                    if value > least:
                        rows[n_found] = first + i
                        values[n_found] = value
                        n_found += 1
            else:
                for i in range(_SCAN_BLOCK):
                    value = block[i] + shift
                    rows[n_found] = first + i
                    values[n_found] = value
                    n_found += value > least
        for i in range(whole, n_rows):
            value = row[i] + shift
            if value > least:
                if n_found < room:
                    rows[n_found] = i
                    values[n_found] = value
                n_found += 1
        counts[feature] = n_found - before
    return n_found


class _Buffers(threading.local):
    """The buffers that a thread keeps between bands, so that memory is not allocated and freed each time."""

    def __init__(self) -> None:
        self._products = torch.empty(0)
        self._rows: npt.NDArray[np.int32] = np.empty(1 << 14, dtype=np.int32)
        self._values: Floats = np.empty(1 << 14, dtype=np.float32)

    def multiply(self, encoder: torch.Tensor, x: torch.Tensor) -> Floats:
        """encoder @ x.T, shape (n_features, n_rows); good until the next call in this thread."""
        size = encoder.shape[0] * x.shape[0]
        if self._products.numel() < size:
            self._products = torch.empty(size)
        out = self._products[:size].view(encoder.shape[0], x.shape[0])
        torch.mm(encoder, x.t(), out=out)
        return out.numpy()

    def collect(
        self, products: Floats, bias: Floats, lower: Floats, counts: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """Rows and values where products + bias exceed lower, and counts set."""
        n_entries = _collect(products, bias, lower, counts, self._rows, self._values)
        if n_entries + _SCAN_BLOCK > self._rows.size:
            self._rows = np.empty(n_entries + n_entries // 4 + _SCAN_BLOCK, dtype=np.int32)
            self._values = np.empty(self._rows.size, dtype=np.float32)
            n_entries = _collect(products, bias, lower, counts, self._rows, self._values)
        return self._rows[:n_entries].copy(), self._values[:n_entries].copy()


_buffers = _Buffers()


def collect_above(x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, lower: Floats) -> FeatureLists:
    """Where x @ encoder.T + bias exceeds lower, exactly as float32 gives it.

    x: (n_rows, d_in). encoder: (n_features, d_in), contiguous. bias: (n_features,). lower: (n_features,). All on the CPU.
    """
    n_features, n_rows = encoder.shape[0], x.shape[0]
    counts = np.zeros(n_features, dtype=np.int64)
    shift = bias.numpy()

    def collect_band(first: int, last: int) -> tuple[npt.NDArray[np.int32], Floats]:
        products = _buffers.multiply(encoder[first:last], x)
        return _buffers.collect(products, shift[first:last], lower[first:last], counts[first:last])

    bands = in_parallel(collect_band, blocks(n_features, _band_features(n_features, n_rows)))
    indptr = np.zeros(n_features + 1, dtype=np.int64)
    np.cumsum(counts, out=indptr[1:])
    return FeatureLists(indptr, np.concatenate([f[0] for f in bands]), np.concatenate([f[1] for f in bands]))


def _band_features(n_features: int, n_rows: int) -> int:
    """Features per band: enough bands to share out, and products that stay in the cache."""
    return max(_LEAST_BAND, min(-(-n_features // _LEAST_BANDS), _BAND_VALUES // max(1, n_rows)))


def subtract_decoded(target: torch.Tensor, lists: FeatureLists, decoder: torch.Tensor) -> None:
    """target -= what the entries add up to through decoder, in place. target: (n_rows, d_in). decoder: (n_features, d_in).

    Bands of input dimensions are independent: a band of target stays in the cache while the entries pass once.
    """
    width = target.shape[1]
    shared = (lists.indptr, lists.rows, lists.values, decoder.numpy(), target.numpy())
    in_parallel(_subtract_decoded, [(*shared, *band) for band in blocks(width, _BAND_DIMENSIONS)])


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


def sum_of_squares(rows: Floats) -> float:
    """The sum of all squares, rows in float32, their sum in float64."""
    return float(np.einsum("nd,nd->n", rows, rows).sum(dtype=np.float64))


def weighted_sum(weights: Floats, rows: Floats) -> Floats:
    """weights @ rows: float32, shape (d_in,). weights: (n_features,). rows: (n_features, d_in)."""
    total = np.zeros(rows.shape[1], dtype=np.float32)
    in_parallel(_weighted_sum, [(weights, rows, total, *band) for band in blocks(rows.shape[1], _BAND_DIMENSIONS)])
    return total


@compiled_with_sums
def _weighted_sum(weights: Floats, rows: Floats, total: Floats, first: int, last: int) -> None:
    part = total[first:last]
    for feature in range(rows.shape[0]):
        row = rows[feature, first:last]
        weight = weights[feature]
        for j in range(part.size):
            part[j] += weight * row[j]


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
