"""Ranges of rows of a `.npy` file, read and written without mapping it.

A file that was cut short, or a disk that is full, is an error; with a memory map either would be the end of the process.
"""

import math
import os
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.store.disk import read_exactly
from splat_assets.store.documents import WRONG_CONTENT, access_denied, refuse_irregular
from splat_assets.store.errors import CorruptStoreError


class NpyFile:
    """A one- or two-dimensional `.npy` file in C order. Holds no descriptor between reads; safe to use from threads."""

    def __init__(self, path: Path) -> None:
        """Read the header; raises CorruptStoreError when path is missing, no `.npy` file, or not of the size it states."""
        self.path = path
        try:
            refuse_irregular(path)
            with path.open("rb") as handle:
                version = np.lib.format.read_magic(handle)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                self.shape, fortran_order, self.dtype = read_header(handle)
                self._offset = handle.tell()
                size = os.fstat(handle.fileno()).st_size
        except PermissionError as error:
            raise access_denied(error, path) from error
        except (OSError, *WRONG_CONTENT, TokenError, SyntaxError, RecursionError, MemoryError) as error:
            raise CorruptStoreError(f"{path} cannot be read as a .npy file: {error}") from error
        if fortran_order or self.dtype.hasobject or len(self.shape) not in (1, 2) or min(self.shape) < 0:
            raise CorruptStoreError(f"{path} is not a plain one- or two-dimensional array in C order")
        self._row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        if size != self._offset + self.shape[0] * self._row_bytes:
            raise CorruptStoreError(
                f"{path} has {size} bytes where its header says {self._offset + self.shape[0] * self._row_bytes}"
            )

    @property
    def n_rows(self) -> int:
        """The length along the first axis."""
        return int(self.shape[0])

    def offset_of(self, row: int) -> int:
        """The byte at which a row begins."""
        return self._offset + row * self._row_bytes

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows start..stop - 1."""
        rows = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        if rows.size == 0:
            return rows
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            read_exactly(descriptor, rows.reshape(-1), self.offset_of(start), self.path)
        finally:
            os.close(descriptor)
        return rows

    def read_all(self) -> npt.NDArray[Any]:
        """The whole array."""
        return self.read(0, self.n_rows)


def create_npy(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Make a `.npy` file of zeros, to be written by `NpyWriter`; its room on the disk is taken at once where that is possible."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        handle.flush()
        size = handle.tell() + np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle.fileno(), 0, size)
        handle.truncate(size)


class NpyWriter:
    """Writes rows of an existing `.npy` file in place."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises as `NpyFile`."""
        self._file = NpyFile(path)
        self._descriptor = os.open(path, os.O_WRONLY)

    def write(self, start: int, rows: npt.NDArray[Any]) -> None:
        """Put rows at start, start + 1, ..; ValueError when they are not of the file's kind or do not fit."""
        file = self._file
        fits = 0 <= start and start + len(rows) <= file.n_rows
        if not fits or rows.shape[1:] != file.shape[1:] or rows.dtype != file.dtype:
            raise ValueError(f"{rows.dtype} rows {rows.shape} do not fit at {start} into {file.dtype} {file.shape}")
        view, at = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data, file.offset_of(start)
        while view:
            written = os.pwrite(self._descriptor, view, at)
            view, at = view[written:], at + written

    def close(self) -> None:
        """Flush what was written to the disk, and close the file."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
