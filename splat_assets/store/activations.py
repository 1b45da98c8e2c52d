"""The values passed between readers, writers and computations on activations.

Three frozen shapes of the same fact, value > 0 of a feature on a sample: by feature (`Activations`), by sample
(`SampleFeatures`), and a block of samples (`SparseRows`). The protocols define what a reader promises. No I/O here.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from splat_assets.errors import InputError
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError
from splat_assets.text.wording import counted


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
    def from_dense(cls, row: npt.NDArray[np.float32], where: str = "a dense row") -> "Activations":
        """The activations of one feature's dense values over all samples; InvalidActivationsError names a bad one's sample."""
        sample_ids = np.flatnonzero(row != 0)
        values = row[sample_ids]
        _refuse_invalid(values, lambda i: f"{where}: sample {sample_ids[i]}")
        return cls(sample_ids.astype(sample_id_dtype(row.size)), values)


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
    def from_dense(
        cls, block: npt.NDArray[np.float32], where: str = "a dense block", first_row: int = 0
    ) -> "SparseRows":
        """The activations of a dense block; InvalidActivationsError names the row (counted from first_row) of a bad value."""
        n_rows, n_columns = block.shape
        flat = np.ascontiguousarray(block).reshape(-1)
        at = np.flatnonzero(flat != 0)
        values = flat[at]
        rows, feature_ids = np.divmod(at, max(n_columns, 1))
        _refuse_invalid(values, lambda i: f"{where}: row {first_row + rows[i]}, feature {feature_ids[i]}")
        indptr = offsets_of(np.bincount(rows, minlength=n_rows))
        return cls(indptr, feature_ids.astype(feature_id_dtype(n_columns)), values)

    def validate(self, n_features: int, where: str) -> None:
        """Raise InvalidActivationsError, naming the first bad row of `where`, unless every promise above holds."""
        if self.indptr[0] != 0 or self.indptr[-1] != self.nnz or self.feature_ids.size != self.nnz:
            raise InvalidActivationsError(f"{where}: indptr does not span the {counted(self.nnz, 'activations')}")
        if (np.diff(self.indptr) < 0).any():
            raise InvalidActivationsError(f"{where}: indptr decreases")
        at = first_invalid(self.indptr, self.feature_ids, self.values, n_features)
        if at is not None:
            row = int(np.searchsorted(self.indptr, at, side="right") - 1)
            raise InvalidActivationsError(
                f"{where}: row {row} holds feature {int(self.feature_ids[at])} with value {float(self.values[at])}; values "
                f"must be finite and > 0, and ids strictly increasing within 0 to {n_features - 1}"
            )


def first_invalid(
    indptr: npt.NDArray[np.int64],
    ids: npt.NDArray[np.integer[Any]],
    values: npt.NDArray[np.floating[Any]],
    n_ids: int,
) -> int | None:
    """The first position of ranges of ids and values at which a promise is broken; None where all of them hold.

    Values are finite and > 0; ids are within 0 to n_ids - 1 and increase strictly within a range.
    """
    bad = ~(np.isfinite(values) & (values > 0))
    wide = ids.astype(np.int64)
    bad |= (wide < 0) | (wide >= n_ids)
    starts = np.zeros(wide.size + 1, dtype=bool)
    starts[indptr] = True
    bad[1:] |= (np.diff(wide) <= 0) & ~starts[1:-1]
    return int(np.argmax(bad)) if bad.any() else None


def _refuse_invalid(values: npt.NDArray[np.float32], where: Callable[[int], str]) -> None:
    valid = np.isfinite(values) & (values > 0)
    if not valid.all():
        first = int(np.argmin(valid))
        raise InvalidActivationsError(
            f"{where(first)} holds {float(values[first])}; an activation must be finite and not negative"
        )


def joined(blocks: Sequence[SparseRows]) -> SparseRows:
    """Consecutive blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    return SparseRows(
        offsets_of(np.concatenate([np.empty(0, np.int64), *(np.diff(block.indptr) for block in blocks)])),
        np.concatenate([block.feature_ids for block in blocks]),
        np.concatenate([block.values for block in blocks]),
    )


def regrouped(blocks: Iterable[SparseRows], sizes: Iterable[int]) -> Iterator[SparseRows]:
    """The same rows in blocks of these sizes (each > 0); CorruptStoreError when the rows run out or some are left."""
    incoming = iter(blocks)
    pending: list[SparseRows] = []
    n_taken = 0
    for size in sizes:
        n_pending = sum(block.n_rows for block in pending)
        while n_pending < size:
            block = next(incoming, None)
            if block is None:
                raise CorruptStoreError(
                    f"the source ended after {counted(n_taken + n_pending, 'rows')}; more were expected"
                )
            pending.append(block)
            n_pending += block.n_rows
        whole = joined(pending)
        yield whole.slice(0, size)
        pending = [whole.slice(size, whole.n_rows)] if whole.n_rows > size else []
        n_taken += size
    if pending or any(block.n_rows for block in incoming):
        raise CorruptStoreError(f"the source has more rows than the {n_taken} that were expected")


Values = TypeVar("Values", Activations, SampleFeatures, SparseRows)


@dataclass(frozen=True, slots=True)
class BlockRows:
    """Rows that a source gives in blocks of its own size, as a `RowReader`. blocks: begins a pass over all samples.

    Examples:
        >>> block = SparseRows.from_dense(np.array([[0, 2.5], [1, 0], [0, 0.5]], np.float32))
        >>> [rows.n_rows for rows in BlockRows(3, 2, lambda: [block]).rows(2)]
        [2, 1]
    """

    n_samples: int
    n_features: int
    blocks: Callable[[], Iterable[SparseRows]]

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples from 0 on in blocks of block_rows (the last may be shorter)."""
        sizes = (min(block_rows, self.n_samples - at) for at in range(0, self.n_samples, block_rows))
        return regrouped(self.blocks(), sizes)


def equal(one: Values, other: Values) -> bool:
    """Whether two values of one of the shapes above hold the same ids and activations, bit for bit."""
    return all(np.array_equal(getattr(one, part.name), getattr(other, part.name)) for part in fields(one))


def offsets_of(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """int64, shape (n + 1,): where each of n runs of these lengths begins, and the total at the end."""
    offsets = np.zeros(lengths.size + 1, dtype=np.int64)
    np.cumsum(lengths, dtype=np.int64, out=offsets[1:])
    return offsets


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


@dataclass(frozen=True, slots=True)
class Written:
    """The size of written activations. size_bytes: of the files, with their headers."""

    n_samples: int
    n_features: int
    nnz: int
    size_bytes: int


class ActivationReader(Protocol):
    """Random access by feature, for any layout.

    An implementer guarantees that the shape never changes, that every read gives the same arrays whatever was read before,
    and that several threads may read at once. Those of this package can be pickled: the copy opens the same path again.
    """

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        ...

    @property
    def n_samples(self) -> int:
        """The number of samples, those without any activation included."""
        ...

    def read(self, feature_id: int) -> Activations:
        """One feature; a feature that never fires gives empty arrays.

        Raises:
            FeatureNotFoundError: feature_id is outside 0..n_features - 1.
            CorruptStoreError: the bytes are damaged; never a shorter answer.
        """
        ...


class RowReader(Protocol):
    """Access by sample, in order. One pass is for one thread; each call of `rows` begins a pass of its own."""

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        ...

    @property
    def n_samples(self) -> int:
        """The number of samples, those without any activation included."""
        ...

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples, from 0 on, in blocks of block_rows (the last one may be shorter).

        Raises CorruptStoreError or InvalidActivationsError at the block that cannot be read.
        """
        ...
