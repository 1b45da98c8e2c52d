"""The effect of ablating a feature on each output, measured, compared with the linear estimate from the weights."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.statistics import BANDS, band_numbers
from splat_assets.text.wording import counted
from splat_serving.database.protocol import NO_INFLUENCES
from splat_serving.investigations.edited_builds import draw_firing, mean_with_interval
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.results.outputs import IN_DATA, never_in_data
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject
from splat_serving.model.answers import Edit

_NO_LINEAR = "no linear estimate: influences on the outputs are unknown for this hook, or were not computed"
_SMALL = 0.05
"""A difference below this share of the largest measured change is negligible."""


class CausalEffect(FeatureSpec):
    """The effect of ablating a feature on each output, measured by running the model, beside the linear estimate.

    On sampled builds where it fires, all different; the reconstruction error of the SAE stays in place. The linear estimate is
    the direct path: minus the activation times W_dec @ W_out^T. Where the two differ, the layers behind the hook are not
    linear in the feature, and the measured change is the one to use. For a hook that the output layer does not read, such as
    token_ff, no linear estimate exists.
    """

    experiment: Literal["causal-effect"] = "causal-effect"
    n_builds: Annotated[int, Field(ge=2, le=2_000, description="How many builds on which it fires to sample.")] = 64
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many outputs to show.")] = 20


def _answer(subject: Subject, spec: CausalEffect) -> Answer:
    summary = subject.database.feature(spec.feature_id)
    influences = summary.influences or NO_INFLUENCES
    influence = {one["token"]: one["value"] for one in (*influences["raised"], *influences["lowered"])}
    draw, fires = draw_firing(subject, spec.feature_id, spec.n_builds, spec.seed)
    sets, stored = draw.sets[fires], draw.stored[fires].astype(np.float64)
    measured = subject.model.effects(sets, Edit(spec.feature_id, "ablate"), n_random=0).own.astype(np.float64)
    special = {subject.vocabulary.pad_id, subject.vocabulary.null_id}
    tokens = [token for token in subject.vocabulary.tokens if token.id not in special]
    measured = measured[:, [token.id for token in tokens]]
    linear = -stored[:, None] * np.array([influence.get(token.name, np.nan) for token in tokens])
    unseen = never_in_data(subject.database.tokens())
    outputs = _outputs([token.name for token in tokens], measured, linear, spec.seed)
    outputs = outputs.with_columns(in_data=~pl.col("token").is_in(list(unseen)))
    outputs = outputs.sort("in_data", descending=True, maintain_order=True)
    r = _pearson(measured.mean(axis=0), linear.mean(axis=0))
    n_apart = int(outputs["disagrees"].sum()) if influence else None
    return Answer(
        title=f"Feature {spec.feature_id} ablated: measured and linear effect",
        findings=[_agreement_sentence(r, n_apart, len(tokens), len(sets))],
        facts={"n_builds": len(sets), "n_outputs": len(tokens), "n_disagree": n_apart, "pearson": r},
        tables=[
            _output_table(outputs, spec.top_k),
            _bands(stored, summary.statistics["effective_max"] or 0.0, measured, linear),
        ],
        warnings=[*draw.warnings, *([] if influence else [_NO_LINEAR])],
    )


def _outputs(
    names: list[str], measured: npt.NDArray[np.float64], linear: npt.NDArray[np.float64], seed: int
) -> pl.DataFrame:
    """`token, n, measured, measured_low, measured_high, linear, difference, disagrees`, the largest measured change first.

    disagrees: the interval of measured minus linear, build by build, excludes 0, and the mean difference is not negligible.
    """
    largest = float(np.abs(measured.mean(axis=0)).max(initial=0.0))
    rows = []
    for at, name in enumerate(names):
        difference, low, high = mean_with_interval(measured[:, at] - linear[:, at], seed)
        known = not np.isnan(difference)
        apart = not low <= 0 <= high and abs(difference) > _SMALL * largest if known else None
        estimate = float(linear[:, at].mean()) if known else None
        known_difference = difference if known else None
        rows.append(
            (name, len(measured), *mean_with_interval(measured[:, at], seed), estimate, known_difference, apart)
        )
    schema = {"token": pl.String, "n": pl.Int64, "measured": pl.Float64, "measured_low": pl.Float64, "measured_high": pl.Float64,
              "linear": pl.Float64, "difference": pl.Float64, "disagrees": pl.Boolean}  # fmt: skip
    frame = pl.DataFrame(rows, schema, orient="row")
    return frame.sort(pl.col("measured").abs(), "token", descending=[True, False])


def _bands(
    stored: npt.NDArray[np.float64], top: float, measured: npt.NDArray[np.float64], linear: npt.NDArray[np.float64]
) -> ResultTable:
    """A row for each band that has builds, the strongest first."""
    numbers = band_numbers(stored, top)
    rows = []
    for number in range(len(BANDS) - 1, -1, -1):
        own = numbers == number
        if own.any():
            mean, estimate = measured[own].mean(axis=0), linear[own].mean(axis=0)
            moved = None if np.isnan(estimate).any() else float(np.abs(estimate).mean())
            rows.append((BANDS[number].name, int(own.sum()), float(stored[own].mean()), float(np.abs(mean).mean()), moved,
                         _pearson(mean, estimate)))  # fmt: skip
    described = {
        "band": "A range of activations, as shares of the effective maximum.",
        "n": "Sampled builds in it.",
        "activation": "Their mean activation.",
        "moved": "Mean over outputs of |mean measured change|.",
        "linear_moved": "The same for the linear estimate.",
        "pearson": "Correlation of the two over outputs.",
    }
    return ResultTable.of("bands", "By activation band", "causal", rows, described)


def _pearson(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float | None:
    """None where one side is constant or unknown."""
    a, b = first - first.mean(), second - second.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length > 0 else None


def _agreement_sentence(r: float | None, n_apart: int | None, n_outputs: int, n_builds: int) -> str:
    if n_apart is None:
        return f"Measured effect on {counted(n_outputs, 'outputs')}, averaged over {counted(n_builds, 'builds')}."
    correlation = "no correlation (one side is constant)" if r is None else f"r = {r:.4f}"
    apart = f"they disagree on {n_apart}" if n_apart else "they disagree on none"
    return (
        f"Measured against linear effect on {counted(n_outputs, 'outputs')}, averaged over {counted(n_builds, 'builds')}: "
        f"{correlation}; {apart} beyond the variation between builds."
    )


def _output_table(outputs: pl.DataFrame, top_k: int) -> ResultTable:
    described = {
        "token": "The output.",
        "n": "Builds.",
        "measured": "Mean change of its logit when the feature is ablated; interval: bootstrap over builds.",
        "linear": "Mean linear estimate: minus the activation times the influence.",
        "difference": "Measured minus linear.",
        "in_data": IN_DATA,
        "disagrees": "The 95 % interval of the difference excludes 0, and it is above 5 % of the largest measured change.",
    }
    shown = outputs.head(top_k)
    note = f"{counted(outputs.height, 'outputs')}; largest measured changes first."
    return ResultTable.of("outputs", "Effect of ablation on each output", "causal", shown, described, note)


EXPERIMENTS = (Experiment(CausalEffect, _answer, {"n_builds": ("--max-examples",)}),)
