"""Loops over rows that numpy has no one call for: taking lists of tokens, and putting cells of text together.

Imported when first used: numba takes a good part of a second to load.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.compiled import compiled

_Ints = npt.NDArray[np.integer[Any]]
_Bytes = npt.NDArray[np.uint8]


@compiled
def take_lists(starts: _Ints, values: _Ints, out_offsets: _Ints, out_values: _Ints) -> None:  # pragma: no cover
    """Copy the lists that begin at starts in values, one after the other, into out_values.

    out_offsets: int64, shape (starts.size + 1,), the borders of the copies.
    """
    for i in range(starts.size):
        start, at = starts[i], out_offsets[i]
        for k in range(out_offsets[i + 1] - at):
            out_values[at + k] = values[start + k]


@compiled
def comma_positions(text: _Bytes, n: int, out: _Ints) -> None:
    """The borders of the n numbers of a JSON array: element i is text[out[i] + 1 : out[i + 1]]. out: shape (n + 1,)."""
    out[0] = 0
    found = 0
    for at in range(1, text.size - 1):
        if text[at] == 44:
            found += 1
            out[found] = at
    if n:
        out[n] = text.size - 1


@compiled
def joined_length(starts: _Ints, ends: _Ints, fixed: int) -> int:
    """Bytes that `join_cells` writes. starts, ends: shape (n_columns, n_rows). fixed: bytes a row beside its cells."""
    total: int = 0
    for column in range(starts.shape[0]):
        for row in range(starts.shape[1]):
            total += ends[column, row] - starts[column, row]
    return int(total + fixed * starts.shape[1])


@compiled
def join_cells(text: _Bytes, starts: _Ints, ends: _Ints, prefix: _Bytes, prefix_ends: _Ints, out: _Bytes) -> int:
    """Write rows of cells: before cell c the bytes prefix[prefix_ends[c] : prefix_ends[c + 1]], after the last one the rest.

    text: uint8, all texts. starts, ends: where in it each cell is, int64, shape (n_columns, n_rows). prefix_ends: shape
    (n_columns + 2,), from 0 on. Returns how many bytes were written to out.
    """
    at = 0
    n_columns = starts.shape[0]
    for row in range(starts.shape[1]):
        for column in range(n_columns):
            for k in range(prefix_ends[column], prefix_ends[column + 1]):
                out[at] = prefix[k]
                at += 1
            for k in range(starts[column, row], ends[column, row]):
                out[at] = text[k]
                at += 1
        for k in range(prefix_ends[n_columns], prefix_ends[n_columns + 1]):
            out[at] = prefix[k]
            at += 1
    return at


@compiled
def count_features(first: int, rows: _Ints, indptr: _Ints, feature_ids: _Ints, out: _Ints) -> None:
    """Add one to out[f] for every feature f of the rows. rows: sample ids; indptr: borders of the samples from first on."""
    for i in range(rows.size):
        row = rows[i] - first
        for k in range(indptr[row], indptr[row + 1]):
            out[feature_ids[k]] += 1
