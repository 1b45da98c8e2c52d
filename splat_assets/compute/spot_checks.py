"""The rows that a check samples, and whether a table's rows are in their places."""

import numpy as np
import polars as pl


def spot_check_ids(n: int, n_sampled: int, seed: int) -> list[int]:
    """Up to n_sampled random ids of 0..n - 1, rising; the same for the same seed."""
    chosen = np.random.default_rng(seed).choice(n, size=min(n, n_sampled), replace=False)
    return sorted(int(i) for i in chosen)


def misplaced_ids(ids: pl.Series, n: int) -> list[int]:
    """Which of 0..n - 1 do not stand at their own place in a column that should hold just these, in order."""
    actual = ids.cast(pl.Int64).fill_null(-1).to_numpy()
    expected = np.arange(max(n, actual.size))
    placed = np.full(expected.size, -1, dtype=np.int64)
    placed[: actual.size] = actual
    return [int(i) for i in np.flatnonzero((placed != expected) | (expected >= n))]
