"""crc32c of activations, 4 bytes per feature and per sample that every read is checked against; and a hash of 64 bits."""

from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

# Offsets as Python's integers take more than a hundred bytes a range.
_RANGES_AT_ONCE = 2**16


def crc32c_of(ids: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> int:
    """The crc32c over the bytes of ids followed by the bytes of values (both C-contiguous, little-endian)."""
    return int(google_crc32c.extend(google_crc32c.value(ids), values))


def crc32c_of_ranges(
    indptr: npt.NDArray[np.int64], ids: npt.NDArray[Any], values: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint32]:
    """The crc32c of each range indptr[i]..indptr[i + 1] of ids and values: uint32, shape (indptr.size - 1,)."""
    id_bytes = np.ascontiguousarray(ids).view(np.uint8)
    value_bytes = np.ascontiguousarray(values).view(np.uint8)
    start, extend = google_crc32c.value, google_crc32c.extend
    checksums = np.empty(indptr.size - 1, dtype=np.uint32)
    for first in range(0, checksums.size, _RANGES_AT_ONCE):
        offsets = indptr[first : first + _RANGES_AT_ONCE + 1]
        id_ends = (offsets * ids.dtype.itemsize).tolist()
        value_ends = (offsets * values.dtype.itemsize).tolist()
        checksums[first : first + _RANGES_AT_ONCE] = [
            extend(start(id_bytes[i0:i1]), value_bytes[v0:v1])
            for i0, i1, v0, v1 in zip(id_ends, id_ends[1:], value_ends, value_ends[1:], strict=False)
        ]
    return checksums


def crc32c_of_bytes(*parts: npt.NDArray[Any]) -> int:
    """The crc32c over the bytes of the C-contiguous arrays, one after the other."""
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    return int(crc)


def mixed_bits(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), which spreads every input bit over all output bits."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
