"""Reads the sparse store: one feature, one sample, or all rows in order, each range checked against its crc32c."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.errors import ContainsArrayError, GroupNotFoundError, NodeTypeValidationError

from splat_assets.store.activations import Activations, SampleFeatures, SparseRows, checked_id
from splat_assets.store.bucket.remote import RemoteFile, RemoteFiles
from splat_assets.store.checksums import crc32c_of, crc32c_of_ranges
from splat_assets.store.documents import first_line, refuse_irregular_parts
from splat_assets.store.errors import (
    CorruptStoreError,
    FeatureNotFoundError,
    LayoutError,
    SampleNotFoundError,
    StoreError,
)
from splat_assets.store.sealed_files import SealedFiles
from splat_assets.store.sparse.layout import ATTRIBUTES, BY_FEATURE, BY_SAMPLE, FORMAT_VERSION, accepting_pcodec
from splat_assets.store.sparse.ranges import Opener, RangeReader, open_ranges

_FORM = "zarr.json"
"""The consolidated metadata of all arrays, so that nothing else is read for them."""


@cache
def _io_pool() -> ThreadPoolExecutor:
    """Threads for the second of two concurrent requests."""
    return ThreadPoolExecutor(16, "bucket")


@dataclass(frozen=True)
class Orientation:
    """One of the two sparse matrices: ranges of ids and values (of features, or of samples), their offsets and checksums."""

    what: str
    folder: Path
    indptr: npt.NDArray[np.int64]
    crc32c: npt.NDArray[np.uint32]
    ids: RangeReader
    values: RangeReader
    remote: RemoteFiles | None = None

    def read(self, first: int, last: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Ids and values of ranges first..last - 1, not checked; concurrently where each is a network request."""
        lo, hi = int(self.indptr[first]), int(self.indptr[last])
        if self.remote is None:
            return self.ids.read(lo, hi), self.values.read(lo, hi)
        values = _io_pool().submit(self.values.read, lo, hi)
        return self.ids.read(lo, hi), values.result()

    def read_checked(self, i: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Ids and values of range i; CorruptStoreError when they fail their crc32c."""
        ids, values = self.read(i, i + 1)
        if self.remote is not None and crc32c_of(ids, values) != self.crc32c[i]:
            self.remote.forget()  # bytes that were kept may be those of before the bucket was repaired
            ids, values = self.read(i, i + 1)
        if crc32c_of(ids, values) != self.crc32c[i]:
            raise CorruptStoreError(self.corruption_message(i))
        return ids, values

    def wrong(
        self, first: int, last: int, ids: npt.NDArray[Any], values: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.intp]:
        """Those of the ranges first..last - 1 whose ids and values fail their crc32c."""
        checksums = crc32c_of_ranges(self.indptr[first : last + 1] - self.indptr[first], ids, values)
        return first + np.flatnonzero(checksums != self.crc32c[first:last])

    def corruption_message(self, i: int) -> str:
        """One sentence on range i, whose bytes are not those that were written."""
        lo, hi = int(self.indptr[i]), max(int(self.indptr[i + 1]) - 1, int(self.indptr[i]))
        files = dict.fromkeys(str(part.file_of(at)) for part in (self.ids, self.values) for at in (lo, hi))
        return (
            f"{self.what} {i} of {self.folder} fails its crc32c: its bytes in {', '.join(files)} are not those "
            f"that were "
            "written; write the store again or go back to the previous version"
        )


class SparseReader:
    """An `activations.zarr`, by feature and by sample. Caches only the range offsets; safe to use from threads.

    A copy, or what arrives in another process, is the store at the same path opened again.
    """

    def __init__(self, path: Path | str, remote: RemoteFiles | None = None, sealed: SealedFiles | None = None) -> None:
        """Open the store and check what is cheap: form, files of the by-feature half, offsets.

        Args:
            path: the folder `activations.zarr`.
            remote: the files, where they lie in a bucket; path then only names the store.
            sealed: the files with the sha256 that a manifest states: form, offsets, counts and checksums of a half are
                compared with it when the half is opened, so that activations which hold against their checksums are those
                that were published.

        Raises:
            LayoutError: path is not a sparse store, or one of another format version.
            CorruptStoreError: a file is missing, cut short or another one than was published.
        """
        self.path = Path(path)
        self._remote = remote
        self._sealed = sealed
        if sealed is not None:
            sealed.content(_FORM)
        self._root = _open_group(self.path, self.path if remote is None else remote.zarr_store())
        facts = self._facts()
        self._n_samples, self._n_features, self.nnz = self._counts(facts)
        self.profile = str(facts["profile"])
        self.source = facts.get("source")
        self.by_feature = self._orientation("feature", BY_FEATURE, "var", self._n_features)

    def __reduce__(self) -> tuple[type["SparseReader"], tuple[Path, RemoteFiles | None, SealedFiles | None]]:
        return SparseReader, (self.path, self._remote, self._sealed)

    def _facts(self) -> Mapping[str, Any]:
        facts = self._root.attrs.asdict().get(ATTRIBUTES)
        if not isinstance(facts, Mapping) or not {"n_samples", "n_features", "nnz", "profile"} <= facts.keys():
            raise LayoutError(f"{self.path} is a Zarr group, but not a sparse store of activations")
        version = facts.get("format_version")
        if version != FORMAT_VERSION:
            raise LayoutError(
                f"{self.path} is of format version {version}; this program reads version {FORMAT_VERSION}"
            )
        return facts

    def _counts(self, facts: Mapping[str, Any]) -> list[int]:
        counts = [facts[name] for name in ("n_samples", "n_features", "nnz")]
        if not all(type(count) is int and 0 <= count < 2**63 for count in counts):
            raise CorruptStoreError(f"{self.path / 'zarr.json'} states invalid counts: {counts}")
        return counts

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        return self._n_features

    @property
    def n_samples(self) -> int:
        """The number of samples, those without any activation included."""
        return self._n_samples

    @property
    def feature_n_active(self) -> npt.NDArray[np.int64]:
        """On how many samples each feature fires: int64, shape (n_features,)."""
        return np.diff(self.by_feature.indptr)

    @property
    def feature_crc32c(self) -> npt.NDArray[np.uint32]:
        """The crc32c of each feature's sample ids (int32) and values (float32): uint32, shape (n_features,)."""
        return self.by_feature.crc32c

    def read(self, feature_id: int) -> Activations:
        """One feature, checked against its crc32c.

        Returns:
            Sample ids (int32, or int64 from 2**31 samples on), strictly increasing, and float32 values > 0.

        Raises:
            FeatureNotFoundError: the id is outside 0..n_features - 1.
            InputError: the id is not a whole number.
            CorruptStoreError: the bytes are not those that were written.
        """
        feature_id = checked_id("feature", feature_id)
        if not 0 <= feature_id < self._n_features:
            raise FeatureNotFoundError(feature_id, self._n_features, self.path)
        return Activations(*self.by_feature.read_checked(feature_id))

    def sample(self, sample_id: int) -> SampleFeatures:
        """The features of one sample; SampleNotFoundError, CorruptStoreError, InputError as in `read`."""
        sample_id = checked_id("sample", sample_id)
        if not 0 <= sample_id < self._n_samples:
            raise SampleNotFoundError(sample_id, self._n_samples, self.path)
        return SampleFeatures(*self.by_sample.read_checked(sample_id))

    def rows(self, block_rows: int, start: int = 0) -> Iterator[SparseRows]:
        """All samples from `start` on, in blocks of block_rows (the last one may be shorter), each row checked."""
        for lo in range(start, self._n_samples, block_rows):
            yield self.block(lo, min(lo + block_rows, self._n_samples))

    def block(self, first: int, last: int) -> SparseRows:
        """The samples first..last - 1 in one read, each row checked; CorruptStoreError as in `sample`."""
        half = self.by_sample
        ids, values = half.read(first, last)
        wrong = half.wrong(first, last, ids, values)
        if wrong.size:
            raise CorruptStoreError(half.corruption_message(int(wrong[0])))
        return SparseRows(half.indptr[first : last + 1] - half.indptr[first], ids, values)

    @cached_property
    def by_sample(self) -> Orientation:
        """The half that is read by sample, opened when first used."""
        return self._orientation("sample", BY_SAMPLE, "obs", self._n_samples)

    def _orientation(self, what: str, name: str, axis: str, length: int) -> Orientation:
        indptr = self._whole(f"{name}/indptr", length + 1)
        crc32c = self._whole(f"{axis}/crc32c", length)
        if indptr[0] != 0 or indptr[-1] != self.nnz or (np.diff(indptr) < 0).any():
            raise CorruptStoreError(f"{self.path / name / 'indptr'} does not run from 0 to {self.nnz}")
        n_active = self._whole(f"{axis}/n_active", length)
        if (np.diff(indptr) != n_active).any():
            wrong = int(np.flatnonzero(np.diff(indptr) != n_active)[0])
            raise CorruptStoreError(f"{self.path}: {name}/indptr and {axis}/n_active disagree at {wrong}")
        ids, values = (self._ranges(f"{name}/{part}", self.nnz) for part in ("indices", "data"))
        return Orientation(what, self.path / name, indptr, crc32c, ids, values, self._remote)

    def _whole(self, name: str, length: int) -> npt.NDArray[Any]:
        opened = None if self._sealed is None else self._sealed.opened
        try:
            return self._ranges(name, length, opened).read(0, length)
        except (MemoryError, ValueError) as error:
            raise CorruptStoreError(
                f"{self.path / name} states {length} elements, which no memory holds: {error}"
            ) from error

    def _ranges(self, name: str, length: int, opened: Opener | None = None) -> RangeReader:
        """opened: opens its files, where something else does than reads the others."""
        try:
            with accepting_pcodec():
                array = self._root[name]
            sizes = (1,) if not isinstance(array, zarr.Array) else (*array.chunks, *(array.shards or ()))
        except KeyError as error:
            raise CorruptStoreError(f"{self.path / name} is missing") from error
        except (PermissionError, StoreError):
            raise
        except Exception as error:  # zarr trusts a description; a damaged one makes it raise anything
            raise CorruptStoreError(f"{self.path / name / 'zarr.json'} cannot be read: {first_line(error)}") from error
        if min(sizes) < 1:
            raise CorruptStoreError(f"{self.path / name / 'zarr.json'} states chunks of {min(sizes)} elements")
        if not isinstance(array, zarr.Array) or array.shape != (length,):
            raise CorruptStoreError(f"{self.path / name} is not an array of {length} elements")
        if array.dtype.kind not in ("f" if name.endswith("/data") else "iu"):
            raise CorruptStoreError(f"{self.path / name} holds values of the type {array.dtype}")
        if opened is not None:
            return open_ranges(array, self.path / name, opened)
        if self._remote is None:
            return open_ranges(array, self.path / name)
        return open_ranges(array, self.path / name, partial(RemoteFile, self._remote, self.path))


def _open_group(path: Path, store: Any) -> zarr.Group:
    """store: the path itself, or what zarr reads instead."""
    try:
        if isinstance(store, Path):
            refuse_irregular_parts(store)
        with accepting_pcodec():
            return zarr.open_group(store, mode="r", zarr_format=3)
    except (FileNotFoundError, GroupNotFoundError, ContainsArrayError, NodeTypeValidationError) as error:
        raise LayoutError(f"{path} is not a sparse store: it does not hold a Zarr group") from error
    except (PermissionError, StoreError):
        raise
    except Exception as error:  # as above
        raise CorruptStoreError(f"{path / 'zarr.json'} cannot be read: {first_line(error)}") from error
