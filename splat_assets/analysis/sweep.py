"""SAEs side by side: which are on the Pareto front, and how alike the features are that other seeds find."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_BLOCK = 2_048
Floats = npt.NDArray[np.float32]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other one is better than, smaller being better in both: as good in one and better in the other."""
    return [
        not any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in points)
        for point in points
    ]


def stability(decoders: Sequence[Floats]) -> float | None:
    """Mean of the largest cosine that a feature has with any of another SAE, over features and ordered pairs of SAEs.

    The mean max cosine similarity (Sharkey, Braun and Millidge 2022) of W_dec, each float32, shape (n_features, d): 1 where every
    seed finds the same directions. Rows of length 0 are left out. None with fewer than two SAEs.
    """
    unit = [_unit(decoder) for decoder in decoders]
    if len(unit) < 2 or any(not len(one) for one in unit):
        return None
    means = [_mean_largest(a, b) for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j]
    return float(np.mean(means))


def _unit(decoder: Floats) -> Floats:
    lengths = np.linalg.norm(decoder, axis=1)
    kept = decoder[lengths > 0]
    return np.asarray(kept / lengths[lengths > 0, None], dtype=np.float32)


def _mean_largest(a: Floats, b: Floats) -> float:
    total = sum(float((a[start : start + _BLOCK] @ b.T).max(axis=1).sum()) for start in range(0, len(a), _BLOCK))
    return total / len(a)
