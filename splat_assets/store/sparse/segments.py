"""Segments: runs of consecutive samples, transposed in memory and kept on disk until they are merged.

Each segment is as large as the memory limit allows. It is written whole with a receipt, so that a merge that was interrupted
goes on where it stopped. Which segments there are does not change a byte of the merged store.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from splat_assets.progress import Progress
from splat_assets.store.activations import RowReader, SparseRows, joined
from splat_assets.store.checksums import crc32c_of_bytes
from splat_assets.store.documents import read_json
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError
from splat_assets.store.npy import NpyFile
from splat_assets.wording import counted

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


@dataclass(frozen=True, slots=True)
class _Plan:
    """What segments in a folder are segments of; other ones are of no use."""

    source: str
    n_samples: int
    n_features: int
    nnz_per_segment: int
    format_version: int = _FORMAT_VERSION


def _segments_to_keep(source: RowReader, folder: Path, nnz_per_segment: int) -> list[Segment]:
    """The valid segments of an interrupted run, from sample 0 on; everything else in folder is removed."""
    plan = None
    if isinstance(source, ResumableRows):
        plan = asdict(_Plan(source.fingerprint, source.n_samples, source.n_features, nnz_per_segment))
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
