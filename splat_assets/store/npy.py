"""Ranges of rows of a `.npy` file, read without mapping it: a file that was cut short is an error, never a dead process."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.store.disk import read_exactly
from splat_assets.store.errors import CorruptStoreError


class NpyFile:
    """A one- or two-dimensional `.npy` file in C order. Holds no descriptor between reads; safe to use from threads."""

    def __init__(self, path: Path) -> None:
        """Read the header; raises CorruptStoreError when path is missing, no `.npy` file, or not of the size it states."""
        self.path = path
        try:
            with path.open("rb") as handle:
                version = np.lib.format.read_magic(handle)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                self.shape, fortran_order, self.dtype = read_header(handle)
                self._offset = handle.tell()
                size = os.fstat(handle.fileno()).st_size
        except (OSError, ValueError, KeyError) as error:
            raise CorruptStoreError(f"{path} cannot be read as a .npy file: {error}") from error
        if fortran_order or self.dtype.hasobject or len(self.shape) not in (1, 2):
            raise CorruptStoreError(f"{path} is not a plain one- or two-dimensional array in C order")
        self._row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        if size != self._offset + self.shape[0] * self._row_bytes:
            raise CorruptStoreError(
                f"{path} has {size} bytes where its header says {self._offset + self.shape[0] * self._row_bytes}"
            )

    @property
    def n_rows(self) -> int:
        """The length along the first axis."""
        return int(self.shape[0])

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows start..stop - 1."""
        rows = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        if rows.size == 0:
            return rows
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            read_exactly(descriptor, rows.reshape(-1), self._offset + start * self._row_bytes, self.path)
        finally:
            os.close(descriptor)
        return rows

    def read_all(self) -> npt.NDArray[Any]:
        """The whole array."""
        return self.read(0, self.n_rows)
