"""The values passed between readers, writers and computations on activations.

Three frozen shapes of the same fact, value > 0 of a feature on a sample: by feature (`Activations`), by sample
(`SampleFeatures`), and a block of samples (`SparseRows`). The protocols define what a reader promises. No I/O here.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from splat_assets.errors import InputError
from splat_assets.store.errors import InvalidActivationsError
from splat_assets.wording import counted


@dataclass(frozen=True, slots=True)
class Activations:
    """The non-zero activations of one feature, in sample order.

    sample_ids: integer (int32, or int64 from 2**31 samples on), shape (n_active,), strictly increasing.
    values: float32, shape (n_active,), every value > 0 and finite.
    """

    sample_ids: npt.NDArray[np.integer[Any]]
    values: npt.NDArray[np.float32]

    @property
    def n_active(self) -> int:
        """The number of samples on which the feature fires."""
        return int(self.values.size)

    @classmethod
    def from_dense(cls, row: npt.NDArray[np.float32]) -> "Activations":
        """The activations of a dense row over all samples; raises InvalidActivationsError for negative or non-finite."""
        if not np.isfinite(row).all() or (row < 0).any():
            raise InvalidActivationsError("a dense row holds a negative, NaN or infinite activation")
        sample_ids: npt.NDArray[np.integer[Any]] = np.flatnonzero(row).astype(sample_id_dtype(row.size))
        return cls(sample_ids, np.ascontiguousarray(row[sample_ids], dtype=np.float32))


@dataclass(frozen=True, slots=True)
class SampleFeatures:
    """The features that fire on one sample, in feature order.

    feature_ids: integer (uint16, or int32 above 65,536 features), shape (n_active,), strictly increasing.
    values: float32, shape (n_active,), every value > 0 and finite.
    """

    feature_ids: npt.NDArray[np.integer[Any]]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SparseRows:
    """A block of consecutive samples in CSR form.

    indptr: int64, shape (n_rows + 1,), starts at 0. feature_ids: integer, shape (nnz,), strictly increasing within a row.
    values: float32, shape (nnz,), every value > 0 and finite.
    """

    indptr: npt.NDArray[np.int64]
    feature_ids: npt.NDArray[np.integer[Any]]
    values: npt.NDArray[np.float32]

    @property
    def n_rows(self) -> int:
        """The number of samples in the block."""
        return int(self.indptr.size - 1)

    @property
    def nnz(self) -> int:
        """The number of activations in the block."""
        return int(self.values.size)

    def row(self, i: int) -> SampleFeatures:
        """Row i of the block."""
        lo, hi = self.indptr[i], self.indptr[i + 1]
        return SampleFeatures(self.feature_ids[lo:hi], self.values[lo:hi])

    def slice(self, start: int, stop: int) -> "SparseRows":
        """Rows start..stop - 1 as a block of their own (views, not copies, of ids and values)."""
        lo, hi = self.indptr[start], self.indptr[stop]
        return SparseRows(self.indptr[start : stop + 1] - lo, self.feature_ids[lo:hi], self.values[lo:hi])

    def to_dense(self, n_features: int) -> npt.NDArray[np.float32]:
        """The block as float32, shape (n_rows, n_features): for one block, never for a dataset."""
        dense = np.zeros((self.n_rows, n_features), dtype=np.float32)
        rows = np.repeat(np.arange(self.n_rows), np.diff(self.indptr))
        dense[rows, self.feature_ids] = self.values
        return dense

    @classmethod
    def from_dense(cls, block: npt.NDArray[np.float32]) -> "SparseRows":
        """A dense block's values > 0; raises InvalidActivationsError for negative or non-finite ones."""
        if not np.isfinite(block).all() or (block < 0).any():
            raise InvalidActivationsError("a dense block holds a negative, NaN or infinite activation")
        rows, feature_ids = np.nonzero(block)
        indptr = np.zeros(block.shape[0] + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=block.shape[0]), out=indptr[1:])
        dtype = feature_id_dtype(block.shape[1])
        return cls(indptr, feature_ids.astype(dtype), np.ascontiguousarray(block[rows, feature_ids], dtype=np.float32))

    def validate(self, n_features: int, where: str) -> None:
        """Raise InvalidActivationsError, naming the first bad row of `where`, unless every promise above holds."""
        if self.indptr[0] != 0 or self.indptr[-1] != self.nnz or self.feature_ids.size != self.nnz:
            raise InvalidActivationsError(f"{where}: indptr does not span the {counted(self.nnz, 'activations')}")
        if (np.diff(self.indptr) < 0).any():
            raise InvalidActivationsError(f"{where}: indptr decreases")
        bad = ~(np.isfinite(self.values) & (self.values > 0))
        ids = self.feature_ids.astype(np.int64)
        bad |= (ids < 0) | (ids >= n_features)
        starts = np.zeros(self.nnz, dtype=bool)
        starts[self.indptr[:-1][self.indptr[:-1] < self.nnz]] = True
        bad[1:] |= (np.diff(ids) <= 0) & ~starts[1:]
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            row = int(np.searchsorted(self.indptr, at, side="right") - 1)
            raise InvalidActivationsError(
                f"{where}: row {row} holds feature {int(ids[at])} with value {float(self.values[at])}; values must be finite "
                f"and > 0, and ids strictly increasing within 0 to {n_features - 1}"
            )


def checked_id(what: str, value: int) -> int:
    """The id itself as an int; InputError for anything but a whole number. what: feature or sample."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise InputError(f"{value!r} is not a {what} id: a {what} is named by a whole number") from error


def feature_id_dtype(n_features: int) -> type[np.uint16] | type[np.int32]:
    """The dtype in which a store of n_features keeps feature ids."""
    return np.uint16 if n_features <= 2**16 else np.int32


def sample_id_dtype(n_samples: int) -> type[np.int32] | type[np.int64]:
    """The dtype in which a store of n_samples keeps sample ids."""
    return np.int32 if n_samples < 2**31 else np.int64


class ActivationReader(Protocol):
    """Random access by feature, for any layout."""

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        ...

    @property
    def n_samples(self) -> int:
        """The number of samples, those without any activation included."""
        ...

    def read(self, feature_id: int) -> Activations:
        """One feature; raises FeatureNotFoundError when feature_id is outside 0..n_features - 1."""
        ...


class RowReader(Protocol):
    """Access by sample, in order."""

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        ...

    @property
    def n_samples(self) -> int:
        """The number of samples, those without any activation included."""
        ...

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples, from 0 on, in blocks of block_rows (the last one may be shorter)."""
        ...
