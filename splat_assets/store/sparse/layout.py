"""The Zarr v3 group of the sparse store, laid out as AnnData writes it.

    X                   csc_matrix: indices (sample ids), data, indptr      one feature is one range
    layers/by_sample    csr_matrix: indices (feature ids), data, indptr     one sample is one range
    obs, var            dataframes: n_active and crc32c per sample and per feature

Every array is one-dimensional and sharded. A shard is written once, whole, by one writer: zarr reads, changes and writes back
anything less. Empty chunks are written too, so that a missing file can never be taken for zeros.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import zarr
from zarr.errors import ZarrUserWarning

from splat_assets.errors import InputError
from splat_assets.store.checksums import crc32c_of_bytes

FORMAT_VERSION = 1
ATTRIBUTES = "splat"
BY_FEATURE = "X"
BY_SAMPLE = "layers/by_sample"
INNER_CHUNK = 2**16
SHARD = 2**24

Profile = Literal["raw", "compact"]
"""raw: uncompressed, read by byte range. compact: pcodec, about half the size, read through zarr."""

_CONVENTION = {
    "uuid": "5b1cf5a0-8f0b-4f0e-9a55-0f6c8f2b6a31",
    "name": ATTRIBUTES,
    "description": "Activations of sparse autoencoder features: samples x features, laid out as AnnData",
}
_STRING_CHUNK = 2**18


@dataclass(frozen=True, slots=True)
class Chunking:
    """Elements per inner chunk (what a reader fetches at least) and per shard (one file, written at once)."""

    inner: int = INNER_CHUNK
    shard: int = SHARD

    def __post_init__(self) -> None:
        if self.inner < 1 or self.shard < self.inner or self.shard % self.inner:
            raise InputError(f"a shard of {self.shard} elements is not a whole number of chunks of {self.inner}")

    def of(self, n_elements: int) -> tuple[int, int]:
        """Inner chunk and shard of an array of n_elements; a small array gets no more than it fills."""
        inner = min(self.inner, max(1, n_elements))
        chunks = min(self.shard // self.inner, max(1, -(-n_elements // inner)))
        return inner, inner * chunks


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


ArrayWriter = PlainShardWriter | ZarrShardWriter
"""Appends to an array of known length."""


def checked_profile(profile: str) -> Profile:
    """The profile itself; InputError for any other name."""
    for known in get_args(Profile):
        if profile == known:
            return known  # type: ignore[no-any-return]
    raise InputError(f"unknown profile {profile!r}: use {' or '.join(get_args(Profile))}")


def blocks_of(indptr: npt.NDArray[np.int64], most_nnz: int) -> Iterator[tuple[int, int]]:
    """Runs (first, last + 1) of ranges of at most most_nnz activations together, at least one range each."""
    first, n_ranges = 0, indptr.size - 1
    while first < n_ranges:
        last = int(np.searchsorted(indptr, indptr[first] + most_nnz, side="right")) - 1
        last = min(max(last, first + 1), n_ranges)
        yield first, last
        first = last


@contextmanager
def accepting_pcodec() -> Iterator[None]:
    """zarr warns that numcodecs codecs are outside the core specification; the compact profile chooses one knowingly."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Numcodecs codecs are not in the Zarr version 3", category=ZarrUserWarning
        )
        yield


class SparseLayout:
    """A new, empty sparse store at a path: the groups are there, arrays are made as their lengths become known."""

    def __init__(self, path: Path, n_samples: int, n_features: int, profile: Profile, chunking: Chunking) -> None:
        """Create the groups with the attributes AnnData asks for."""
        self._path = path
        self._profile = profile
        self._chunking = chunking
        self._root = zarr.open_group(path, mode="w-", zarr_format=3)
        shape = [n_samples, n_features]
        self._group("layers", {"encoding-type": "dict", "encoding-version": "0.1.0"})
        self._group(BY_FEATURE, {"encoding-type": "csc_matrix", "encoding-version": "0.1.0", "shape": shape})
        self._group(BY_SAMPLE, {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
        for axis, length in (("obs", n_samples), ("var", n_features)):
            self._dataframe(axis, "sample" if axis == "obs" else "feature", length)

    def _group(self, name: str, attributes: Mapping[str, Any]) -> None:
        self._root.require_group(name).attrs.put(dict(attributes))

    def _dataframe(self, axis: str, index: str, length: int) -> None:
        columns = ["n_active", "crc32c"]
        form = {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": index, "column-order": columns}
        self._group(axis, form)
        names = self._root.create_array(
            f"{axis}/{index}", shape=(length,), dtype=str, chunks=(min(_STRING_CHUNK, max(1, length)),),
            compressors="auto", fill_value="", dimension_names=[index], config={"write_empty_chunks": True},
        )  # fmt: skip
        names.attrs.put({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        for lo in range(0, length, _STRING_CHUNK):
            hi = min(lo + _STRING_CHUNK, length)
            names[lo:hi] = np.arange(lo, hi).astype(np.dtypes.StringDType())

    def array(
        self, name: str, n_elements: int, dtype: npt.DTypeLike, dimension: str, packed: bool = False
    ) -> ArrayWriter:
        """A writer for a new array; packed arrays are compressed in the compact profile."""
        inner, shard = self._chunking.of(n_elements)
        compressed = packed and self._profile == "compact"
        serializer: Any = "auto"
        with accepting_pcodec():
            if compressed:
                from zarr.codecs.numcodecs import PCodec

                serializer = PCodec()
            made = self._root.create_array(
                name, shape=(n_elements,), dtype=dtype, chunks=(inner,), shards=(shard,), filters=None, compressors=None,
                serializer=serializer, fill_value=0,
                dimension_names=[dimension], config={"write_empty_chunks": True},
            )  # fmt: skip
        made.attrs.put({"encoding-type": "array", "encoding-version": "0.2.0"})
        return ZarrShardWriter(made) if compressed else PlainShardWriter(made, self._path / name)

    def whole(self, name: str, values: npt.NDArray[Any], dimension: str) -> None:
        """A new array with these values."""
        writer = self.array(name, values.size, values.dtype, dimension)
        writer.append(values)
        writer.close()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the root's attributes, then the consolidated metadata."""
        self._root.attrs.put(
            {
                "encoding-type": "anndata",
                "encoding-version": "0.1.0",
                "zarr_conventions": [_CONVENTION],
                ATTRIBUTES: {"format_version": FORMAT_VERSION, "profile": self._profile, **facts},
            }
        )
        with accepting_pcodec(), warnings.catch_warnings():
            # AnnData writes the same consolidated block; zarr warns because the v3 specification has not adopted it yet.
            warnings.filterwarnings(
                "ignore", message="Consolidated metadata is currently not part", category=ZarrUserWarning
            )
            zarr.consolidate_metadata(self._root.store)
