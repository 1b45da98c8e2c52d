"""Similarity of two features: of directions (cosine) and of activations (Jaccard, Pearson), from sums over samples."""

import numpy as np
import numpy.typing as npt

# A feature whose variance is this small a share of its mean square is a constant up to rounding: it has no correlation.
CONSTANT_BELOW = 1e-10

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
                     out=np.zeros_like(spread), where=spread > CONSTANT_BELOW * square)  # fmt: skip


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
