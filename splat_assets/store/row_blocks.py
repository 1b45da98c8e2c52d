"""Blocks of sparse rows, joined and cut again: a source gives blocks of its own size, a format wants others."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from splat_assets.store.activations import SparseRows
from splat_assets.store.errors import CorruptStoreError
from splat_assets.wording import counted


def joined(blocks: Sequence[SparseRows]) -> SparseRows:
    """Consecutive blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    ends = np.cumsum([0, *(block.nnz for block in blocks)])
    return SparseRows(
        np.concatenate([[0], *(block.indptr[1:] + end for block, end in zip(blocks, ends, strict=False))]).astype(
            np.int64
        ),
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
