"""Rows from a reader that has only features: one pass over the features into buckets of samples on disk, then bucket by bucket.

Memory is bounded by a block of features and by one bucket; the scratch folder takes 12 bytes an activation.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from splat_assets.store.activations import ActivationReader, BlockRows, SparseRows, feature_id_dtype, offsets_of
from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

_ENTRY = np.dtype([("row", "<i4"), ("feature", "<i4"), ("value", "<f4")])
_BUCKET_ROWS = 4_096
_BLOCK_NNZ = 4_000_000
_MAX_IDS = 2**31


def feature_rows(
    reader: ActivationReader,
    scratch: Path,
    progress: Progress | None = None,
    bucket_rows: int = _BUCKET_ROWS,
    block_nnz: int = _BLOCK_NNZ,
) -> BlockRows:
    """The samples of a reader by feature as rows, which can be read more than once.

    Every feature is read now, once, into one file per bucket_rows samples in scratch (an empty folder of the caller's).
    Raises LayoutError from 2**31 samples or features on, which an entry cannot hold.
    """
    n_samples, n_features = reader.n_samples, reader.n_features
    if max(n_samples, n_features) >= _MAX_IDS:
        raise LayoutError(
            f"{counted(n_samples, 'samples')} x {counted(n_features, 'features')} are too many to be read by feature: "
            f"there must be fewer than {_MAX_IDS} of either"
        )
    buckets = [scratch / f"bucket-{number:06d}" for number in range(-(-n_samples // bucket_rows))]
    n_entries = np.zeros(len(buckets), dtype=np.int64)
    pending: list[npt.NDArray[np.void]] = []
    n_pending = 0
    with (progress or SilentProgress()).task("reading features", n_features, "features") as task:
        for feature_id in range(n_features):
            pending.append(_entries(reader, feature_id))
            n_pending += pending[-1].size
            if n_pending >= block_nnz or feature_id == n_features - 1:
                n_entries += _spilled(np.concatenate(pending), buckets, bucket_rows)
                pending, n_pending = [], 0
            task.advance(1)

    def blocks() -> Iterator[SparseRows]:
        for number, path in enumerate(buckets):
            n_rows = min(bucket_rows, n_samples - number * bucket_rows)
            yield _by_row(_entries_in(path, int(n_entries[number])), n_rows, n_features)

    return BlockRows(n_samples, n_features, blocks)


def _spilled(entries: npt.NDArray[np.void], buckets: Sequence[Path], bucket_rows: int) -> npt.NDArray[np.int64]:
    """Append to each bucket its entries, in feature order and with rows counted in the bucket; how many each got."""
    bucket = entries["row"] // bucket_rows
    entries["row"] -= bucket * bucket_rows
    order = np.argsort(bucket, kind="stable")
    counts = np.bincount(bucket, minlength=len(buckets))
    ends = offsets_of(counts)
    for number in np.flatnonzero(counts).tolist():
        with buckets[number].open("ab") as handle:
            entries[order[ends[number] : ends[number + 1]]].tofile(handle)
    return counts


def _entries_in(path: Path, expected: int) -> npt.NDArray[np.void]:
    if not expected:
        return np.empty(0, dtype=_ENTRY)
    size = path.stat().st_size if path.exists() else 0
    if size != expected * _ENTRY.itemsize:
        raise CorruptStoreError(
            f"{path} has {size} bytes where {expected * _ENTRY.itemsize} were written: something else changed this "
            "scratch file; import again"
        )
    return np.fromfile(path, dtype=_ENTRY)


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
