"""Verification of a store. Each function reads the bytes again and returns the problems, one sentence each.

A problem names the file, feature or sample. What files a version must have, and their hashes, is in `manifest`.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.store.activations import RowReader, equal, first_invalid
from splat_assets.store.checksums import mixed_bits
from splat_assets.store.documents import entries
from splat_assets.store.errors import StoreError
from splat_assets.store.samples import SampleTable, checked_samples
from splat_assets.store.sparse.layout import blocks_of
from splat_assets.store.sparse.reader import Orientation, SparseReader
from splat_assets.store.tables import read_table
from splat_assets.text.wording import counted

_BLOCK_NNZ = 2**20
_MOST_NAMED = 20

_ONE_ROW_PER_FEATURE = ("features", "histograms", "influences", "feature_map", "suggested_labels")
_IDS = {
    "examples": {"feature_id": "feature", "sample_id": "sample"},
    "neighbours": {"feature_id": "feature", "other_id": "feature"},
}
"""Columns of a table that hold ids, and whose."""


def sparse_problems(reader: SparseReader) -> list[str]:
    """The problems of a sparse store: checksums, values, order, and whether both orientations hold the same set."""
    by_feature = _Checked(reader.by_feature, reader.n_samples)
    from_features = np.zeros(reader.n_samples, dtype=np.uint64)
    for first, indptr, ids, values in by_feature.blocks():
        feature_ids = np.repeat(np.arange(first, first + indptr.size - 1), np.diff(indptr))
        inside = (ids >= 0) & (ids < reader.n_samples)
        np.add.at(from_features, ids[inside], _mixed(feature_ids[inside], values[inside]))
    try:
        by_sample = _Checked(reader.by_sample, reader.n_features)
    except StoreError as error:
        return [*by_feature.problems, str(error)]
    from_samples = np.zeros(reader.n_samples, dtype=np.uint64)
    for first, indptr, ids, values in by_sample.blocks():
        running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mixed(ids, values), dtype=np.uint64)])
        from_samples[first : first + indptr.size - 1] = running[indptr[1:]] - running[indptr[:-1]]
    problems = by_feature.problems + by_sample.problems
    differing = np.flatnonzero(from_features != from_samples)
    if differing.size and not problems:
        problems.append(
            f"{reader.path}: X and layers/by_sample hold different activations for {_named(differing, 'sample')}"
        )
    return problems


class _Checked:
    """Walks through one orientation block by block and collects its problems."""

    def __init__(self, half: Orientation, n_ids: int) -> None:
        self._half = half
        self._n_ids = n_ids
        self.problems: list[str] = []

    def blocks(self) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.float32]]]:
        """First range, indptr from 0, ids and values of each block that can be read."""
        half = self._half
        for first, last in blocks_of(half.indptr, _BLOCK_NNZ):
            try:
                ids, values = half.read(first, last)
            except StoreError as error:
                self._add(str(error))
                continue
            for wrong in half.wrong(first, last, ids, values):
                self._add(half.corruption_message(int(wrong)))
            indptr = half.indptr[first : last + 1] - half.indptr[first]
            self._check_promises(first, indptr, ids, values)
            yield first, indptr, ids, values

    def _check_promises(
        self, first: int, indptr: npt.NDArray[np.int64], ids: npt.NDArray[Any], values: npt.NDArray[np.float32]
    ) -> None:
        at = first_invalid(indptr, ids, values, self._n_ids)
        if at is not None:
            which = first + int(np.searchsorted(indptr, at, side="right")) - 1
            self._add(
                f"{self._half.what} {which} of {self._half.folder} holds id {int(ids[at])} with value {float(values[at])}: "
                f"values must be finite and > 0, ids strictly increasing and below {self._n_ids}"
            )

    def _add(self, problem: str) -> None:
        if len(self.problems) < _MOST_NAMED:
            self.problems.append(problem)


def rows_that_differ(reader: SparseReader, source: RowReader, block_rows: int = 4096) -> list[int]:
    """The samples whose features or values are not exactly those of the source, the first 20 of them; all rows are compared."""
    differing: list[int] = []
    at = 0
    for ours, theirs in zip_longest(reader.rows(block_rows), source.rows(block_rows)):
        if ours is None or theirs is None or ours.n_rows != theirs.n_rows:
            return [*differing, at]
        if not equal(ours, theirs):
            differing += [at + i for i in range(ours.n_rows) if not equal(ours.row(i), theirs.row(i))]
        if len(differing) >= _MOST_NAMED:
            return differing[:_MOST_NAMED]
        at += ours.n_rows
    return differing


def sample_problems(folder: Path, n_samples: int) -> list[str]:
    """The problems of `samples.parquet` and `samples.arrow` below folder: rows, order, and whether both agree."""
    try:
        frame = checked_samples(read_table(folder / "samples.parquet"), 0, str(folder / "samples.parquet"))
        fast = SampleTable.open(folder / "samples.arrow").all()
    except StoreError as error:
        return [f"{folder}: {error}"]
    if frame.height != n_samples:
        return [f"{folder / 'samples.parquet'} has {counted(frame.height, 'rows')} for {counted(n_samples, 'samples')}"]
    if not frame.equals(fast):
        return [f"{folder / 'samples.arrow'} holds other rows than samples.parquet"]
    return []


def table_problems(folder: Path, reader: SparseReader) -> list[str]:
    """Where tables of a version cannot be read or contradict the activations beside them: ids outside, stale statistics."""
    messages: list[str] = []
    for path in entries(folder):
        if path.suffix != ".parquet" or path.stem == "samples":
            continue
        try:
            table = read_table(path)
        except StoreError as error:
            messages.append(str(error))
            continue
        if path.stem in _ONE_ROW_PER_FEATURE:
            problems = _statistics_problems(table, reader)
        else:
            problems = _id_problems(table, _IDS.get(path.stem, {}), reader)
        messages += [f"{path}: {problem}" for problem in problems]
    return messages


def _statistics_problems(table: pl.DataFrame, reader: SparseReader) -> list[str]:
    if "feature_id" not in table.columns or table["feature_id"].to_list() != list(range(reader.n_features)):
        return [f"its rows are not features 0 to {reader.n_features - 1}"]
    problems = []
    n_active, crc32c = reader.feature_n_active, reader.feature_crc32c.astype(np.int64)
    for column, actual in (("n_active", n_active), ("crc32c", crc32c), ("counts", n_active)):
        if column not in table.columns:
            continue
        stated = table[column]
        if isinstance(stated.dtype, pl.List) and stated.explode().dtype.is_integer():
            stated = stated.list.sum()
        if _is_whole(stated):
            problems += _stale(column, np.flatnonzero(stated.to_numpy().astype(np.int64) != actual))
        else:
            problems.append(_not_whole(stated))
    return problems


def _id_problems(table: pl.DataFrame, columns: Mapping[str, str], reader: SparseReader) -> list[str]:
    problems = []
    for column, what in columns.items():
        n_ids = reader.n_features if what == "feature" else reader.n_samples
        if column not in table.columns:
            problems.append(f"it lacks the column {column}")
            continue
        ids = table[column]
        if not _is_whole(ids):
            problems.append(_not_whole(ids))
        elif outside := ids.filter((ids < 0) | (ids >= n_ids)).to_list():
            problems.append(f"{column} {outside[0]} is outside the {n_ids} {what}s beside it; compute the table again")
    return problems


def _is_whole(column: pl.Series) -> bool:
    return column.dtype.is_integer() and column.null_count() == 0


def _not_whole(column: pl.Series) -> str:
    instead = "missing values" if column.null_count() else f"{column.dtype} values"
    return f"{column.name} holds {instead} instead of whole numbers; compute the table again"


def _stale(column: str, wrong: npt.NDArray[np.intp]) -> list[str]:
    if not wrong.size:
        return []
    return [f"{column} does not match the activations beside it ({_named(wrong, 'feature')}); compute the table again"]


def _named(ids: npt.NDArray[np.intp], what: str) -> str:
    listed = ", ".join(str(int(i)) for i in ids[:5])
    return f"{what} {listed}" + (f" and {ids.size - 5} more" if ids.size > 5 else "")


def _mixed(feature_ids: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash per activation, to be summed: the sum does not depend on the order."""
    return mixed_bits((feature_ids.astype(np.uint64) << np.uint64(32)) | values.view(np.uint32))
