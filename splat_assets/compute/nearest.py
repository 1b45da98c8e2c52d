"""The n nearest features of each by decoder direction, a block of dense products at a time."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.inference.similarity import unit_rows
from splat_assets.compute.neighbour_kernels import Ranking, empty_ranking, offer_exact, offer_products
from splat_assets.compute.threads import in_parallel, usable_cpus
from splat_assets.progress import Progress, SilentProgress

_BLOCK_FEATURES = 1024
# float32 products decide who is a candidate, float64 products who wins; so many extra candidates make up for the rounding.
_SPARE_CANDIDATES = 8


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
            in_parallel(pool, partial(offer_products, candidates, products, start), start, stop, step=64)
            in_parallel(pool, partial(offer_exact, best, candidates, exact), start, stop, step=64)
            task.advance(len(products))
    return best
