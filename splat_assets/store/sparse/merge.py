"""Writes the sparse store from rows: transpose segment by segment, then join the segments feature by feature.

A segment is a run of consecutive samples, as large as the memory limit allows, transposed in memory and kept on disk until
it is merged. It is written whole with a receipt, so that a merge that was interrupted goes on where it stopped. Which
segments there are does not change a byte of the merged store.

Nothing is sorted: within a feature, sample ids grow from segment to segment as they do in the source. Memory is bounded by a
segment, by a block of features and by the shards being filled, never by the dataset. Reading is in `sparse`.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from splat_assets.store.activations import (
    RowReader,
    SparseRows,
    Written,
    feature_id_dtype,
    joined,
    offsets_of,
    sample_id_dtype,
)
from splat_assets.store.checksums import crc32c_of_bytes, crc32c_of_ranges
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import read_json
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError
from splat_assets.store.files import files_below, remove_leftovers, replacing_folder
from splat_assets.store.npy import NpyFile
from splat_assets.store.sparse.layout import (
    BY_FEATURE,
    BY_SAMPLE,
    Chunking,
    Profile,
    SparseLayout,
    blocks_of,
    checked_profile,
)
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

MEMORY_LIMIT_BYTES = 512 * 2**20

_SEGMENTS_PREFIX = ".staging-segments-"

# Bytes per activation alive at the peak of a phase. A segment: rows read (6), joined (6), ids widened (4), transposed (8); a
# row of it takes as much for its offsets: read (8), joined (24).
# A block of features: parts (8), concatenated (8), joined (8), and as much again while the next ones are read.
_SEGMENT_BYTES = 32
_BLOCK_BYTES = 64
_RECEIPT = "receipt.json"
_PLAN = "plan.json"
_FORMAT_VERSION = 1
_MOST_BLOCK_ROWS = 4096


@runtime_checkable
class ResumableRows(Protocol):
    """Rows that can be read from the middle and say what they are, so that a later run may go on with them."""

    @property
    def fingerprint(self) -> str:
        """sha256 of the rows."""
        ...

    def rows(self, block_rows: int, start: int = 0) -> Iterator[SparseRows]:
        """All samples from `start` on."""
        ...


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples first_row..first_row + n_rows - 1 by feature, in a folder of their own."""

    folder: Path
    first_row: int
    n_rows: int
    n_features: int
    nnz: int

    def indptr(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Where features first..last - 1 start and end within the segment: int64, shape (last - first + 1,)."""
        indptr: npt.NDArray[np.int64] = NpyFile(self.folder / "indptr.npy").read(first, last + 1)
        return indptr

    def features(self, first: int, last: int) -> sp.csr_array:
        """Features first..last - 1 as a scipy matrix, shape (last - first, n_rows): a row is a feature."""
        indptr = self.indptr(first, last)
        lo, hi = int(indptr[0]), int(indptr[-1])
        ids = NpyFile(self.folder / "sample_ids.npy").read(lo, hi)
        values = NpyFile(self.folder / "values.npy").read(lo, hi)
        return sp.csr_array((values, ids, indptr - lo), shape=(last - first, self.n_rows))

    def rows(self) -> SparseRows:
        """The segment's samples, as they came."""
        names = ("row_indptr", "row_feature_ids", "row_values")
        return SparseRows(*(NpyFile(self.folder / f"{name}.npy").read_all() for name in names))


def build_segments(source: RowReader, folder: Path, nnz_per_segment: int, progress: Progress) -> list[Segment]:
    """Read the source once and write its segments below folder; those of an interrupted run on the same rows are kept.

    nnz_per_segment: how many activations fill one; a row counts as one more, for its offsets take as much memory.

    Raises InvalidActivationsError when a row breaks a promise of the store or the source ends early or late.
    """
    block_rows = max(1, min(_MOST_BLOCK_ROWS, nnz_per_segment // max(1, source.n_features)))
    segments = _segments_to_keep(source, folder, nnz_per_segment)
    at = segments[-1].first_row + segments[-1].n_rows if segments else 0
    with progress.task("transpose segments", source.n_samples, "samples") as task:
        task.advance(at)
        for run in _runs(_blocks(source, block_rows, at), nnz_per_segment):
            segments.append(_write_segment(folder / f"segment-{len(segments):05d}", run, at, source.n_features))
            at += segments[-1].n_rows
            task.advance(segments[-1].n_rows)
    if at != source.n_samples:
        raise InvalidActivationsError(f"the source ended after {at} of {counted(source.n_samples, 'samples')}")
    return segments


def _blocks(source: RowReader, block_rows: int, start: int) -> Iterator[SparseRows]:
    at = start
    blocks = source.rows(block_rows, start) if isinstance(source, ResumableRows) else source.rows(block_rows)
    for block in blocks:
        block.validate(source.n_features, f"samples {at} to {at + block.n_rows - 1}")
        yield block
        at += block.n_rows


def _runs(blocks: Iterator[SparseRows], most: int) -> Iterator[list[SparseRows]]:
    """Blocks in runs of at most so many activations and rows together, at least one block each."""
    run: list[SparseRows] = []
    size = 0
    for block in blocks:
        if run and size + block.nnz + block.n_rows > most:
            yield run
            run, size = [], 0
        run.append(block)
        size += block.nnz + block.n_rows
    if run:
        yield run


def _by_feature(rows: SparseRows, n_features: int) -> sp.csr_array:
    """The rows by feature: shape (n_features, n_rows), sample ids in order because scipy's transpose is stable."""
    # scipy wants ids and indptr of one dtype: int32 is enough for one segment, whatever the size of the dataset.
    dtype = np.int32 if rows.nnz < 2**31 else np.int64
    ids, indptr = rows.feature_ids.astype(dtype), rows.indptr.astype(dtype)
    return sp.csr_array((rows.values, ids, indptr), shape=(rows.n_rows, n_features)).tocsc().T


def _write_segment(folder: Path, blocks: list[SparseRows], first_row: int, n_features: int) -> Segment:
    """Write both orientations, then the receipt: a segment without one, or with other bytes than it states, is not used.

    Nothing is flushed to disk: what a power cut takes away fails the receipt's checksums and is made again.
    """
    rows = joined(blocks)
    blocks.clear()
    matrix = _by_feature(rows, n_features)
    parts: dict[str, npt.NDArray[Any]] = {
        "row_indptr": rows.indptr,
        "row_feature_ids": rows.feature_ids,
        "row_values": rows.values,
        "indptr": matrix.indptr.astype(np.int64),
        "sample_ids": matrix.indices,
        "values": matrix.data,
    }
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, part in parts.items():
        np.save(folder / f"{name}.npy", part)
    crcs = {name: crc32c_of_bytes(np.ascontiguousarray(part)) for name, part in parts.items()}
    facts = {"first_row": first_row, "n_rows": rows.n_rows, "nnz": rows.nnz, "crc32c": crcs}
    (folder / _RECEIPT).write_text(json.dumps(facts), encoding="utf-8")
    return Segment(folder, first_row, rows.n_rows, n_features, rows.nnz)


def _segments_to_keep(source: RowReader, folder: Path, nnz_per_segment: int) -> list[Segment]:
    """The valid segments of an interrupted run, from sample 0 on; everything else in folder is removed."""
    plan = None
    if isinstance(source, ResumableRows):
        sizes = {"n_samples": source.n_samples, "n_features": source.n_features, "nnz_per_segment": nnz_per_segment}
        plan = {"source": source.fingerprint, **sizes, "format_version": _FORMAT_VERSION}
    kept: list[Segment] = []
    if plan is not None and _read_json(folder / _PLAN) == plan:
        while (segment := _valid_segment(folder, kept, source.n_features)) is not None:
            kept.append(segment)
        return kept
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if plan is not None:
        (folder / _PLAN).write_text(json.dumps(plan), encoding="utf-8")
    return kept


def _valid_segment(folder: Path, before: list[Segment], n_features: int) -> Segment | None:
    path = folder / f"segment-{len(before):05d}"
    receipt = _read_json(path / _RECEIPT)
    if receipt is None or receipt["first_row"] != (before[-1].first_row + before[-1].n_rows if before else 0):
        return None
    for name, crc in receipt["crc32c"].items():
        try:
            if crc32c_of_bytes(NpyFile(path / f"{name}.npy").read_all()) != crc:
                return None
        except CorruptStoreError:
            return None
    return Segment(path, receipt["first_row"], receipt["n_rows"], n_features, receipt["nnz"])


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return dict(read_json(path))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_sparse_store(
    source: RowReader,
    target: Path | str,
    profile: str = "raw",
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    progress: Progress | None = None,
    scratch: Path | None = None,
    chunking: Chunking | None = None,
) -> Written:
    """Write `activations.zarr` at target, both orientations, from the source's rows; target appears whole or not at all.

    The same rows give the same bytes whatever the limit, the scratch folder, and the kills on the way.

    Args:
        source: the activations by sample; read once.
        profile: `raw` (uncompressed, read by byte range) or `compact` (pcodec).
        memory_limit_bytes: bounds segments and blocks (`compact` also holds two shards and what zarr copies of them, about
            200 MB).
        scratch: where to keep segments, as large as the raw store; by default beside target. They are removed at the end;
            after a kill the next call goes on with the finished ones, when the source says what it is (`RawActivations` does).
        chunking: elements per chunk and shard of the arrays.

    Raises:
        InputError: an unknown profile.
        InvalidActivationsError: a row breaks a promise of `SparseRows`, or the source ends early or late.
        DiskFullError: the disk is full.

    Examples:
        >>> block = SparseRows.from_dense(np.array([[0, 2.5], [1, 0], [0, 0.5]], np.float32))
        >>> write_sparse_store(BlockRows(3, 2, lambda: [block]), folder / "activations.zarr").nnz
        3
        >>> SparseReader(folder / "activations.zarr").read(1)
        Activations(sample_ids=array([0, 2], dtype=int32), values=array([2.5, 0.5], dtype=float32))
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
) -> Written:
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
    return Written(source.n_samples, source.n_features, nnz, size_bytes)


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
