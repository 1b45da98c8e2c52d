"""Whether a feature rises with an ability rung by rung, also among weapons of the same class."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.grouped import difference, grouped, stratified_difference
from splat_assets.analysis.inference.intervals import with_q
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject


class WithinFamily(FeatureSpec):
    """Each rung of an ability against the rung below: the step of the mean activation, unadjusted and within weapon classes.

    A negative step means that the feature stands for a range of the ability and not for more of it. Tokens are cumulative, so
    a build on a high rung has all lower tokens, too: the upstream system's "high rung with the low one" is every high build.
    """

    experiment: Literal["within-family"] = "within-family"
    family: Annotated[Ability, Field(description="The ability, for example swim_speed_up or ssu.")]
    min_samples: Annotated[int, Field(ge=2, lt=2**31, description="Minimum number of samples of a rung.")] = 10


def _answer(subject: Subject, spec: WithinFamily) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    group = builds.group(spec.family)
    rungs = builds.rungs_of(spec.family).astype(np.int64)
    codes, n_strata = np.zeros(builds.n_samples, dtype=np.int64), 1
    if "class" in builds.attributes:
        classes, names = builds.attribute_values("class")
        codes, n_strata = classes.astype(np.int64), len(names)
    sizes = np.bincount(rungs, minlength=group.n_rungs)
    there = [rung for rung in range(group.n_rungs) if sizes[rung] >= spec.min_samples]
    rows = []
    for below, above in zip(there, there[1:], strict=False):
        step = np.where(rungs == above, 1, np.where(rungs == below, 0, -1))
        cells = grouped(activations, step, 2)
        plain = difference(cells, 1, 0)
        coded = np.where((step < 0) | (codes < 0), -1, codes * 2 + step)
        alike = stratified_difference(grouped(activations, coded, 2 * n_strata), n_strata)
        names, sizes_of = (group.rung_name(below), group.rung_name(above)), (int(cells.n[0]), int(cells.n[1]))
        means = (float(cells.mean[0]), float(cells.mean[1]))
        own = (plain.value, plain.low, plain.high, plain.p)
        rows.append((*names, *sizes_of, *means, *own, alike.value, alike.low, alike.high))
    frame = with_q(pl.DataFrame(rows, _SCHEMA, orient="row"))
    falls = frame.filter((pl.col("q") < 0.05) & (pl.col("step") < 0))["above"].to_list()
    rises = frame.filter((pl.col("q") < 0.05) & (pl.col("step") > 0))["above"].to_list()
    sentence = (
        f"Steps of {token_in_words(spec.family)} beyond chance: the mean activation rises at {', '.join(rises) or 'no rung'} "
        f"and falls at {', '.join(falls) or 'no rung'}."
    )
    described = {
        "below": "A rung.",
        "above": "The next rung that has enough samples.",
        "n_below": "Samples on the lower rung.",
        "n_above": "Samples on the higher rung.",
        "mean_below": "Mean activation on the lower rung, zeros included.",
        "mean_above": "Mean activation on the higher rung.",
        "step": "mean_above - mean_below.",
        "step_low": "Lower bound of its 95 % interval (Welch).",
        "step_high": "Upper bound.",
        "alike": "The same step among weapons of the same class (Mantel-Haenszel weights).",
        "alike_low": "Lower bound of its 95 % interval.",
        "alike_high": "Upper bound.",
        "q": "p-value of no step, adjusted for the number of steps.",
    }
    table = ResultTable.of("steps", f"Steps of {token_in_words(spec.family)}", "observed", frame, described)
    return Answer(
        title=f"Feature {spec.feature_id}: steps of {token_in_words(spec.family)}",
        findings=[sentence] if activations.n_active else [],
        tables=[table],
        warnings=[] if activations.n_active else [never(spec.feature_id)],
    )


_SCHEMA = {
    "below": pl.String,
    "above": pl.String,
    "n_below": pl.Int64,
    "n_above": pl.Int64,
    "mean_below": pl.Float64,
    "mean_above": pl.Float64,
    "step": pl.Float64,
    "step_low": pl.Float64,
    "step_high": pl.Float64,
    "p": pl.Float64,
    "alike": pl.Float64,
    "alike_low": pl.Float64,
    "alike_high": pl.Float64,
}
EXPERIMENT = Experiment(WithinFamily, _answer)
