"""The n best others of every feature, kept while scores arrive in any order; and the best by decoder direction.

Compiled (numba), because offering every pair of 24,576 features one by one is 600 million small decisions.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.similarity import unit_rows
from splat_assets.compute.threads import compiled, in_parallel, usable_cpus
from splat_assets.progress import Progress, SilentProgress

_BLOCK_FEATURES = 1024
# float32 products decide who is a candidate, float64 products who wins; so many extra candidates make up for the rounding.
_SPARE_CANDIDATES = 8


class Ranking(NamedTuple):
    """Per feature its n best others, best first: by falling score > 0, then by rising id.

    ids: int32, shape (n_features, n), -1 where there are fewer than n. scores: float64, 0 there. n_both: uint32, the number of
    samples on which both fire. bar: float64, shape (n_features,), each feature's last score, kept apart because nearly every
    offer ends at it.
    """

    ids: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float64]
    n_both: npt.NDArray[np.uint32]
    bar: npt.NDArray[np.float64]


def empty_ranking(n_features: int, n: int) -> Ranking:
    """A ranking in which nobody stands yet."""
    shape = (n_features, n)
    ids = np.full(shape, -1, dtype=np.int32)
    return Ranking(ids, np.zeros(shape), np.zeros(shape, dtype=np.uint32), np.zeros(n_features))


@compiled
def offer(best: Ranking, feature: int, other: int, score: float, both: int) -> None:
    """Put `other` where it belongs among the best of `feature`, if it does; score must be > 0."""
    if score < best.bar[feature]:
        return
    ids, scores, n_both = best.ids[feature], best.scores[feature], best.n_both[feature]
    at = ids.size - 1
    if score == scores[at] and other > ids[at]:
        return
    while at > 0 and (score > scores[at - 1] or (score == scores[at - 1] and other < ids[at - 1])):
        ids[at], scores[at], n_both[at] = ids[at - 1], scores[at - 1], n_both[at - 1]
        at -= 1
    ids[at], scores[at], n_both[at] = other, score, both
    best.bar[feature] = scores[-1]


def nearest_by_direction(
    decoder: npt.NDArray[np.floating], n: int, n_threads: int | None = None, progress: Progress | None = None
) -> Ranking:
    """Each feature's n nearest others by cosine of decoder rows, n_both still 0; rows of zeros have and are no neighbours.

    decoder: W_dec, shape (n_features, d). A block of products at a time: float32, shape (1024, n_features).
    """
    n_features = decoder.shape[0]
    exact = unit_rows(decoder)
    units = exact.astype(np.float32)
    best, candidates = empty_ranking(n_features, n), empty_ranking(n_features, n + _SPARE_CANDIDATES)
    with (
        ThreadPoolExecutor(n_threads or usable_cpus()) as pool,
        (progress or SilentProgress()).task("decoder neighbours", n_features, "features") as task,
    ):
        for start in range(0, n_features, _BLOCK_FEATURES):
            products = units[start : start + _BLOCK_FEATURES] @ units.T
            stop = start + len(products)
            in_parallel(pool, partial(_offer_products, candidates, products, start), start, stop, step=64)
            in_parallel(pool, partial(_offer_exact, best, candidates, exact), start, stop, step=64)
            task.advance(len(products))
    return best


@compiled
def _offer_products(best: Ranking, products: npt.NDArray[np.float32], first: int, lo: int, hi: int) -> None:
    for feature in range(lo, hi):
        for other in range(products.shape[1]):
            score = products[feature - first, other]
            if score > 0 and other != feature:
                offer(best, feature, other, score, 0)


@compiled
def _offer_exact(best: Ranking, candidates: Ranking, units: npt.NDArray[np.float64], lo: int, hi: int) -> None:
    for feature in range(lo, hi):
        for other in candidates.ids[feature]:
            if other < 0:
                break
            score = 0.0
            for at in range(units.shape[1]):
                score += units[feature, at] * units[other, at]
            if score > 0:
                offer(best, feature, other, min(score, 1.0), 0)
