"""Entropies and divergences of choices, in units of a logarithm's base (bits for 2). Rows are weighted sets of outcomes."""

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr, xlogy

Floats = npt.NDArray[np.float64]
LEAST = 1e-7
"""Probabilities are held within [LEAST, 1 - LEAST] where a logarithm is taken: float32 tells no more."""


def normalised(weights: npt.ArrayLike) -> Floats:
    """Each row divided by its sum; NaN where the sum is 0."""
    floats = np.asarray(weights, dtype=np.float64)
    total = floats.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, floats / total, np.nan))


def entropy(shares: npt.ArrayLike, base: float = 2.0) -> Floats:
    """Shannon's entropy of each row of shares; an outcome of share 0 adds nothing. NaN for a row of NaN or of nothing."""
    p = np.asarray(shares, dtype=np.float64)
    if p.shape[-1] == 0:
        return np.full(p.shape[:-1], np.nan)
    return np.asarray(0.0 - xlogy(p, p).sum(axis=-1) / np.log(base))


def jensen_shannon(left: npt.ArrayLike, right: npt.ArrayLike, base: float = 2.0) -> Floats:
    """Jensen-Shannon divergence of rows of shares (Lin 1991): 0 for equal ones, 1 bit for those with nothing in common."""
    p, q = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    middle = (p + q) / 2
    return np.asarray((rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=-1) / (2 * np.log(base)))


def bernoulli_divergence(after: npt.ArrayLike, before: npt.ArrayLike, base: float = 2.0) -> Floats:
    """KL(after || before) of each probability, as of a coin with it."""
    p = np.clip(np.asarray(after, dtype=np.float64), LEAST, 1 - LEAST)
    q = np.clip(np.asarray(before, dtype=np.float64), LEAST, 1 - LEAST)
    return np.asarray((rel_entr(p, q) + rel_entr(1 - p, 1 - q)) / np.log(base))
