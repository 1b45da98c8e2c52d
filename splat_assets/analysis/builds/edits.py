"""Edited builds: one ability set to a rung with all else held, and how far the outcome is from builds that people wear.

A model says something about every set of tokens. What it says of one that nobody could wear, or that is far from every
build it was trained on, is weaker evidence; so each edit states whether it is legal and how near the nearest real
build is.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_table import BuildTable, Group, of_the_game
from splat_assets.domain.builds import is_wearable

FAR = 3
"""The distance used for more than two rungs."""
_BLOOM_BITS = 26
_BLOCK = 4_096


def with_rung(tokens: Sequence[int], group: Group, rung: int) -> tuple[int, ...]:
    """The tokens with a group set to a rung: those of the group replaced by all up to the rung; 0 takes the group off."""
    own = {token.id for token in group.tokens}
    return (*(token for token in tokens if token not in own), *(token.id for token in group.tokens[:rung]))


def rungs_of_sets(sets: Sequence[Sequence[int]], builds: BuildTable) -> npt.NDArray[np.uint8]:
    """The highest rung of each group in each token set: uint8, shape (n_groups, n_sets)."""
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in sets])]).astype(np.int64)
    tokens = np.array([token for one in sets for token in one], dtype=np.int32)
    weapons = np.zeros(len(sets), dtype=np.int32)
    return BuildTable(tokens, offsets, weapons, builds.vocabulary, builds.contexts).rungs


def legal(rungs: npt.NDArray[np.uint8], groups: Sequence[Group]) -> npt.NDArray[np.bool_] | None:
    """Which of these builds are wearable: bool, shape (n,). None where the vocabulary is not that of the game.

    rungs: uint8, shape (n_groups, n).
    """
    if not of_the_game(groups):
        return None
    ap = [(group.name, group.ap) for group in groups]
    columns = [
        {name: of_rung[rung] for (name, of_rung), rung in zip(ap, column, strict=True) if rung}
        for column in rungs.T.tolist()
    ]
    return np.array([is_wearable(column) for column in columns], dtype=np.bool_)


class RealBuilds:
    """The builds of a store as a set that says how near the nearest is, in rungs, weapons aside.

    A build is a sum of one random 64-bit number per group times its rung, so a neighbour is a sum of a few of them more or less.
    Two different builds have the same sum with probability 2^-64.
    """

    def __init__(self, builds: BuildTable) -> None:
        self._factors = np.random.default_rng(0).integers(1, 2**63, len(builds.groups), dtype=np.uint64) | np.uint64(1)
        self._codes = np.unique(self._code(builds.rungs))
        self._bloom = np.zeros(1 << _BLOOM_BITS, dtype=np.bool_)
        self._bloom[self._hashed(self._codes)] = True

    def distance(self, rungs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Rungs to the nearest real build, summed over groups: 0, 1, 2, or FAR for more; uint8, shape (n,).

        rungs: uint8, shape (n_groups, n).
        """
        codes = self._code(rungs)
        distances = np.full(codes.size, FAR, dtype=np.uint8)
        distances[self._holds(codes)] = 0
        one = np.concatenate([self._factors, ~self._factors + np.uint64(1)])
        two = np.unique((one[:, None] + one[None, :]).reshape(-1))
        for steps, value in ((one, 1), (two, 2)):
            left = np.flatnonzero(distances == FAR)
            for start in range(0, left.size, _BLOCK):
                rows = left[start : start + _BLOCK]
                near = np.zeros(rows.size, dtype=np.bool_)
                for step in steps:
                    near |= self._holds(codes[rows] + step)
                distances[rows[near]] = value
        return distances

    def _code(self, rungs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
        total = np.zeros(rungs.shape[1], dtype=np.uint64)
        for factor, row in zip(self._factors, rungs, strict=True):
            total += factor * row.astype(np.uint64)
        return total

    def _hashed(self, codes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        hashes: npt.NDArray[np.uint64] = codes >> np.uint64(64 - _BLOOM_BITS)
        return hashes

    def _holds(self, codes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        present = self._bloom[self._hashed(codes)]
        maybe = np.flatnonzero(present)
        at = np.minimum(np.searchsorted(self._codes, codes[maybe]), self._codes.size - 1)
        present[maybe] = self._codes[at] == codes[maybe]
        return present
