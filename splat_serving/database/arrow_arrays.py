"""numpy arrays as Arrow arrays: the same memory under another name.

`pa.array` would do, but imports pandas where it is installed: a third of a second and tens of megabytes, for nothing here.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def arrow_of(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """The numbers as an Arrow array, uncopied where they lie together. valid: False for a missing value, shape of values."""
    kept = np.ascontiguousarray(values)
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(kept.dtype), kept.size, [bits, pa.py_buffer(kept)])


def coded(codes: npt.NDArray[Any], names: pa.Array, valid: npt.NDArray[np.bool_] | None = None) -> pa.DictionaryArray:
    """Texts as codes: text i is names[codes[i]]. Codes that are not valid stand for no text."""
    return pa.DictionaryArray.from_arrays(arrow_of(codes, valid), names)


def numpy_of(array: pa.Array) -> npt.NDArray[Any]:
    """Numbers of an Arrow array without missing values, uncopied and read-only."""
    assert array.null_count == 0
    dtype = np.dtype(array.type.to_pandas_dtype())
    values = array.buffers()[1]
    if values is None:
        return np.empty(0, dtype=dtype)
    return np.frombuffer(values, dtype=dtype, count=len(array), offset=array.offset * dtype.itemsize)
