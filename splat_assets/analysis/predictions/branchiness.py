"""Effect of the next token on the rest of the build: divergence, suppression, and the axes on which weapons differ."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.predictions.branches import Branch
from splat_assets.analysis.predictions.entropy import entropy, jensen_shannon

Floats = npt.NDArray[np.float64]
SuppressionWeight = Literal["p0", "uniform"]


@dataclass(frozen=True, slots=True)
class Branchiness:
    """Of one branch. divergence, suppression: one value for each token of the support; total: expected divergence, 0 to 1 bit."""

    total: float
    divergence: Floats
    suppression: Floats


def branchiness(branch: Branch, top_m: int = 8, weight: SuppressionWeight = "p0", base: float = 2.0) -> Branchiness:
    """Jensen-Shannon divergence of the choice among the other tokens, with and without each token; and its suppression.

    suppression: the loss of probability, max(0, before - after), averaged over the top_m likeliest of the other tokens, weighted
    by their share of the choice (p0) or alike (uniform). A token beside which nothing remains has 0 of both.
    """
    alone = ~branch.kept.any(axis=1)
    divergence = np.where(alone, 0.0, jensen_shannon(branch.others, branch.others_after, base))
    order = np.argsort(-branch.p, kind="stable")
    suppression = np.zeros(branch.support.size)
    for row, kept in enumerate(branch.kept):
        top = order[kept[order]][:top_m]
        loss = np.maximum(branch.p[top] - branch.p_after[row, top], 0.0)
        weights = branch.p[top] if weight == "p0" else np.ones(top.size)
        suppression[row] = (weights * loss).sum() / weights.sum() if weights.sum() > 0 else 0.0
    return Branchiness(branch.expected(divergence), divergence, suppression)


@dataclass(frozen=True, slots=True)
class Axes:
    """Of one branch. choices: 2 ** entropy of the choice, as many equally likely tokens would be as open (B_eff).

    amplitude: sum of 2 p (1 - p), in how many tokens two builds drawn from the probabilities would differ. budget: sum of p, how
    many of these tokens a build is expected to have. p are the probabilities of the support, each token on its own.
    """

    choices: float
    amplitude: float
    budget: float


def axes(branch: Branch) -> Axes:
    """The axes of a branch: number of choices, indecision, and expected further tokens."""
    p = branch.p
    return Axes(float(2 ** entropy(branch.choice)), float((2 * p * (1 - p)).sum()), float(p.sum()))


def median_halves(values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which values are above the median; those on it are not."""
    numbers = np.asarray(values, dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    return np.asarray(numbers > np.median(known)) if known.size else np.zeros(numbers.shape, dtype=np.bool_)
