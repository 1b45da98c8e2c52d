"""Ranges of a one-dimensional Zarr array, by byte offset where its shards allow it, through zarr otherwise.

An uncompressed shard whose inner chunks lie one after the other is the raw array followed by an index. Opening checks that
this holds, shard by shard; from then on a range is one read per shard it touches, with no zarr call.
"""

import logging
import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BytesCodec, ShardingCodec

from splat_assets.store.checksums import crc32c_of_bytes
from splat_assets.store.disk import read_exactly
from splat_assets.store.errors import CorruptStoreError

logger = logging.getLogger(__name__)

_MOST_OPEN_FILES = 128
_FREED_BYTES = 16 * 2**20


class ShardFile(Protocol):
    """A file of an array, on this machine or elsewhere. Reads are safe from threads."""

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...

    def read_into(self, into: npt.NDArray[Any], offset: int) -> None:
        """Fill the C-contiguous array with its bytes from offset on; CorruptStoreError when it ends before that."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


Opener = Callable[[Path], ShardFile]
"""Opens a file of an array; CorruptStoreError when it is missing."""


class ZarrRanges:
    """Any one-dimensional array, through zarr: correct for every codec, milliseconds slower."""

    def __init__(self, array: zarr.Array[Any], folder: Path, opened: Opener) -> None:
        """folder is where the array lies."""
        self._array = array
        self._folder = folder
        self._per_file = (array.shards or array.chunks)[0]
        for shard in range(-(-array.shape[0] // self._per_file)):
            opened(folder / "c" / str(shard)).close()

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Elements start..stop - 1 as a new array; CorruptStoreError when they are not there in full."""
        if start == stop:
            return np.empty(0, dtype=self._array.dtype)
        try:
            return np.asarray(self._array[start:stop])
        except (ValueError, RuntimeError, OSError) as error:
            raise CorruptStoreError(f"{self.file_of(start)} cannot be decoded: {error}") from error

    def file_of(self, element: int) -> Path:
        """The file that holds the element."""
        return self._folder / "c" / str(element // self._per_file)


@dataclass(frozen=True, slots=True)
class _Geometry:
    """How many elements there are in all, per inner chunk, and per shard."""

    n_elements: int
    inner: int
    shard: int

    @property
    def n_shards(self) -> int:
        return -(-self.n_elements // self.shard)


class _OpenFile:
    """A file that is open until nobody holds it any more. Copied or sent to another process, it is opened there anew."""

    def __init__(self, path: Path) -> None:
        """Open the file; CorruptStoreError when it is missing."""
        self._path = path
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise CorruptStoreError(f"{path} is missing") from error
        self.close = weakref.finalize(self, os.close, self.descriptor)

    def __reduce__(self) -> tuple[type["_OpenFile"], tuple[Path]]:
        return _OpenFile, (self._path,)

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return os.fstat(self.descriptor).st_size

    def read_into(self, into: npt.NDArray[Any], offset: int) -> None:
        """Fill the array with its bytes from offset on; CorruptStoreError when it ends before that."""
        read_exactly(self.descriptor, into, offset, self._path)


class ShardRanges:
    """An array whose shards are the raw array followed by an index. Safe to use from threads and to send to other processes.

    The first files are kept open, so a version that is removed meanwhile stays readable; shards beyond those are opened for
    each read.
    """

    def __init__(
        self, folder: Path, dtype: np.dtype[Any], geometry: _Geometry, files: Sequence[ShardFile], opened: Opener
    ) -> None:
        """files: the first shards. opened: opens the others."""
        self._opened = opened
        self._folder = folder
        self._dtype = dtype
        self._geometry = geometry
        self._files = files

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Elements start..stop - 1 as a new array; CorruptStoreError when they are not there in full."""
        elements = np.empty(stop - start, dtype=self._dtype)
        size, per_shard, done = self._dtype.itemsize, self._geometry.shard, 0
        while done < elements.size:
            shard, within = divmod(start + done, per_shard)
            taken = min(elements.size - done, per_shard - within)
            self._read_shard(shard, elements[done : done + taken], within * size)
            done += taken
        return elements

    def _read_shard(self, shard: int, into: npt.NDArray[Any], offset: int) -> None:
        if shard < len(self._files):
            self._files[shard].read_into(into, offset)
            return
        with closing(self._opened(self._folder / "c" / str(shard))) as file:
            file.read_into(into, offset)

    def file_of(self, element: int) -> Path:
        """The file that holds the element."""
        return self._folder / "c" / str(element // self._geometry.shard)


@cache
def _keep_freed_memory() -> None:
    """Let malloc keep what is freed, up to some megabytes, instead of returning it to the system after every read.

    glibc raises its thresholds when a large block is freed; until then a read of 2 MB spends most of its time in page faults
    (measured: 1.9 ms instead of 0.3 ms). Other allocators lose nothing by it.
    """
    np.empty(_FREED_BYTES, dtype=np.uint8)


RangeReader = ZarrRanges | ShardRanges
"""Reads consecutive elements of an array."""


def open_ranges(array: zarr.Array[Any], folder: Path, opened: Opener = _OpenFile) -> RangeReader:
    """The fastest reader that is correct for the array at folder; CorruptStoreError when a shard is missing or cut short.

    opened: opens its files, which need not be on this machine.
    """
    _keep_freed_memory()
    geometry = _contiguous_geometry(array)
    if geometry is None:
        return ZarrRanges(array, folder, opened)
    dtype = np.dtype(array.dtype)
    files: list[ShardFile] = []
    with ExitStack() as on_failure:
        for shard in range(geometry.n_shards):
            path = folder / "c" / str(shard)
            file = opened(path)
            on_failure.callback(file.close)
            if not _is_sequential(file, path, geometry, shard, dtype.itemsize):
                logger.warning("%s is laid out in another order than expected: reading through zarr, slower", path)
                return ZarrRanges(array, folder, opened)
            if shard < _MOST_OPEN_FILES:
                files.append(file)
            else:
                file.close()
        on_failure.pop_all()
    return ShardRanges(folder, dtype, geometry, files, opened)


def _contiguous_geometry(array: zarr.Array[Any]) -> _Geometry | None:
    """The geometry when shards hold little-endian values and nothing else, or None."""
    codecs = array.metadata.codecs if array.metadata.zarr_format == 3 else ()
    if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec) or array.ndim != 1:
        return None
    sharding = codecs[0]
    if len(sharding.codecs) != 1 or not isinstance(sharding.codecs[0], BytesCodec):
        return None
    plain = np.dtype(array.dtype).newbyteorder("<") == np.dtype(array.dtype)
    at_end = sharding.index_location.value == "end"
    names = [type(codec).__name__ for codec in sharding.index_codecs]
    if not (plain and at_end and names == ["BytesCodec", "Crc32cCodec"]):
        return None
    assert array.shards is not None
    return _Geometry(array.shape[0], array.chunks[0], array.shards[0])


def _is_sequential(file: ShardFile, path: Path, geometry: _Geometry, shard: int, itemsize: int) -> bool:
    """Whether the shard's index says: chunk after chunk from byte 0. Raises CorruptStoreError when the index is damaged."""
    n_entries = geometry.shard // geometry.inner
    offset = file.size_bytes - (n_entries * 16 + 4)
    if offset < 0:
        raise CorruptStoreError(f"{path} is too short to be a shard: it was cut short")
    tail = np.empty(n_entries * 16 + 4, dtype=np.uint8)
    file.read_into(tail, offset)
    if crc32c_of_bytes(tail[:-4]) != int(tail[-4:].view("<u4")[0]):
        raise CorruptStoreError(f"{path} has a damaged index: it was cut short or changed")
    n_used = -(-min(geometry.shard, geometry.n_elements - shard * geometry.shard) // geometry.inner)
    used = tail[:-4].view("<u8").reshape(n_entries, 2)[:n_used]
    chunk_bytes = geometry.inner * itemsize
    expected = np.arange(used.shape[0], dtype=np.uint64) * np.uint64(chunk_bytes)
    return bool((used[:, 0] == expected).all() and (used[:, 1] == chunk_bytes).all())
