"""Rows from a reader that has only features: one pass over the features into buckets of samples on disk, then bucket by bucket.

Memory is bounded by a block of features and by one bucket; the scratch folder takes 12 bytes an activation.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from splat_assets.progress import Progress, SilentProgress
from splat_assets.store.activations import ActivationReader, SparseRows, feature_id_dtype
from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.row_blocks import regrouped
from splat_assets.wording import counted

_ENTRY = np.dtype([("row", "<i4"), ("feature", "<i4"), ("value", "<f4")])
_BUCKET_ROWS = 4_096
_BLOCK_NNZ = 4_000_000
_MAX_IDS = 2**31


class FeatureRows:
    """The samples of a reader by feature, as blocks of rows."""

    def __init__(
        self,
        reader: ActivationReader,
        scratch: Path,
        progress: Progress | None = None,
        bucket_rows: int = _BUCKET_ROWS,
        block_nnz: int = _BLOCK_NNZ,
    ) -> None:
        """Read every feature once, into one file per bucket_rows samples in scratch (an empty folder of the caller's).

        Raises LayoutError from 2**31 samples or features on, which an entry cannot hold.
        """
        self._scratch = scratch
        self._bucket_rows = bucket_rows
        self._n_samples, self._n_features = reader.n_samples, reader.n_features
        if max(self._n_samples, self._n_features) >= _MAX_IDS:
            raise LayoutError(
                f"{counted(self._n_samples, 'samples')} x {counted(self._n_features, 'features')} are too many "
                f"to be read by feature: "
                f"there must be fewer than {_MAX_IDS} of either"
            )
        self._n_entries = np.zeros(-(-self._n_samples // bucket_rows), dtype=np.int64)
        pending: list[npt.NDArray[np.void]] = []
        n_pending = 0
        with (progress or SilentProgress()).task("reading features", reader.n_features, "features") as task:
            for feature_id in range(reader.n_features):
                pending.append(_entries(reader, feature_id))
                n_pending += pending[-1].size
                if n_pending >= block_nnz:
                    self._spill(np.concatenate(pending))
                    pending, n_pending = [], 0
                task.advance(1)
        if n_pending:
            self._spill(np.concatenate(pending))

    @property
    def n_features(self) -> int:
        """The number of features."""
        return self._n_features

    @property
    def n_samples(self) -> int:
        """The number of samples."""
        return self._n_samples

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples from 0 on in blocks of block_rows (the last may be shorter)."""
        sizes = (min(block_rows, self._n_samples - at) for at in range(0, self._n_samples, block_rows))
        return regrouped(self._buckets(), sizes)

    def _spill(self, entries: npt.NDArray[np.void]) -> None:
        """Append to each bucket its entries, which stay in feature order; rows become those within the bucket."""
        bucket = entries["row"] // self._bucket_rows
        entries["row"] -= bucket * self._bucket_rows
        order = np.argsort(bucket, kind="stable")
        counts = np.bincount(bucket, minlength=self._n_entries.size)
        self._n_entries += counts
        ends = np.cumsum(counts)
        for number, (lo, hi) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)):
            if hi > lo:
                with self._file(number).open("ab") as handle:
                    entries[order[lo:hi]].tofile(handle)

    def _buckets(self) -> Iterator[SparseRows]:
        for number, first in enumerate(range(0, self._n_samples, self._bucket_rows)):
            n_rows = min(self._bucket_rows, self._n_samples - first)
            yield _by_row(self._entries_of(number), n_rows, self._n_features)

    def _entries_of(self, bucket: int) -> npt.NDArray[np.void]:
        path, expected = self._file(bucket), int(self._n_entries[bucket])
        if not expected:
            return np.empty(0, dtype=_ENTRY)
        size = path.stat().st_size if path.exists() else 0
        if size != expected * _ENTRY.itemsize:
            raise CorruptStoreError(
                f"{path} has {size} bytes where {expected * _ENTRY.itemsize} were written: something else changed this "
                "scratch file; import again"
            )
        return np.fromfile(path, dtype=_ENTRY)

    def _file(self, bucket: int) -> Path:
        return self._scratch / f"bucket-{bucket:06d}"


def _entries(reader: ActivationReader, feature_id: int) -> npt.NDArray[np.void]:
    activations = reader.read(feature_id)
    entries = np.empty(activations.n_active, dtype=_ENTRY)
    entries["row"], entries["feature"], entries["value"] = activations.sample_ids, feature_id, activations.values
    return entries


def _by_row(entries: npt.NDArray[np.void], n_rows: int, n_features: int) -> SparseRows:
    """Entries in feature order as rows: scipy counts them into rows and keeps the order within each."""
    shape = (n_rows, max(n_features, 1))
    matrix = sp.coo_array((entries["value"], (entries["row"], entries["feature"])), shape=shape).tocsr()
    ids = matrix.indices.astype(feature_id_dtype(n_features))
    return SparseRows(matrix.indptr.astype(np.int64), ids, matrix.data.astype(np.float32, copy=False))
