"""Activations with a known dictionary, for tests: sums of a few of n_true directions, away from the origin."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Planted:
    """values: float32, shape (n, d). directions: float32, shape (n_true, d), unit norm."""

    values: npt.NDArray[np.float32]
    directions: npt.NDArray[np.float32]


def planted(n: int, d: int, n_true: int, active: float, offset: float = 3.0, seed: int = 0) -> Planted:
    """Each direction is present with probability active / n_true; offset is the gamma of the rows, roughly."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n_true, d)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strengths = (rng.random((n, n_true)) < active / n_true) * rng.uniform(0.5, 1.5, (n, n_true))
    values = strengths.astype(np.float32) @ directions
    away = rng.standard_normal(d)
    values += (away * offset * np.sqrt(values.var(axis=0).sum()) / np.linalg.norm(away)).astype(np.float32)
    return Planted(values, directions)
