"""The axes on which weapons differ in how their builds go on: choices, amplitude, budget; and the quadrants they make."""

from typing import Literal

import polars as pl

from splat_assets.analysis.predictions.branchiness import axes, median_halves
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import NOTE, Asked, Policy, Threshold, depth, weapons_sentence
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject


class AxesSpec(Spec):
    """How weapons differ in how their builds go on: among how many tokens, how undecided, and how much is to come.

    Every weapon is asked from what the model is sure of for it. Quadrants split choices and amplitude at their medians over
    these weapons: they compare weapons with each other and say nothing of one weapon alone.
    """

    experiment: Literal["axes"] = "axes"
    greedy_threshold: Threshold = 0.7
    stack_policy: Policy = "next-tier"


def _answer(subject: Subject, spec: AxesSpec) -> Answer:
    asked = Asked(subject)
    closures = asked.closed(asked.weapons(None), spec.greedy_threshold)
    found = [axes(branch) for branch in asked.branches(closures, spec.stack_policy)]
    many = median_halves([one.choices for one in found])
    undecided = median_halves([one.amplitude for one in found])
    frame = pl.DataFrame(
        {
            "weapon": [asked.weapon(one.weapon_id) for one in closures],
            "depth": [depth(one) for one in closures],
            "choices": [one.choices for one in found],
            "amplitude": [one.amplitude for one in found],
            "budget": [one.budget for one in found],
            "quadrant": [
                f"{'many' if wide else 'few'} choices, {'undecided' if open_ else 'decided'}"
                for wide, open_ in zip(many, undecided, strict=True)
            ],
        }
    ).fill_nan(None)
    weapons = frame.sort(["quadrant", "choices"], descending=[False, True], nulls_last=True)
    quadrants = (
        weapons.group_by("quadrant", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            *(pl.col(name).median() for name in ("choices", "amplitude", "budget")),
            pl.col("weapon").head(5).str.join(", ").alias("weapons"),
        )
        .sort("n", descending=True)
    )
    described = {
        "quadrant": "Above the median or not, of choices and of amplitude.",
        "n": "Weapons.",
        "choices": "Their median.",
        "amplitude": "Their median.",
        "budget": "Their median.",
        "weapons": "Those with the most choices, up to five.",
    }
    return Answer(
        title="Axes of the weapons",
        findings=[weapons_sentence(frame.height, spec.greedy_threshold)],
        facts={
            "median_choices": frame["choices"].median(),  # type: ignore[dict-item]
            "median_amplitude": frame["amplitude"].median(),  # type: ignore[dict-item]
            "median_budget": frame["budget"].median(),  # type: ignore[dict-item]
        },
        tables=[
            ResultTable.of("quadrants", "Quadrants", "causal", quadrants, described, NOTE),
            ResultTable.of("weapons", "Weapons", "causal", weapons, _WEAPONS, NOTE),
        ],
        warnings=asked.warnings(),
    )


_WEAPONS = {
    "weapon": "The weapon.",
    "depth": "Tokens of its closed set.",
    "choices": "2 ** entropy of the choice of the next token (bits): as many equally likely tokens would be as open.",
    "amplitude": "Sum of 2 p (1 - p): in how many of these tokens two builds drawn from the probabilities differ.",
    "budget": "Sum of p: how many of these tokens a build is expected to have.",
    "quadrant": "Above the median of these weapons or not, of choices and of amplitude.",
}

EXPERIMENT = Experiment(AxesSpec, _answer)
