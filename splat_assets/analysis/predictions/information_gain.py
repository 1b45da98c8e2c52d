"""Information gain of one more token: how much it narrows the choice among the others and shifts their probabilities.

Also what that is worth by depth: discounted, and per token that the model becomes sure of.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_space import BuildSpace, Probabilities, Situation
from splat_assets.analysis.predictions.branches import Branch, Closure, bernoulli_divergence, close, entropy

Floats = npt.NDArray[np.float64]
DepthLog = Literal["ln", "log2", "log10"]
_LOG = {"ln": math.log, "log2": math.log2, "log10": math.log10}


@dataclass(frozen=True, slots=True)
class InformationGain:
    """Of one branch, in units of the logarithm's base. Arrays have one value for each token of the support.

    h0: entropy of the choice of the next token. total: expected narrowing, the sum of choice x gain. before, after: entropy of
    the choice among the other tokens, the same ones on both sides, without and with the token. learned: KL divergence of
    their probabilities, with || without, summed over them; never negative.
    """

    h0: float
    total: float
    learned_in_all: float
    before: Floats
    after: Floats
    learned: Floats

    @property
    def gain(self) -> Floats:
        """before - after: by how much the token narrows the choice among the others; negative where it opens it."""
        return self.before - self.after


def information_gain(branch: Branch, base: float = 2.0) -> InformationGain:
    """The information gain of each token of the support about the others. A token beside which nothing remains tells 0."""
    alone = ~branch.kept.any(axis=1)
    before, after = entropy(branch.others, base), entropy(branch.others_after, base)
    before, after = np.where(alone, 0.0, before), np.where(alone, 0.0, after)
    moved = bernoulli_divergence(branch.p_after, np.broadcast_to(branch.p, branch.p_after.shape), base)
    learned = np.where(branch.kept, moved, 0.0).sum(axis=1)
    return InformationGain(
        float(entropy(branch.choice, base)),
        branch.expected(before - after),
        branch.expected(learned),
        before,
        after,
        learned,
    )


def learned_from(
    ask: Probabilities,
    space: BuildSpace,
    situation: Situation,
    tokens: Sequence[int],
    branch: Branch,
    base: float = 2.0,
) -> tuple[Floats, Floats]:
    """For tokens that a set has: how likely each is without it, and what it tells of the branch's support, shapes (n_tokens,).

    A token is taken away with the higher rungs of its ability; the other rungs of that ability are not counted.
    """
    if not tokens:
        return np.zeros(0), np.zeros(0)
    fewer = [space.without(situation.rungs, token) for token in tokens]
    probabilities = ask([(situation.weapon_id, space.tokens(rungs)) for rungs in fewer]).astype(np.float64)
    groups = np.array([space.place(token)[0] for token in branch.support.tolist()], dtype=np.int64)
    other = np.array([space.place(token)[0] for token in tokens], dtype=np.int64)[:, None] != groups
    without = probabilities[:, branch.support]
    moved = bernoulli_divergence(np.broadcast_to(branch.p, without.shape), without, base)
    return probabilities[np.arange(len(tokens)), list(tokens)], np.where(other, moved, 0.0).sum(axis=1)


def discount(depth: int, base: float = 0.95, log: DepthLog = "ln") -> float:
    """base ** log(depth), 1 at depths 0 and 1: deep sets weigh less. It is the power law depth ** log(base) for `ln`."""
    return float(base ** _LOG[log](max(depth, 1)))


def deeper(
    ask: Probabilities, space: BuildSpace, branches: Sequence[Branch], threshold: float
) -> list[tuple[Floats, list[Closure]]]:
    """For each branch: how many tokens more a set has once each token of the support is there and it is closed again.

    The token itself and lower rungs count, so every number is at least 1: float64, shape (n,), and the closures.
    """
    starts = [
        Situation(branch.situation.weapon_id, space.added(branch.situation.rungs, token))
        for branch in branches
        for token in branch.support.tolist()
    ]
    closed = close(ask, space, starts, threshold)
    gains, start = [], 0
    for branch in branches:
        own = closed[start : start + branch.support.size]
        before = sum(branch.situation.rungs)
        gains.append((np.array([sum(one.rungs) - before for one in own], dtype=np.float64), own))
        start += branch.support.size
    return gains
