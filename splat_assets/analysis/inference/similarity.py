"""Similarity and association, from sums and counts over samples: of two features, of a feature and a set, and of judgements."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

# A feature whose variance is this small a share of its mean square is a constant up to rounding, without a correlation.
_CONSTANT_BELOW = 1e-10
Floats = npt.NDArray[np.float64]


def jaccard(n_both: npt.ArrayLike, n_a: npt.ArrayLike, n_b: npt.ArrayLike) -> Floats:
    """Samples on which both fire over samples on which at least one does; 0 where neither ever fires."""
    both = np.asarray(n_both, dtype=np.float64)
    either = np.asarray(n_a, dtype=np.float64) + np.asarray(n_b, dtype=np.float64) - both
    return np.divide(both, either, out=np.zeros_like(either), where=either > 0)


def inverse_spread(sum_x: npt.ArrayLike, sum_xx: npt.ArrayLike, n_samples: int) -> Floats:
    """1 / sqrt(sum of squared deviations from the mean), 0 for a feature that is constant over all n_samples."""
    square = np.asarray(sum_xx, dtype=np.float64)
    spread = square - np.square(np.asarray(sum_x, dtype=np.float64)) / max(n_samples, 1)
    return np.divide(1.0, np.sqrt(spread, where=spread > 0, out=np.ones_like(spread)),
                     out=np.zeros_like(spread), where=spread > _CONSTANT_BELOW * square)  # fmt: skip


def pearson(
    sum_xy: npt.ArrayLike,
    sum_x: npt.ArrayLike,
    sum_y: npt.ArrayLike,
    inverse_spread_x: npt.ArrayLike,
    inverse_spread_y: npt.ArrayLike,
    n_samples: int,
) -> Floats:
    """Pearson's correlation over all n_samples, zeros included; 0 where either is constant."""
    product = np.asarray(sum_x, dtype=np.float64) * np.asarray(sum_y, dtype=np.float64)
    covariance = np.asarray(sum_xy, dtype=np.float64) - product / max(n_samples, 1)
    scale = np.asarray(inverse_spread_x, dtype=np.float64) * np.asarray(inverse_spread_y, dtype=np.float64)
    return np.asarray(np.clip(covariance * scale, -1.0, 1.0), dtype=np.float64)


def unit_rows(rows: npt.NDArray[np.floating]) -> Floats:
    """Rows scaled to length 1 in float64; rows of zeros stay zeros."""
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0))


def highest(scores: Floats, n: int) -> npt.NDArray[np.intp]:
    """Positions of the n highest scores > 0, best first; equal scores in order of position."""
    order = np.argsort(-scores, kind="stable")[:n]
    return order[scores[order] > 0]


def phi(
    n_both: npt.NDArray[np.int64], n_left: npt.NDArray[np.int64], n_right: int, n_all: int
) -> npt.NDArray[np.float64]:
    """Pearson's correlation of two indicators (the phi coefficient, Yule 1912), shape of n_both; NaN where one is constant.

    n_both: samples in both sets. n_left, n_right: samples in each. n_all: all samples.
    """
    left, right, total = n_left.astype(np.float64), float(n_right), float(n_all)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(left) * np.sqrt(total - left) * np.sqrt(right) * np.sqrt(total - right)
        return np.asarray((total * n_both - left * right) / spread)


def association_table(
    n_both: npt.NDArray[np.int64], n_active: npt.NDArray[np.int64], n_set: int, n_samples: int
) -> pl.DataFrame:
    """Association of each feature with a set of samples that it fires in; largest phi first, then by feature id.

    n_both: samples of the set on which each feature fires, shape (n_features,). n_active: samples on which it fires at all.

    share_of_set: n_both / n_set. share_of_feature: n_both / n_active. lift: share_of_set / (n_active / n_samples), how
    many times more often it fires in the set than overall. phi is null where the set or the feature covers every
    sample.
    """
    fires = np.flatnonzero(n_both)
    both, active = n_both[fires], n_active[fires]
    return (
        pl.DataFrame(
            {
                "feature_id": fires.astype(np.uint32),
                "n_both": both.astype(np.int64),
                "n_active": active.astype(np.int64),
                "share_of_set": both / max(n_set, 1),
                "share_of_feature": both / active,
                "lift": both / max(n_set, 1) / (active / max(n_samples, 1)),
                "phi": phi(both, active, n_set, n_samples),
            }
        )
        .with_columns(pl.col("phi").fill_nan(None))
        .sort(["phi", "feature_id"], descending=[True, False], nulls_last=True)
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """n: items with two judgements or more. n_alike: those on which all agree. alpha: Krippendorff's, 1 where
    all agree, 0 where they agree as often as chance makes them; None where nobody ever used another category."""

    n: int
    n_alike: int
    alpha: float | None


def agreement(judged: Iterable[Sequence[Hashable]]) -> Agreement:
    """Krippendorff's alpha for nominal data (Krippendorff 2011).

    judged: per item, the category each person chose; items with one judgement are left out.
    """
    units = [Counter(votes) for votes in judged if len(votes) > 1]
    apart = 0.0
    totals: Counter[Hashable] = Counter()
    for unit in units:
        size = unit.total()
        totals.update(unit)
        apart += sum(n * (size - n) for n in unit.values()) / (size - 1)
    whole = totals.total()
    by_chance = sum(n * (whole - n) for n in totals.values())
    alike = sum(1 for unit in units if len(unit) == 1)
    return Agreement(len(units), alike, 1 - (whole - 1) * apart / by_chance if by_chance else None)
