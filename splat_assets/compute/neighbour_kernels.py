"""The inner loops of the search for neighbours, compiled: rankings, sums over samples for pairs of features.

All in this one file: cached machine code is recompiled when its own file changes, not when a function it calls changes elsewhere.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from splat_assets.compiled import compiled

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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
    """An empty ranking."""
    shape = (n_features, n)
    ids = np.full(shape, -1, dtype=np.int32)
    return Ranking(ids, np.zeros(shape), np.zeros(shape, dtype=np.uint32), np.zeros(n_features))


class Rows(NamedTuple):
    """Some samples in CSR form, with the feature ids as the store keeps them (uint16 or int32)."""

    indptr: Counts
    feature_ids: npt.NDArray[np.integer]
    values: npt.NDArray[np.float32]


class FeatureSums(NamedTuple):
    """Statistics of each single feature; all arrays of shape (n_features,).

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


@compiled
def offer_products(best: Ranking, products: npt.NDArray[np.float32], first: int, lo: int, hi: int) -> None:
    """Offer to each feature of lo..hi - 1 all others; row 0 of products is that of feature `first`."""
    for feature in range(lo, hi):
        for other in range(products.shape[1]):
            score = products[feature - first, other]
            if score > 0 and other != feature:
                offer(best, feature, other, score, 0)


@compiled
def offer_exact(best: Ranking, candidates: Ranking, units: npt.NDArray[np.float64], lo: int, hi: int) -> None:
    """Offer to each feature of lo..hi - 1 its candidates, by the product of unit rows in float64."""
    for feature in range(lo, hi):
        for other in candidates.ids[feature]:
            if other < 0:
                break
            score = 0.0
            for at in range(units.shape[1]):
                score += units[feature, at] * units[other, at]
            if score > 0:
                offer(best, feature, other, min(score, 1.0), 0)


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
    for feature in range(lo, hi):
        _offer_pairs(feature, feature + 1, sums.first + sums.n_both.shape[1], False, sums, alone, best)


@compiled
def offer_earlier(sums: PairSums, alone: FeatureSums, best: BestPairs, lo: int, hi: int) -> None:
    """Offer to each feature of lo..hi - 1, columns of sums, those features of the rows that lie before it."""
    for feature in range(sums.first, min(sums.first + sums.n_both.shape[0], hi)):
        _offer_pairs(feature, max(lo, feature + 1), hi, True, sums, alone, best)


@compiled
def _offer_pairs(
    row: int, lo: int, hi: int, to_columns: bool, sums: PairSums, alone: FeatureSums, best: BestPairs
) -> None:
    """Offer features lo..hi - 1 to feature `row`, or `row` to each of them."""
    n_both, products = sums.n_both[row - sums.first], sums.products[row - sums.first]
    n_active, sum_x, spread = alone.n_active, alone.sum_x, alone.inverse_spread
    row_n_active, row_mean, row_spread = n_active[row], sum_x[row] / alone.n_samples, spread[row]
    jaccard_bar, pearson_bar = best.jaccard.bar, best.pearson.bar
    for column in range(lo, hi):
        both = n_both[column - sums.first]
        if both:
            feature, other = (column, row) if to_columns else (row, column)
            jaccard = both / (row_n_active + n_active[column] - both)
            if jaccard >= jaccard_bar[feature]:
                offer(best.jaccard, feature, other, jaccard, both)
            covariance = products[column - sums.first] - row_mean * sum_x[column]
            pearson = covariance * (row_spread * spread[column])
            if pearson > 0 and pearson >= pearson_bar[feature]:
                offer(best.pearson, feature, other, min(pearson, 1.0), both)
