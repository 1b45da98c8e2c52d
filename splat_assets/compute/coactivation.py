"""Co-activation: Jaccard and Pearson of all pairs of features, from the sparse rows, in bounded memory.

For a block of features the sums over samples (how often both fire, and of x * y) are collected against all later features:
for every sample on which a feature of the block fires, the rest of that sample's row is added. Earlier features have met
the block already, so each pair is counted once and offered to both. A sum belongs to one thread and grows in sample order:
the result depends neither on the number of threads nor on the size of the blocks.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.inference.similarity import inverse_spread
from splat_assets.compute.neighbour_kernels import (
    BestPairs,
    Counts,
    FeatureSums,
    PairSums,
    Ranking,
    Rows,
    add_products,
    add_sums,
    count_samples,
    empty_ranking,
    list_samples,
    offer_earlier,
    offer_later,
)
from splat_assets.compute.threads import in_parallel, usable_cpus
from splat_assets.store.activations import RowReader, feature_id_dtype
from splat_assets.text.progress import Progress, SilentProgress

_READ_ROWS = 8192
_ADD_FEATURES = 8
_OFFER_FEATURES = 64
_BYTES_PER_PAIR = 4 + 8


@dataclass(frozen=True, slots=True)
class CoActivation:
    """The best neighbours of each feature by two measures, and n_both of the requested pairs.

    n_active: int64, shape (n_features,). pairs_n_both: uint32, one per pair.
    """

    n_active: Counts
    jaccard: Ranking
    pearson: Ranking
    pairs_n_both: npt.NDArray[np.uint32]


def co_activation(
    source: RowReader,
    n: int,
    pairs: npt.NDArray[np.int32],
    *,
    memory_limit_bytes: int = 2**30,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> CoActivation:
    """Each feature's n best others by Jaccard of when they fire, and by Pearson's correlation over all samples.

    pairs: int32, shape (n_pairs, 2), pairs of different features whose n_both is wanted too. memory_limit_bytes covers the
    rows held at a time and the sums of a block (half each, and at least one row and one feature).
    """
    n_features = source.n_features
    best = BestPairs(empty_ranking(n_features, n), empty_ranking(n_features, n))
    pairs_n_both = np.zeros(len(pairs), dtype=np.uint32)
    with (progress or SilentProgress()).task("co-activation", n_features, "features") as task:
        alone = _first_pass(source)
        groups = _RowGroups(source, int(alone.n_active.sum()), memory_limit_bytes // 2)
        blocks = list(_feature_blocks(n_features, memory_limit_bytes // 2))
        buffers = _Buffers(n_features, blocks)
        with ThreadPoolExecutor(n_threads or usable_cpus()) as pool:
            for first, last in blocks:
                sums = buffers.sums(first, last)
                _add_all(groups, sums, last, pool)
                _offer_all(sums, alone, best, pool)
                _look_up(sums, pairs, pairs_n_both)
                task.advance(last - first)
    return CoActivation(alone.n_active, best.jaccard, best.pearson, pairs_n_both)


def _first_pass(source: RowReader) -> FeatureSums:
    n_features = source.n_features
    n_active = np.zeros(n_features, dtype=np.int64)
    sum_x, sum_xx = np.zeros(n_features), np.zeros(n_features)
    for block in source.rows(_READ_ROWS):
        # Sums of sums: over millions of samples one running sum would lose digits that the variance of a near-constant needs.
        block_x, block_xx = np.zeros(n_features), np.zeros(n_features)
        add_sums(block.feature_ids, block.values, n_active, block_x, block_xx)
        sum_x += block_x
        sum_xx += block_xx
    return FeatureSums(source.n_samples, n_active, sum_x, inverse_spread(sum_x, sum_xx, source.n_samples))


class _Buffers:
    """Memory for the sums of one block of features, used by all blocks in turn."""

    def __init__(self, n_features: int, blocks: list[tuple[int, int]]) -> None:
        size = max(((last - first) * (n_features - first) for first, last in blocks), default=0)
        self._n_features = n_features
        self._n_both = np.empty(size, dtype=np.uint32)
        self._products = np.empty(size)

    def sums(self, first: int, last: int) -> PairSums:
        """Room for features first..last - 1 with all from first on; what it holds is left over."""
        shape = (last - first, self._n_features - first)
        size = shape[0] * shape[1]
        return PairSums(first, self._n_both[:size].reshape(shape), self._products[:size].reshape(shape))


def _add_all(groups: "_RowGroups", sums: PairSums, last: int, pool: ThreadPoolExecutor) -> None:
    """Fill in the sums over all samples; `last` is the feature after the rows of sums."""
    first = sums.first
    for at, rows in enumerate(groups):
        starts = np.zeros(last - first + 1, dtype=np.int64)
        count_samples(rows, first, last, starts)
        np.cumsum(starts, out=starts)
        samples = np.empty(starts[-1], dtype=np.int32)
        list_samples(rows, first, last, starts[:-1].copy(), samples)
        in_parallel(pool, partial(add_products, rows, starts, samples, at == 0, sums), first, last, _ADD_FEATURES)


def _offer_all(sums: PairSums, alone: FeatureSums, best: BestPairs, pool: ThreadPoolExecutor) -> None:
    n_rows, n_columns = sums.n_both.shape
    in_parallel(pool, partial(offer_later, sums, alone, best), sums.first, sums.first + n_rows, _OFFER_FEATURES)
    in_parallel(pool, partial(offer_earlier, sums, alone, best), sums.first, sums.first + n_columns, _OFFER_FEATURES)


def _look_up(sums: PairSums, pairs: npt.NDArray[np.int32], n_both: npt.NDArray[np.uint32]) -> None:
    """Fill in n_both of those pairs whose smaller feature is a row of sums."""
    earlier, later = np.sort(pairs, axis=1).T - sums.first
    here = (0 <= earlier) & (earlier < sums.n_both.shape[0])
    n_both[here] = sums.n_both[earlier[here], later[here]]


def _feature_blocks(n_features: int, limit_bytes: int) -> Iterator[tuple[int, int]]:
    """Blocks of features whose sums against themselves and all later ones fit into limit_bytes."""
    first = 0
    while first < n_features:
        n = max(1, limit_bytes // (_BYTES_PER_PAIR * (n_features - first)))
        last = min(n_features, first + n)
        yield first, last
        first = last


class _RowGroups:
    """All samples, in groups as large as the memory allows; a single group is read once and kept."""

    def __init__(self, source: RowReader, nnz: int, limit_bytes: int) -> None:
        dtype = np.dtype(feature_id_dtype(source.n_features))
        # Beside id and value, each activation may need an entry in a block's list of samples.
        room = max(limit_bytes // (dtype.itemsize + 4 + 4), source.n_features)
        self._source = source
        self._whole: Rows | None = None
        self._keep = nnz <= room
        self._ids = np.empty(min(room, nnz), dtype=dtype)
        self._values = np.empty(self._ids.size, dtype=np.float32)

    def __iter__(self) -> Iterator[Rows]:
        if self._whole is not None:
            yield self._whole
            return
        for group in self._read():
            if self._keep:
                self._whole = group
            yield group

    def _read(self) -> Iterator[Rows]:
        ends: list[Counts] = [np.zeros(1, dtype=np.int64)]
        used = 0
        for block in self._source.rows(_READ_ROWS):
            row = 0
            while row < block.n_rows:
                fits = block.indptr[row] + self._ids.size - used
                stop = int(np.searchsorted(block.indptr, fits, side="right")) - 1
                if stop == row:
                    yield self._group(ends, used)
                    ends, used = [np.zeros(1, dtype=np.int64)], 0
                    continue
                part = block.slice(row, stop)
                self._ids[used : used + part.nnz] = part.feature_ids
                self._values[used : used + part.nnz] = part.values
                ends.append(part.indptr[1:] + used)
                used += part.nnz
                row = stop
        yield self._group(ends, used)

    def _group(self, ends: list[Counts], used: int) -> Rows:
        return Rows(np.concatenate(ends), self._ids[:used], self._values[:used])
