"""Writes the sparse store from rows: transpose segment by segment, then join the segments feature by feature.

Nothing is sorted: within a feature, sample ids grow from segment to segment as they do in the source. Memory is bounded by a
segment, by a block of features and by the shards being filled, never by the dataset. Reading is in `sparse`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from splat_assets.progress import Progress, SilentProgress
from splat_assets.store.activations import RowReader, feature_id_dtype, offsets_of, sample_id_dtype
from splat_assets.store.checksums import crc32c_of_ranges
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.files import files_below, remove_leftovers, replacing_folder
from splat_assets.store.sparse.layout import (
    BY_FEATURE,
    BY_SAMPLE,
    Chunking,
    Profile,
    SparseLayout,
    blocks_of,
    checked_profile,
)
from splat_assets.store.sparse.segments import ResumableRows, Segment, build_segments

MEMORY_LIMIT_BYTES = 512 * 2**20

_SEGMENTS_PREFIX = ".staging-segments-"

# Bytes per activation alive at the peak of a phase. A segment: rows read (6), joined (6), ids widened (4), transposed (8); a
# row of it takes as much for its offsets: read (8), joined (24).
# A block of features: parts (8), concatenated (8), joined (8), and as much again while the next ones are read.
_SEGMENT_BYTES = 32
_BLOCK_BYTES = 64


@dataclass(frozen=True, slots=True)
class SparseWritten:
    """The size of the written store."""

    n_samples: int
    n_features: int
    nnz: int
    size_bytes: int


def write_sparse_store(
    source: RowReader,
    target: Path | str,
    profile: str = "raw",
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    progress: Progress | None = None,
    scratch: Path | None = None,
    chunking: Chunking | None = None,
) -> SparseWritten:
    """Write `activations.zarr` at target, both orientations, from the source's rows; target appears whole or not at all.

    profile: `raw` (uncompressed, read by byte range) or `compact` (pcodec). memory_limit_bytes: bounds segments and blocks
    (`compact` also holds two shards and what zarr copies of them, about 200 MB). scratch: where to keep segments, as large as
    the raw store; by default beside target. They are removed at the end; after a kill the next call goes on with the
    finished ones, when the source says what it is (`RawActivations` does). The same rows give the same bytes
    whatever the limit, the scratch folder, and the kills on the way.

    Raises InputError for an unknown profile, InvalidActivationsError for rows that break a promise, DiskFullError.
    """
    target = Path(target)
    progress = progress or SilentProgress()
    checked = checked_profile(profile)
    segments_folder = (scratch or target.parent) / f"{_SEGMENTS_PREFIX}{target.name}"
    remove_leftovers(target.parent, target.name)
    resumable = isinstance(source, ResumableRows)
    finished = False
    try:
        with explaining_write_errors("the sparse store", target.parent):
            segments = build_segments(source, segments_folder, max(1, memory_limit_bytes // _SEGMENT_BYTES), progress)
            written = _write_from_segments(
                segments, source, target, checked, chunking or Chunking(), memory_limit_bytes, progress
            )
        finished = True
    finally:
        if finished or not resumable:
            shutil.rmtree(segments_folder, ignore_errors=True)
    return written


def _write_from_segments(
    segments: list[Segment],
    source: RowReader,
    target: Path,
    profile: Profile,
    chunking: Chunking,
    memory_limit_bytes: int,
    progress: Progress,
) -> SparseWritten:
    nnz = sum(segment.nnz for segment in segments)
    facts = {
        "n_samples": source.n_samples,
        "n_features": source.n_features,
        "nnz": nnz,
        "source": source.fingerprint if isinstance(source, ResumableRows) else None,
    }
    with replacing_folder(target) as aside:
        layout = SparseLayout(aside, source.n_samples, source.n_features, profile, chunking)
        _write_by_sample(layout, segments, source, nnz, progress)
        _write_by_feature(layout, segments, source, nnz, max(1, memory_limit_bytes // _BLOCK_BYTES), progress)
        layout.finish(facts)
        size_bytes = sum(path.stat().st_size for path in files_below(aside))
    return SparseWritten(source.n_samples, source.n_features, nnz, size_bytes)


def _write_by_sample(
    layout: SparseLayout, segments: list[Segment], source: RowReader, nnz: int, progress: Progress
) -> None:
    ids = layout.array(f"{BY_SAMPLE}/indices", nnz, feature_id_dtype(source.n_features), "nnz", packed=True)
    values = layout.array(f"{BY_SAMPLE}/data", nnz, np.float32, "nnz", packed=True)
    n_active = np.zeros(source.n_samples, dtype=np.int32)
    crcs = np.zeros(source.n_samples, dtype=np.uint32)
    with progress.task("write by sample", nnz, "activations") as task:
        for segment in segments:
            rows = segment.rows()
            feature_ids = rows.feature_ids.astype(feature_id_dtype(source.n_features), copy=False)
            ids.append(feature_ids)
            values.append(rows.values)
            own = slice(segment.first_row, segment.first_row + segment.n_rows)
            n_active[own] = np.diff(rows.indptr)
            crcs[own] = crc32c_of_ranges(rows.indptr, feature_ids, rows.values)
            task.advance(segment.nnz)
    ids.close()
    values.close()
    layout.whole(f"{BY_SAMPLE}/indptr", offsets_of(n_active), "indptr")
    layout.whole("obs/n_active", n_active, "sample")
    layout.whole("obs/crc32c", crcs, "sample")


def _write_by_feature(
    layout: SparseLayout, segments: list[Segment], source: RowReader, nnz: int, block_nnz: int, progress: Progress
) -> None:
    n_active = np.zeros(source.n_features, dtype=np.int64)
    for segment in segments:
        n_active += np.diff(segment.indptr(0, source.n_features))
    indptr = offsets_of(n_active)
    id_dtype = sample_id_dtype(source.n_samples)
    ids = layout.array(f"{BY_FEATURE}/indices", nnz, id_dtype, "nnz", packed=True)
    values = layout.array(f"{BY_FEATURE}/data", nnz, np.float32, "nnz", packed=True)
    crcs = [np.zeros(0, np.uint32)]
    with progress.task("write by feature", nnz, "activations") as task:
        for first, last in blocks_of(indptr, block_nnz):
            sample_ids, joined = _joined([segment.features(first, last) for segment in segments])
            sample_ids = sample_ids.astype(id_dtype, copy=False)
            ids.append(sample_ids)
            values.append(joined)
            crcs.append(crc32c_of_ranges(indptr[first : last + 1] - indptr[first], sample_ids, joined))
            task.advance(joined.size)
    ids.close()
    values.close()
    layout.whole(f"{BY_FEATURE}/indptr", indptr, "indptr")
    layout.whole("var/n_active", n_active, "feature")
    layout.whole("var/crc32c", np.concatenate(crcs), "feature")


def _joined(parts: list[sp.csr_array]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """Sample ids and values of a block of features over all segments, feature by feature, ids shifted to the dataset's."""
    if not parts:
        return np.zeros(0, np.int32), np.zeros(0, np.float32)
    whole = parts[0] if len(parts) == 1 else sp.hstack(parts, format="csr")
    return whole.indices, whole.data
