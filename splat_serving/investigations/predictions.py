"""What questions about the model's own predictions share: which weapons are asked, from which sets, and how they are told.

These numbers are computed from the model and not estimated from samples: they have no interval.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

import polars as pl
from pydantic import Field, model_validator

from splat_assets.analysis.builds.build_space import BuildSpace, Probabilities, Rungs, Situation, StackPolicy
from splat_assets.analysis.predictions.branches import Branch, branches
from splat_assets.analysis.predictions.closure import Closure, close
from splat_assets.wording import counted
from splat_serving.investigations.build_text import build_as_text, parse_build
from splat_serving.investigations.results.result import LinesOrBars, Scalar, Series, finite
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet

Threshold = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="The set from which is asked is closed first: the likeliest token is added as long as it is at least as "
        "likely as this.",
    ),
]
Policy = Annotated[
    StackPolicy,
    Field(
        description="Which rungs of an ability can come next: the next that gear gives, the highest, or all of them (none), "
        "which counts an ability once for each rung."
    ),
]
TopN = Annotated[int, Field(ge=1, le=10_000, description="So many rows of the tables of tokens.")]
NOTE = "Computed from the model's probabilities, not estimated from samples: there is no interval."


class BranchSpec(Spec):
    """A question about where builds go next."""

    weapon: Annotated[str | None, Field(description="By name or id.")] = None
    all_weapons: Annotated[bool, Field(description="Every weapon, and how they compare.")] = False
    greedy_threshold: Threshold = 0.7
    stack_policy: Policy = "next-tier"

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.weapon is None) != self.all_weapons:
            raise ValueError("name a weapon, or ask for all_weapons; one of the two")
        return self


@dataclass(frozen=True)
class Asked:
    """A subject's model and the sets that it can be asked about."""

    subject: Subject

    @cached_property
    def space(self) -> BuildSpace:
        """All token sets of its vocabulary."""
        return BuildSpace(self.subject.vocabulary)

    @cached_property
    def ask(self) -> Probabilities:
        """Its model; NotComputedError where there is none."""
        model = self.subject.model
        return lambda sets: model.probabilities([TokenSet(weapon, tokens) for weapon, tokens in sets])

    def weapons(self, named: str | None) -> list[int]:
        """The id of a weapon, or of all for None; InputError offers the nearest names."""
        if named is None:
            return list(range(len(self.subject.contexts)))
        return [parse_build(f"{named}:", self.subject).weapon_id]

    def weapon(self, weapon_id: int) -> str:
        """What a weapon is called."""
        return self.subject.contexts.items[weapon_id].name

    def token(self, token_id: int) -> str:
        """What a token is called."""
        return self.subject.vocabulary.tokens[token_id].name

    def worn(self, rungs: Rungs) -> str:
        """A set in words."""
        return build_as_text(self.subject.vocabulary.names(self.space.tokens(rungs)))

    def closed(self, weapons: Sequence[int], threshold: float) -> list[Closure]:
        """What the model is sure of for each weapon, from the empty build."""
        return close(self.ask, self.space, [Situation(weapon, self.space.empty) for weapon in weapons], threshold)

    def branches(self, closures: Iterable[Closure], policy: StackPolicy) -> list[Branch]:
        """Where each closed set may go next."""
        return branches(self.ask, self.space, [one.situation for one in closures], policy)

    def warnings(self) -> list[str]:
        """What limits all these answers."""
        return (
            []
            if self.space.knows_gear
            else [
                "this vocabulary is not the game's: what gear can hold is not known, and every set counts as wearable"
            ]
        )


def closure_sentence(asked: Asked, found: Closure, threshold: float) -> str:
    """What the closed set holds."""
    name = asked.weapon(found.weapon_id)
    if not found.added:
        return (
            f"No token of {name} is at least {threshold:g} likely from the empty build, so that is where it is asked."
        )
    return f"{name} is asked from what the model is at least {threshold:g} sure of: {asked.worn(found.rungs)}."


def weapons_sentence(n_weapons: int, threshold: float) -> str:
    """From where each of several weapons is asked."""
    return f"{counted(n_weapons, 'weapons')}, each from what the model is at least {threshold:g} sure of."


def unit(log_base: float) -> str:
    """What an entropy is counted in."""
    return "bits" if log_base == 2 else f"logarithms to base {log_base:g}"


def depth(found: Closure) -> int:
    """Tokens of a closed set."""
    return sum(found.rungs)


def first_rows(frame: pl.DataFrame, n: int) -> tuple[pl.DataFrame, str]:
    """The first n rows, and a sentence on what is left out."""
    return frame.head(n), f" The first {n} of {frame.height}." if frame.height > n else ""


def bars(name: str, title: str, y_label: str, x: Sequence[Scalar], y: Sequence[float | None]) -> LinesOrBars:
    """A figure of one set of bars."""
    values = finite([float("nan") if value is None else value for value in y])
    series = [Series(name=y_label, x=list(x), y=values)]
    return LinesOrBars(kind="bars", name=name, title=title, x_label="", y_label=y_label, series=series)
