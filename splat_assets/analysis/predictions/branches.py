"""Next tokens of a build: those that can be added to a set, their probabilities, and the predictions after each.

Information gain, branchiness and axes are read off these. The model gives each token a probability of its own; the *choice* is
a distribution made of them, in which one further token is drawn in proportion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_space import BuildSpace, Probabilities, Rungs, Situation, StackPolicy
from splat_assets.analysis.predictions.entropy import normalised

Floats = npt.NDArray[np.float64]


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
        """The mean of a value of each token over the choice; NaN where there is none or a value that counts is not known."""
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
