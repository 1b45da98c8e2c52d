"""Dense float32 Zarr arrays of the guide's exchange formats: how they are cut and coded, and safe reading of any such array.

Zarr reads a chunk that is not on disk as zeros, so a lost file looks like "never fires". Arrays made here hold every chunk,
say so in their attributes, and are checked for it; for arrays made elsewhere the absent chunks can only be counted.
What the rows and columns mean is in the modules of the formats.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from splat_assets.store.documents import access_denied, first_line, is_regular
from splat_assets.store.errors import AccessDeniedError, CorruptStoreError, LayoutError

COMPRESSION = "zstd"
COMPRESSION_LEVEL = 1
"""Level 1 gives smaller files than level 3 on rows of mostly zeros, and writes twice as fast."""

_MARK = "splat"
_DESCRIPTIONS = ("zarr.json", ".zarray", ".zattrs")
_CHUNK_BYTES = 8 * 2**20
_CHUNKS_PER_SHARD = 32
_MAX_CHUNK_ROWS = 2**14


def row_geometry(n_rows: int, width: int) -> tuple[int, int]:
    """Rows per chunk and rows per shard of an array of n_rows rows of `width` float32: chunks of at most 8 MiB, 32 a shard.

    At 24,576 columns that is 64 and 2,048: a single row costs one chunk, a writer holds one shard (201 MB).
    """
    fitting = max(1, _CHUNK_BYTES // (4 * max(width, 1)))
    chunk_rows = min(2 ** (fitting.bit_length() - 1), _MAX_CHUNK_ROWS, max(n_rows, 1))
    n_chunks = max(1, -(-n_rows // chunk_rows))
    return chunk_rows, chunk_rows * min(_CHUNKS_PER_SHARD, n_chunks)


def create_dense_array(
    path: Path,
    shape: tuple[int, int],
    chunks: tuple[int, int],
    shards: tuple[int, int] | None,
    dimension_names: tuple[str, str],
    attributes: Mapping[str, Any],
) -> Any:
    """A new float32 Zarr v3 array at path, zstd and crc32c per chunk, that writes all-zero chunks too.

    Write whole shards (whole chunks where shards is None): a part of one would be read, changed and written again.
    """
    return zarr.create_array(
        path,
        shape=shape,
        chunks=chunks,
        shards=shards,
        dtype="float32",
        compressors=[ZstdCodec(level=COMPRESSION_LEVEL), Crc32cCodec()],
        fill_value=0,
        zarr_format=3,
        dimension_names=dimension_names,
        attributes={"units": "1", **attributes, _MARK: {"version": 1, "every_chunk_written": True}},
        config={"write_empty_chunks": True},
    )


class DenseArray:
    """A dense 2-D Zarr array on disk, ours or anybody's, read with every fault turned into a StoreError.

    n_below_float32: how many values above 0 were read so far that are 0 as float32. Raises LayoutError when path holds no
    2-D Zarr array of numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_below_float32 = 0
        try:
            for name in _DESCRIPTIONS:
                is_regular(path / name)
            array = zarr.open_array(path, mode="r")
            mark = dict(array.attrs).get(_MARK)
            if min((*array.chunks, *(array.shards or ())), default=1) < 1:
                raise ValueError(f"its chunks have the shape {array.shards or array.chunks}")
        except PermissionError as error:
            raise access_denied(error, path) from error
        except AccessDeniedError:
            raise
        except Exception as error:  # zarr trusts a description; a damaged one makes it raise anything
            raise LayoutError(f"{path} is not a Zarr array that can be opened: {first_line(error)}") from error
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise LayoutError(f"{path} holds {array.ndim}-D {array.dtype} values; a 2-D array of numbers was expected")
        self._array: Any = array
        self.every_chunk_written: bool = isinstance(mark, dict) and mark.get("every_chunk_written") is True

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        n_rows, n_columns = self._array.shape
        return int(n_rows), int(n_columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype on disk; reading always gives float32."""
        dtype: np.dtype[Any] = self._array.dtype
        return dtype

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """The unit that reading decodes."""
        n_rows, n_columns = self._array.chunks
        return int(n_rows), int(n_columns)

    @property
    def attributes(self) -> dict[str, Any]:
        """The array's attributes."""
        return dict(self._array.attrs)

    def read(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """A block as float32; CorruptStoreError when bytes are damaged or a chunk that was written is gone."""
        for name in self._file_names(rows, columns):
            self._refuse_irregular(name)
        span = f"rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}"
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused by name later
                values = np.asarray(self._array[rows, columns])
                block = values.astype(np.float32, copy=False)
        except MemoryError as error:
            raise CorruptStoreError(f"{self.path}: {span} do not fit into memory; use smaller chunks") from error
        except PermissionError as error:
            raise access_denied(error, self.path) from error
        except Exception as error:
            raise CorruptStoreError(f"{self.path}: {span} cannot be decoded: {first_line(error)}") from error
        if values.dtype != np.float32:
            self.n_below_float32 += int(np.count_nonzero((block == 0) & (values > 0)))
        return block

    def row_blocks(self, block_bytes: int = 2**26) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """All rows in order, as (first row, block); blocks are whole chunks and at most block_bytes, or one chunk."""
        n_rows, n_columns = self.shape
        chunk_rows = self.chunk_shape[0]
        step = chunk_rows * max(1, block_bytes // (4 * chunk_rows * max(n_columns, 1)))
        for start in range(0, n_rows, step):
            yield start, self.read(slice(start, min(start + step, n_rows)), slice(0, n_columns))

    def absent_files(self) -> Iterator[str]:
        """Names (relative to the array) of chunk or shard files that are not on disk or empty, in grid order."""
        n_rows, n_columns = self.shape
        names = self._file_names(slice(0, n_rows), slice(0, n_columns))
        return (name for name in names if _is_absent(self.path / name))

    def _refuse_irregular(self, name: str) -> None:
        """CorruptStoreError for a file that is gone though it was written, or that is none: a pipe would be waited at."""
        try:
            absent = _is_absent(self.path / name)
        except ValueError as error:
            raise CorruptStoreError(f"{self.path / name} cannot be read: {error}") from error
        if absent and self.every_chunk_written:
            raise CorruptStoreError(f"{self.path} has lost its file {name}; make the array again")

    def _file_names(self, rows: slice, columns: slice) -> Iterator[str]:
        height, width = self._array.shards or self._array.chunks
        for i in range(rows.start // height, -(-rows.stop // height)):
            for j in range(columns.start // width, -(-columns.stop // width)):
                yield self._array.metadata.encode_chunk_key((i, j))


def _is_absent(path: Path) -> bool:
    return not is_regular(path) or path.stat().st_size == 0
