"""Beam search for the likeliest builds that the model completes a set to, with the path to each.

A step adds the next rung of one ability. By the chain rule the log-probability that a build has all tokens of a set is the sum
of log p of each token given those before it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from math import inf

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_space import BuildSpace, Probabilities, Rungs, Situation
from splat_assets.analysis.predictions.branches import LEAST


@dataclass(frozen=True, slots=True)
class Step:
    """A token added, how likely it was then, and the set with it."""

    token: int
    probability: float
    rungs: Rungs


@dataclass(frozen=True, slots=True)
class Completed:
    """A build and its likeliest path. Log-probabilities are in bits.

    has_all: that a build has these tokens. has_no_other: that it has none of the next rungs that gear would still give, each
    token on its own (the model says nothing of them together). score: their sum, that the build is this one. finished: whether
    a build can end there.
    """

    rungs: Rungs
    steps: tuple[Step, ...]
    has_all: float
    has_no_other: float
    finished: bool

    @property
    def score(self) -> float:
        """log2 of the probability that the build is this one."""
        return self.has_all + self.has_no_other


@dataclass(frozen=True, slots=True)
class Beam:
    """builds: the finished ones by falling score, then, where they are too few, others.

    given_up: the highest has_all among sets that the beam was too narrow for, or that max_steps cut off, -inf for
    none. No finished build outside the result has a higher score.
    """

    builds: tuple[Completed, ...]
    n_steps: int
    n_asked: int
    given_up: float
    cut: bool

    @property
    def exact(self) -> bool:
        """Whether no build can be likelier than the first."""
        return self.builds[0].finished and self.given_up <= self.builds[0].score


_Reached = dict[Rungs, tuple[float, tuple[Step, ...]]]


def beam_search(
    ask: Probabilities,
    space: BuildSpace,
    start: Situation,
    beam_size: int = 5,
    max_steps: int = 60,
    n_builds: int = 5,
    finished: Callable[[Rungs], bool] = lambda _: True,
) -> Beam:
    """The n_builds likeliest builds among all sets that the beam passes, the start included. finished: where a build can end.

    Sets with equally many steps are compared by has_all; of several paths to a set the likeliest counts. The search ends when no
    set in the beam can become one of the n_builds: has_all of a set is a bound of the score of whatever comes after it.
    """
    layer: _Reached = {start.rungs: (0.0, ())}
    done: dict[Rungs, Completed] = {}
    n_steps, n_asked, given_up = 0, 0, -inf
    while True:
        probabilities = ask([(start.weapon_id, space.tokens(rungs)) for rungs in layer])
        n_asked += len(layer)
        after: _Reached = {}
        for (rungs, (so_far, steps)), row in zip(layer.items(), probabilities, strict=True):
            support = space.additions(rungs, "next-tier")
            _keep(done, Completed(rungs, steps, so_far, _none_of(row, support), finished(rungs)))
            for token in support:
                p = float(row[token])
                reached = space.added(rungs, token)
                score = so_far + float(np.log2(max(p, LEAST)))
                if reached not in after or score > after[reached][0]:
                    after[reached] = (score, (*steps, Step(token, p, reached)))
        best = nlargest(n_builds, (one.score for one in done.values() if one.finished))
        worth = {one: completed for one, completed in after.items() if len(best) < n_builds or completed[0] > best[-1]}
        ordered = sorted(worth.items(), key=lambda item: (-item[1][0], item[0]))
        kept = 0 if n_steps == max_steps else beam_size
        if len(ordered) > kept:
            given_up = max(given_up, ordered[kept][1][0])
        if not ordered or n_steps == max_steps:
            builds = sorted(done.values(), key=lambda one: (not one.finished, -one.score, one.rungs))[:n_builds]
            return Beam(tuple(builds), n_steps, n_asked, given_up, bool(ordered))
        layer = dict(ordered[:beam_size])
        n_steps += 1


def _keep(done: dict[Rungs, Completed], completed: Completed) -> None:
    before = done.get(completed.rungs)
    if before is None or completed.score > before.score:
        done[completed.rungs] = completed


def _none_of(row: npt.NDArray[np.float32], tokens: Sequence[int]) -> float:
    p = row[list(tokens)].astype(np.float64) if tokens else np.zeros(0)
    return float(np.log2(np.clip(1 - p, LEAST, 1.0)).sum())
