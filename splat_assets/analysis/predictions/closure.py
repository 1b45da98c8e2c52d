"""Greedy closure of a set: tokens added one at a time, the likeliest first, while one is at least as likely as a
threshold and gear gives the outcome."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_space import BuildSpace, Probabilities, Rungs, Situation


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
