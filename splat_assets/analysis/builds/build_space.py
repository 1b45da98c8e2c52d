"""Token sets as one rung per ability: what can be added to them, and whether gear gives the outcome.

A set written as rungs cannot hold a rung without those below it, or one twice. Whether gear gives it is known for the game's own
vocabulary; in any other one every set is allowed.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_table import Group, of_the_game
from splat_assets.domain.builds import is_wearable
from splat_assets.store.vocabulary import Vocabulary

Rungs = tuple[int, ...]
"""One rung per group of a `BuildSpace`, 0 for not worn."""
StackPolicy = Literal["none", "next-tier", "max-tier"]
"""Which rungs of an ability count as additions: all above the one worn, the lowest of them, or the highest."""
Probabilities = Callable[[Sequence[tuple[int, tuple[int, ...]]]], npt.NDArray[np.float32]]
"""Asks the model: for (weapon id, token ids) the probability of each token, float32, shape (n, n_tokens)."""
_KEPT_SETS = 1 << 18


class Situation(NamedTuple):
    """A weapon and the rungs worn so far."""

    weapon_id: int
    rungs: Rungs


class BuildSpace:
    """All token sets of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.groups = tuple(Group(name, tokens) for name, tokens in vocabulary.groups.items())
        self._place = {
            token.id: (at, rung) for at, group in enumerate(self.groups) for rung, token in enumerate(group.tokens, 1)
        }
        self.knows_gear = of_the_game(self.groups)
        self.is_wearable = lru_cache(maxsize=_KEPT_SETS)(self._compute_wearable)

    @property
    def empty(self) -> Rungs:
        """Nothing worn."""
        return (0,) * len(self.groups)

    def rungs(self, tokens: Iterable[int]) -> Rungs:
        """The highest rung of each group among tokens; padding and the empty build's token are none."""
        rungs = list(self.empty)
        for token in tokens:
            if token in self:
                at, rung = self._place[token]
                rungs[at] = max(rungs[at], rung)
        return tuple(rungs)

    def tokens(self, rungs: Rungs) -> tuple[int, ...]:
        """The tokens of a set, lower rungs included, by rising id."""
        return tuple(
            sorted(token.id for group, rung in zip(self.groups, rungs, strict=True) for token in group.tokens[:rung])
        )

    def __contains__(self, token: int) -> bool:
        """Whether a token can be part of a set; padding and the empty build's token cannot."""
        return token in self._place

    def holds(self, rungs: Rungs, token: int) -> bool:
        """Whether a set has a token."""
        at, rung = self._place[token]
        return rungs[at] >= rung

    def place(self, token: int) -> tuple[int, int]:
        """The place of a token's group among the groups, and its rung."""
        return self._place[token]

    def added(self, rungs: Rungs, token: int) -> Rungs:
        """The set with a token and the lower rungs of its ability."""
        at, rung = self._place[token]
        return (*rungs[:at], max(rungs[at], rung), *rungs[at + 1 :])

    def without(self, rungs: Rungs, token: int) -> Rungs:
        """The set without a token and the higher rungs of its ability."""
        at, rung = self._place[token]
        return (*rungs[:at], min(rungs[at], rung - 1), *rungs[at + 1 :])

    def additions(self, rungs: Rungs, policy: StackPolicy = "none") -> tuple[int, ...]:
        """The tokens that can be added so that gear gives the outcome, by rising id."""
        tokens: list[int] = []
        for group, worn in zip(self.groups, rungs, strict=True):
            above = group.tokens[worn:] if policy != "max-tier" else reversed(group.tokens[worn:])
            for token in above:
                if self.is_wearable(self.added(rungs, token.id)):
                    tokens.append(token.id)
                    if policy != "none":
                        break
        return tuple(sorted(tokens))

    def worth(self, rungs: Rungs) -> dict[str, int]:
        """The level reached by each ability worn, 10 for one without levels: what `domain.builds.wearable_ap` takes."""
        return {group.name: group.ap[rung] for group, rung in zip(self.groups, rungs, strict=True) if rung}

    def _compute_wearable(self, rungs: Rungs) -> bool:
        return not self.knows_gear or is_wearable(self.worth(rungs))
