"""Do two forms of the same activations agree? Sampled, seeded comparisons that name the offenders."""

import numpy as np
import numpy.typing as npt

from splat_assets.store.activations import ActivationReader, RowReader

_BLOCK_ROWS = 16_384


def features_unlike_the_rows(reader: ActivationReader, source: RowReader, n_sampled: int, seed: int) -> list[int]:
    """Of n_sampled seeded features, those that are not, bit for bit, the columns of the source's rows (one pass)."""
    chosen = _sampled(reader.n_features, n_sampled, seed)
    parts: dict[int, list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]] = {int(f): [] for f in chosen}
    wanted = np.zeros(source.n_features, dtype=bool)
    wanted[chosen] = True
    first = 0
    for block in source.rows(_BLOCK_ROWS):
        at = np.flatnonzero(wanted[block.feature_ids])
        rows = first + np.searchsorted(block.indptr, at, side="right") - 1
        features, values = block.feature_ids[at], block.values[at]
        for feature in np.unique(features):
            mine = features == feature
            parts[int(feature)].append((rows[mine].astype(np.int64), values[mine]))
        first += block.n_rows
    return [feature for feature, found in parts.items() if not _same(reader, feature, found)]


def _sampled(n: int, n_sampled: int, seed: int) -> npt.NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).choice(n, size=min(n, n_sampled), replace=False))


def _same(
    reader: ActivationReader, feature: int, parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]
) -> bool:
    found = reader.read(feature)
    ids = np.concatenate([ids for ids, _ in parts]) if parts else np.zeros(0, dtype=np.int64)
    values = np.concatenate([values for _, values in parts]) if parts else np.zeros(0, dtype=np.float32)
    return np.array_equal(found.sample_ids, ids) and np.array_equal(found.values, values)
