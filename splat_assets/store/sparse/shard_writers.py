"""Writers of one-dimensional sharded Zarr arrays: values are appended, whole shards reach the disk, each written once.

zarr itself reads, changes and writes back a shard that is written in parts, and takes a call per inner chunk. A shard without
compression is the array's own bytes and an index, so it is streamed into its file here; any other goes through zarr.
"""

from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr

from splat_assets.store.checksums import crc32c_of_bytes


class ArrayWriter(Protocol):
    """Appends to an array of known length."""

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add values after those appended so far."""
        ...

    def close(self) -> None:
        """Finish the last shard; ValueError when fewer elements were appended than the array has."""
        ...


class PlainShardWriter:
    """Streams the shards of an uncompressed array: chunk after chunk from byte 0, then the index and its crc32c."""

    def __init__(self, array: zarr.Array[Any], folder: Path) -> None:
        """Start at element 0 of array, which lies in folder."""
        assert array.shards is not None
        self._folder = folder / "c"
        self._dtype = np.dtype(array.dtype)
        self._n_elements, self._inner, self._shard = array.shape[0], array.chunks[0], array.shards[0]
        self._written = 0
        self._file: IO[bytes] | None = None

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add values after those appended so far."""
        values = np.ascontiguousarray(values, dtype=self._dtype)
        while values.size:
            within = self._written % self._shard
            taken = min(values.size, self._shard - within)
            if self._file is None:
                self._folder.mkdir(exist_ok=True)
                self._file = (self._folder / str(self._written // self._shard)).open("wb")
            self._file.write(values[:taken].data)
            self._written += taken
            values = values[taken:]
            if self._written % self._shard == 0:
                self._finish_shard(self._shard)

    def _finish_shard(self, n_elements: int) -> None:
        assert self._file is not None
        used = -(-n_elements // self._inner)
        chunk_bytes = self._inner * self._dtype.itemsize
        self._file.write(bytes(used * chunk_bytes - n_elements * self._dtype.itemsize))
        index = np.full((self._shard // self._inner, 2), np.iinfo(np.uint64).max, dtype="<u8")
        index[:used, 0] = np.arange(used, dtype=np.uint64) * np.uint64(chunk_bytes)
        index[:used, 1] = chunk_bytes
        self._file.write(index.data)
        self._file.write(crc32c_of_bytes(index).to_bytes(4, "little"))
        self._file.close()
        self._file = None

    def close(self) -> None:
        """Finish the last shard; ValueError when fewer elements were appended than the array has."""
        if self._file is not None:
            self._finish_shard(self._written % self._shard)
        _check_length(self._written, self._n_elements, str(self._folder.parent))


class ZarrShardWriter:
    """Fills a shard in memory and hands it to zarr, whatever its codecs."""

    def __init__(self, array: zarr.Array[Any]) -> None:
        """Start at element 0 of array."""
        assert array.shards is not None
        self._array = array
        self._buffer = np.empty(array.shards[0], dtype=array.dtype)
        self._filled = 0
        self._written = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add values after those appended so far."""
        while values.size:
            taken = min(values.size, self._buffer.size - self._filled)
            self._buffer[self._filled : self._filled + taken] = values[:taken]
            self._filled += taken
            values = values[taken:]
            if self._filled == self._buffer.size:
                self._flush()

    def _flush(self) -> None:
        if self._filled:
            self._array[self._written : self._written + self._filled] = self._buffer[: self._filled]
            self._written += self._filled
            self._filled = 0

    def close(self) -> None:
        """Write what is left; ValueError when fewer elements were appended than the array has."""
        self._flush()
        _check_length(self._written, self._array.shape[0], self._array.path)


def _check_length(n_written: int, n_elements: int, where: str) -> None:
    if n_written != n_elements:
        raise ValueError(f"{where}: {n_written} of {n_elements} elements were appended")
