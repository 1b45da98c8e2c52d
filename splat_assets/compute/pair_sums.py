"""The inner loops of co-activation, compiled: sums over samples for pairs of features, and what follows from them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from splat_assets.compute.nearest import Ranking, offer
from splat_assets.compute.threads import compiled

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Rows(NamedTuple):
    """Some samples in CSR form, with the feature ids as the store keeps them (uint16 or int32)."""

    indptr: Counts
    feature_ids: npt.NDArray[np.integer]
    values: npt.NDArray[np.float32]


class FeatureSums(NamedTuple):
    """What is known of each feature alone; all arrays of shape (n_features,).

    inverse_spread: 1 / sqrt(sum of squared deviations), 0 for a constant.
    """

    n_samples: int
    n_active: Counts
    sum_x: Floats
    inverse_spread: Floats


class PairSums(NamedTuple):
    """Sums over samples for the features first, first + 1, ... (rows) with all features from `first` on (columns).

    n_both: on how many samples both fire. products: sum of x * y. Only columns right of the row's own feature are filled.
    """

    first: int
    n_both: npt.NDArray[np.uint32]
    products: Floats


class BestPairs(NamedTuple):
    """The rankings that pairs are offered to."""

    jaccard: Ranking
    pearson: Ranking


@compiled
def add_sums(
    feature_ids: npt.NDArray[np.integer],
    values: npt.NDArray[np.float32],
    n_active: Counts,
    sum_x: Floats,
    sum_xx: Floats,
) -> None:
    """Add each feature's number of activations, their sum and the sum of their squares."""
    for at in range(feature_ids.size):
        feature, x = feature_ids[at], np.float64(values[at])
        n_active[feature] += 1
        sum_x[feature] += x
        sum_xx[feature] += x * x


@compiled
def _first_at_least(ids: npt.NDArray[np.integer], lo: int, hi: int, wanted: int) -> int:
    """The first position in lo..hi (rising there) that holds at least `wanted`, hi if there is none."""
    while lo < hi:
        middle = (lo + hi) // 2
        if ids[middle] < wanted:
            lo = middle + 1
        else:
            hi = middle
    return lo


@compiled
def count_samples(rows: Rows, first: int, last: int, counts: Counts) -> None:
    """counts[f - first + 1], zeros before, becomes the number of samples on which feature f fires."""
    indptr, feature_ids = rows.indptr, rows.feature_ids
    for sample in range(indptr.size - 1):
        end = indptr[sample + 1]
        at = _first_at_least(feature_ids, indptr[sample], end, first)
        while at < end and feature_ids[at] < last:
            counts[feature_ids[at] - first + 1] += 1
            at += 1


@compiled
def list_samples(rows: Rows, first: int, last: int, cursor: Counts, samples: npt.NDArray[np.int32]) -> None:
    """samples from cursor[f - first] on become those on which feature f fires, in order; the cursors move along."""
    indptr, feature_ids = rows.indptr, rows.feature_ids
    for sample in range(indptr.size - 1):
        end = indptr[sample + 1]
        at = _first_at_least(feature_ids, indptr[sample], end, first)
        while at < end and feature_ids[at] < last:
            feature = feature_ids[at] - first
            samples[cursor[feature]] = sample
            cursor[feature] += 1
            at += 1


@compiled
def add_products(
    rows: Rows, starts: Counts, samples: npt.NDArray[np.int32], fresh: bool, sums: PairSums, lo: int, hi: int
) -> None:
    """Add, for each feature of lo..hi - 1 and each of its samples, what stands right of it in the sample's row.

    samples[starts[f - first] : starts[f - first + 1]] are the samples of feature f. fresh: sums holds nothing yet.
    """
    indptr, feature_ids, values = rows.indptr, rows.feature_ids, rows.values
    first, width = sums.first, sums.n_both.shape[1]
    # One feature's sums stay in the processor's cache while they are added to in no particular order.
    n_both, products = np.empty(width, dtype=np.uint32), np.empty(width, dtype=np.float64)
    for feature in range(lo, hi):
        row = feature - first
        if fresh:
            n_both[:], products[:] = 0, 0.0
        else:
            n_both[:], products[:] = sums.n_both[row], sums.products[row]
        for k in range(starts[row], starts[row + 1]):
            begin, end = indptr[samples[k]], indptr[samples[k] + 1]
            at = _first_at_least(feature_ids, begin, end, feature)
            x = np.float64(values[at])
            for right in range(at + 1, end):
                column = feature_ids[right] - first
                n_both[column] += 1
                products[column] += x * values[right]
        sums.n_both[row], sums.products[row] = n_both, products


@compiled
def offer_later(sums: PairSums, alone: FeatureSums, best: BestPairs, lo: int, hi: int) -> None:
    """Offer to each feature of lo..hi - 1, rows of sums, all features after it."""
    first = sums.first
    for feature in range(lo, hi):
        for other in range(feature + 1, first + sums.n_both.shape[1]):
            n_both = sums.n_both[feature - first, other - first]
            if n_both:
                _offer_pair(feature, other, n_both, sums.products[feature - first, other - first], alone, best)


@compiled
def offer_earlier(sums: PairSums, alone: FeatureSums, best: BestPairs, lo: int, hi: int) -> None:
    """Offer to each feature of lo..hi - 1, columns of sums, those features of the rows that lie before it."""
    first = sums.first
    for other in range(first, min(first + sums.n_both.shape[0], hi)):
        for feature in range(max(lo, other + 1), hi):
            n_both = sums.n_both[other - first, feature - first]
            if n_both:
                _offer_pair(feature, other, n_both, sums.products[other - first, feature - first], alone, best)


@compiled
def _offer_pair(feature: int, other: int, n_both: int, product: float, alone: FeatureSums, best: BestPairs) -> None:
    jaccard = n_both / (alone.n_active[feature] + alone.n_active[other] - n_both)
    offer(best.jaccard, feature, other, jaccard, n_both)
    covariance = product - alone.sum_x[feature] * alone.sum_x[other] / alone.n_samples
    pearson = covariance * (alone.inverse_spread[feature] * alone.inverse_spread[other])
    if pearson > 0:
        offer(best.pearson, feature, other, min(pearson, 1.0), n_both)
