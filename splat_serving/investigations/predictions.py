"""What experiments on the model's own predictions share: which weapons, from which token sets, and the sentences about them.

These numbers are computed from the model, not estimated from samples: they have no interval.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

import polars as pl
from pydantic import Field, model_validator

from splat_assets.analysis.builds.build_space import BuildSpace, Probabilities, Rungs, Situation, StackPolicy
from splat_assets.analysis.predictions.branches import Branch, Closure, branches, close
from splat_assets.text.wording import counted
from splat_serving.investigations.build_text import build_as_text, build_in_words, parse_build
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet

Threshold = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="The starting set is completed greedily first: the likeliest token is added as long as its probability "
        "is at least this.",
    ),
]
Policy = Annotated[
    StackPolicy,
    Field(
        description="Which rungs of an ability can come next: the next one that gear allows, the highest, or all of them (none), "
        "which counts an ability once per rung."
    ),
]
TopN = Annotated[int, Field(ge=1, le=10_000, description="How many rows of the token tables to show.")]
NOTE = "Computed from the model's probabilities, not estimated from samples: no interval."


class BranchSpec(Spec):
    """An experiment on which tokens come next."""

    weapon: Annotated[str | None, Field(description="The weapon, by name or id.")] = None
    all_weapons: Annotated[bool, Field(description="Compare all weapons.")] = False
    greedy_threshold: Threshold = 0.7
    stack_policy: Policy = "next-tier"

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.weapon is None) != self.all_weapons:
            raise ValueError("name a weapon or set all_weapons, one of the two")
        return self


@dataclass(frozen=True)
class Predictor:
    """A subject's model and the token sets that it can predict from."""

    subject: Subject

    @cached_property
    def space(self) -> BuildSpace:
        """All token sets of its vocabulary."""
        return BuildSpace(self.subject.vocabulary)

    @cached_property
    def probabilities(self) -> Probabilities:
        """The model; NotComputedError where there is none."""
        model = self.subject.model
        return lambda sets: model.probabilities([TokenSet(weapon, tokens) for weapon, tokens in sets])

    def weapons(self, named: str | None) -> list[int]:
        """The id of a weapon, or of all for None; InputError offers the nearest names."""
        if named is None:
            return list(range(len(self.subject.contexts)))
        return [parse_build(f"{named}:", self.subject).weapon_id]

    def weapon(self, weapon_id: int) -> str:
        """The name of a weapon."""
        return self.subject.contexts.items[weapon_id].name

    def token(self, token_id: int) -> str:
        """The name of a token."""
        return self.subject.vocabulary.tokens[token_id].name

    def worn(self, rungs: Rungs) -> str:
        """A token set as text."""
        return build_as_text(self.subject.vocabulary.names(self.space.tokens(rungs)))

    def worn_in_words(self, rungs: Rungs) -> str:
        """A token set with the names of the game."""
        return build_in_words(self.subject.vocabulary.names(self.space.tokens(rungs)))

    def closed(self, weapons: Sequence[int], threshold: float) -> list[Closure]:
        """The tokens that the model is sure of for each weapon, from the empty build."""
        return close(
            self.probabilities, self.space, [Situation(weapon, self.space.empty) for weapon in weapons], threshold
        )

    def branches(self, closures: Iterable[Closure], policy: StackPolicy) -> list[Branch]:
        """The tokens that can come next for each starting set."""
        return branches(self.probabilities, self.space, [one.situation for one in closures], policy)

    def warnings(self) -> list[str]:
        """The limits of all these results."""
        return (
            []
            if self.space.knows_gear
            else ["this vocabulary is not the game's: what gear can hold is unknown, so every set counts as wearable"]
        )


def closure_sentence(predictor: Predictor, closure: Closure, threshold: float) -> str:
    """What the starting set holds."""
    name = predictor.weapon(closure.weapon_id)
    if not closure.added:
        return f"Starting set of {name}: the empty build (no token has a probability of {threshold:g} or more)."
    return f"Starting set of {name} (tokens of probability {threshold:g} or more): {predictor.worn_in_words(closure.rungs)}."


def weapons_sentence(n_weapons: int, threshold: float) -> str:
    """From which sets several weapons start."""
    return f"{counted(n_weapons, 'weapons')} compared, each from its starting set (tokens of probability {threshold:g} or more)."


def unit(log_base: float) -> str:
    """The unit of an entropy."""
    return "bits" if log_base == 2 else f"units of log base {log_base:g}"


def depth(closure: Closure) -> int:
    """The number of tokens of a starting set."""
    return sum(closure.rungs)


def first_rows(frame: pl.DataFrame, n: int) -> tuple[pl.DataFrame, str]:
    """The first n rows, and a sentence on what is left out."""
    return frame.head(n), f" The first {n} of {frame.height}." if frame.height > n else ""
