"""Which features of two databases over the same samples correlate most: sparse products, block by block, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse

from splat_assets.analysis.inference.similarity import inverse_spread, pearson
from splat_serving.database.protocol import ActivationDatabase, FeatureActivations

MOST_BYTES = 256 * 2**20
"""Of the activations and products that are held at a time."""
_BYTES_PER_ACTIVATION = 28
"""As it is read (int64 and float32), and again as an entry of a matrix (int64 and float64)."""
_BYTES_PER_PAIR = 64
"""Of features: the product sparse and dense, and what Pearson's r makes of it."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each feature of one side the best of the other: its position, and the correlation, -inf where there is none.

    left, left_r: for each left feature, among all right ones. right, right_r: for each right feature, among the left ones.
    Of features that are equally near the first counts.
    """

    left: npt.NDArray[np.int64]
    left_r: Floats
    right: npt.NDArray[np.int64]
    right_r: Floats


@dataclass(frozen=True, slots=True)
class _Block:
    """Consecutive features as a matrix (features x samples), with their sums and inverse spreads over all samples."""

    rows: slice
    matrix: sparse.csr_array
    sums: Floats
    spreads: Floats


def nearest_features(
    left: ActivationDatabase,
    right: ActivationDatabase,
    features: Sequence[int],
    step: Callable[[int, int], None] = lambda done, all_: None,
    most_bytes: int = MOST_BYTES,
) -> Nearest:
    """The best partner by Pearson's r, zeros included, of each of `features` of left and of each feature of right.

    Positions in `left` and `left_r` are those in `features`. step, most_bytes: as in `correlation_blocks`.
    """
    n_right = right.about().n_features
    nearest = Nearest(
        np.full(len(features), -1), np.full(len(features), -np.inf), np.full(n_right, -1), np.full(n_right, -np.inf)
    )
    for rows, columns, r in correlation_blocks(left, right, features, step, most_bytes):
        _keep_better(nearest.left, nearest.left_r, rows, columns.start, r)
        _keep_better(nearest.right, nearest.right_r, columns, rows.start, r.T)
    return nearest


def correlation_blocks(
    left: ActivationDatabase,
    right: ActivationDatabase,
    features: Sequence[int],
    step: Callable[[int, int], None] = lambda done, all_: None,
    most_bytes: int = MOST_BYTES,
) -> Iterator[tuple[slice, slice, Floats]]:
    """Pearson's r of `features` of left (rows) with all of right (columns): the positions of a block, and its correlations.

    step: called with the number of right features compared and their total; again from the first where the left ones, whose
    activations are held, need several rounds. most_bytes: bounds what is held; one feature of each side always is.
    """
    n_samples, n_right = left.about().n_samples, right.about().n_features
    share = most_bytes // 4  # the right block is held twice while it is turned round
    for ours in _blocks(left, features, n_samples, share):
        widest = max(1, share // (_BYTES_PER_PAIR * ours.sums.size))
        for theirs in _blocks(right, range(n_right), n_samples, share, widest):
            products = (ours.matrix @ theirs.matrix.T).toarray()
            sums, spreads = (ours.sums[:, None], theirs.sums), (ours.spreads[:, None], theirs.spreads)
            yield ours.rows, theirs.rows, pearson(products, *sums, *spreads, n_samples)
            step(theirs.rows.stop, n_right)


def _blocks(
    database: ActivationDatabase, features: Sequence[int], n_samples: int, most_bytes: int, most_rows: int = 2**31
) -> Iterator[_Block]:
    """Consecutive features, as many at a time as their activations are within most_bytes."""
    held: list[FeatureActivations] = []
    n_held = 0
    for row, feature in enumerate(features):
        activations = database.activations(feature, columns=("global_index", "activation"))
        n_held += activations.values.size
        if held and (n_held * _BYTES_PER_ACTIVATION > most_bytes or len(held) >= most_rows):
            yield _block(held, row, n_samples)
            held, n_held = [], activations.values.size
        held.append(activations)
    if held:
        yield _block(held, len(features), n_samples)


def _block(held: Sequence[FeatureActivations], stop: int, n_samples: int) -> _Block:
    """Features as one matrix; stop: the position behind the last."""
    values = np.concatenate([one.values for one in held], dtype=np.float64)
    ends = np.cumsum([0, *(one.values.size for one in held)])
    parts = [values[start:end] for start, end in pairwise(ends)]
    sums, squares = [part.sum() for part in parts], [(part * part).sum() for part in parts]
    matrix = sparse.csr_array((values, np.concatenate([one.sample_ids for one in held]), ends), (len(held), n_samples))
    return _Block(slice(stop - len(held), stop), matrix, np.array(sums), inverse_spread(sums, squares, n_samples))


def _keep_better(best: npt.NDArray[np.int64], best_r: Floats, at: slice, first: int, r: Floats) -> None:
    """Where a block has a nearer partner than those before it; r: (features of `at`, partners from `first` on)."""
    position = r.argmax(axis=1)
    value = r[np.arange(r.shape[0]), position]
    better = value > best_r[at]
    best[at] = np.where(better, first + position, best[at])
    best_r[at] = np.where(better, value, best_r[at])
