"""Next tokens of a build: those that can be added to a set, their probabilities, and the predictions after each.

Information gain, branchiness and axes are read off these. The model gives each token a probability of its own; the *choice* is
a distribution made of them, in which one further token is drawn in proportion. Entropies and divergences are in units of a
logarithm's base (bits for 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr, xlogy

from splat_assets.analysis.builds.build_space import BuildSpace, Probabilities, Rungs, Situation, StackPolicy

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


@dataclass(frozen=True)
class Branch:
    """The n tokens that can be added to one set.

    support: their ids, int64, shape (n,). before: probability of every token, shape (n_tokens,). after: the same once each token
    of the support (with the lower rungs of its ability) is there, shape (n, n_tokens). kept: bool, shape (n, n): in row i the
    tokens of the support that the set with token i does not have. Tokens before and after are compared on these alone: what is
    in a set already is not a choice.
    """

    situation: Situation
    support: npt.NDArray[np.int64]
    before: npt.NDArray[np.float32]
    after: npt.NDArray[np.float32]
    kept: npt.NDArray[np.bool_]

    @cached_property
    def p(self) -> Floats:
        """Probability of each token of the support, shape (n,)."""
        return self.before[self.support].astype(np.float64)

    @cached_property
    def p_after(self) -> Floats:
        """Probability of each token of the support (columns) once each of them (rows) is there, shape (n, n)."""
        return self.after[:, self.support].astype(np.float64)

    @cached_property
    def choice(self) -> Floats:
        """p0: share of each token in the choice of the next one, shape (n,)."""
        return normalised(self.p)

    @cached_property
    def others(self) -> Floats:
        """In row i, the choice among the tokens that remain beside token i, as it is before, shape (n, n)."""
        return normalised(np.where(self.kept, self.p, 0.0))

    @cached_property
    def others_after(self) -> Floats:
        """In row i, the choice among the same tokens once token i is there, shape (n, n)."""
        return normalised(np.where(self.kept, self.p_after, 0.0))

    def expected(self, values: Floats) -> float:
        """The mean of a value of each token over the choice; NaN without tokens or a value that counts is not known."""
        counted = self.choice > 0
        return float((self.choice[counted] * values[counted]).sum()) if counted.any() else float("nan")


def branches(
    ask: Probabilities, space: BuildSpace, situations: Sequence[Situation], policy: StackPolicy = "next-tier"
) -> list[Branch]:
    """The branch at each situation, in their order; computed as one batch."""
    before = ask([(one.weapon_id, space.tokens(one.rungs)) for one in situations])
    supports = [space.additions(one.rungs, policy) for one in situations]
    nexts = [
        (one, [space.added(one.rungs, token) for token in support])
        for one, support in zip(situations, supports, strict=True)
    ]
    queries = [(one.weapon_id, space.tokens(rungs)) for one, sets in nexts for rungs in sets]
    after = ask(queries) if queries else np.zeros((0, len(space.vocabulary)), dtype=np.float32)
    result, start = [], 0
    for (one, sets), support, row in zip(nexts, supports, before, strict=True):
        stop = start + len(support)
        ids = np.array(support, dtype=np.int64)
        result.append(Branch(one, ids, row, after[start:stop], _kept(space, sets, support)))
        start = stop
    return result


def _kept(space: BuildSpace, sets: Sequence[Rungs], support: Sequence[int]) -> npt.NDArray[np.bool_]:
    """In each set (rows), which tokens of the support (columns) it does not have."""
    groups, rungs = np.array([space.place(token) for token in support], dtype=np.int64).reshape(-1, 2).T
    worn = np.array(sets, dtype=np.int64).reshape(-1, len(space.groups))
    return np.asarray(worn[:, groups] < rungs)


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


@dataclass(frozen=True, slots=True)
class Closure:
    """A closed set. added: the tokens and how likely each was when it was added, in this order."""

    weapon_id: int
    rungs: Rungs
    added: tuple[tuple[int, float], ...]

    @property
    def situation(self) -> Situation:
        """The closed set as something to start from."""
        return Situation(self.weapon_id, self.rungs)


def close(ask: Probabilities, space: BuildSpace, starts: Sequence[Situation], threshold: float) -> list[Closure]:
    """The greedy closure of each start, in their order.

    What is added next does not depend on the threshold; that only says where to stop. So for any model a closure is
    legal where its start is, closing it again adds nothing, and a higher threshold gives a part of it. All starts
    share one batch per step.
    """
    rungs = [start.rungs for start in starts]
    added: list[list[tuple[int, float]]] = [[] for _ in starts]
    unfinished = list(range(len(starts)))
    while unfinished:
        probabilities = ask([(starts[at].weapon_id, space.tokens(rungs[at])) for at in unfinished])
        going_on = []
        for at, row in zip(unfinished, probabilities, strict=True):
            token = _likeliest(space, rungs[at], row, threshold)
            if token is not None:
                rungs[at] = space.added(rungs[at], token)
                added[at].append((token, float(row[token])))
                going_on.append(at)
        unfinished = going_on
    return [
        Closure(start.weapon_id, one, tuple(tokens)) for start, one, tokens in zip(starts, rungs, added, strict=True)
    ]


def _likeliest(space: BuildSpace, rungs: Rungs, row: npt.NDArray[np.float32], threshold: float) -> int | None:
    """The likeliest token that can be added, the lowest id among equals; None where none reaches the threshold."""
    ids = np.flatnonzero(row >= threshold)
    for token in ids[np.argsort(-row[ids], kind="stable")].tolist():
        if token in space and not space.holds(rungs, token) and space.is_wearable(space.added(rungs, token)):
            return int(token)
    return None
