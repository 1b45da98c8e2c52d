"""Weapons compared by how open their next tokens are: choices, amplitude, budget, and the quadrants of the first two."""

from typing import Literal

import polars as pl

from splat_assets.analysis.predictions.branches import axes, median_halves
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import NOTE, Policy, Predictor, Threshold, depth, weapons_sentence
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject


class AxesSpec(Spec):
    """How open the next tokens of each weapon are: number of choices, undecidedness, and expected number of further tokens.

    Every weapon starts from the tokens that the model is sure of. Quadrants split choices and amplitude at their medians over
    all weapons: they compare weapons with each other and mean nothing for one weapon alone.
    """

    experiment: Literal["axes"] = "axes"
    greedy_threshold: Threshold = 0.7
    stack_policy: Policy = "next-tier"


def _answer(subject: Subject, spec: AxesSpec) -> Answer:
    predictor = Predictor(subject)
    closures = predictor.closed(predictor.weapons(None), spec.greedy_threshold)
    weapon_axes = [axes(branch) for branch in predictor.branches(closures, spec.stack_policy)]
    many = median_halves([one.choices for one in weapon_axes])
    undecided = median_halves([one.amplitude for one in weapon_axes])
    frame = pl.DataFrame(
        {
            "weapon": [predictor.weapon(one.weapon_id) for one in closures],
            "depth": [depth(one) for one in closures],
            "choices": [one.choices for one in weapon_axes],
            "amplitude": [one.amplitude for one in weapon_axes],
            "budget": [one.budget for one in weapon_axes],
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
        "quadrant": "Above or below the median of choices and of amplitude.",
        "n": "Weapons.",
        "choices": "Their median.",
        "amplitude": "Their median.",
        "budget": "Their median.",
        "weapons": "The weapons with the most choices, up to five.",
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
        warnings=predictor.warnings(),
    )


_WEAPONS = {
    "weapon": "The weapon.",
    "depth": "Number of tokens in its starting set.",
    "choices": "2 ** entropy of the next token (bits): the number of equally likely tokens with the same entropy.",
    "amplitude": "Sum of 2 p (1 - p): the expected number of tokens in which two builds drawn from the probabilities differ.",
    "budget": "Sum of p: the expected number of these tokens in a build.",
    "quadrant": "Above or below the median of all weapons, of choices and of amplitude.",
}

EXPERIMENT = Experiment(AxesSpec, _answer)
