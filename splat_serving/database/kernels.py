"""Loops over rows that numpy does not do in one call: taking lists of tokens, and counting features.

Imported when first used: numba takes a good part of a second to load.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.compiled import compiled

_Ints = npt.NDArray[np.integer[Any]]


@compiled
def take_lists(starts: _Ints, values: _Ints, out_offsets: _Ints, out_values: _Ints) -> None:  # pragma: no cover
    """Copy the lists that begin at starts in values, one after the other, into out_values.

    out_offsets: int64, shape (starts.size + 1,), the offsets of the copies.
    """
    for i in range(starts.size):
        start, at = starts[i], out_offsets[i]
        for k in range(out_offsets[i + 1] - at):
            out_values[at + k] = values[start + k]


@compiled
def count_features(first: int, rows: _Ints, indptr: _Ints, feature_ids: _Ints, out: _Ints) -> None:
    """Add one to out[f] for every feature f of the rows. rows: sample ids; indptr: offsets of the samples from first on."""
    for i in range(rows.size):
        row = rows[i] - first
        for k in range(indptr[row], indptr[row + 1]):
            out[feature_ids[k]] += 1
