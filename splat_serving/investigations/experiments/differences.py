"""Differences of a feature's mean activation: with and without an ability, rung by rung, and for pairs of abilities."""

from itertools import combinations
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.builds.profile import dose_summary
from splat_assets.analysis.inference.grouped import (
    difference,
    grouped,
    interaction_contrast,
    standardised,
    stratified_difference,
)
from splat_assets.analysis.inference.intervals import with_q
from splat_assets.errors import InputError
from splat_assets.text.wording import counted, unknown_name
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import bars, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject


class Binary(FeatureSpec):
    """Mean activation with and without an ability, and their difference, unadjusted and adjusted for another ability.

    Observed, for all main-only abilities or the tokens listed. Adjusted: within each rung of a primary ability, with
    Mantel-Haenszel weights, so that the effect of the primary ability is not attributed to the other one.
    """

    experiment: Literal["binary"] = "binary"
    tokens: Annotated[
        tuple[Ability, ...], Field(description="Tokens or abilities. If not given: all main-only abilities.")
    ] = ()
    primary_family: Annotated[Ability | None, Field(description="Adjust for this ability.")] = None
    min_samples: Annotated[
        int, Field(ge=2, lt=2**31, description="Minimum number of samples with it, and without it.")
    ] = 20


def _binary_answer(subject: Subject, spec: Binary) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    strata = np.zeros(builds.n_samples, dtype=np.int64)
    n_strata = 1
    if spec.primary_family is not None:
        n_strata = builds.group(spec.primary_family).n_rungs
        strata = builds.rungs_of(spec.primary_family).astype(np.int64)
    rows, skipped = [], []
    for name in spec.tokens or [group.name for group in builds.groups if not group.has_levels]:
        has = _has(builds, name)
        n = int(has.sum())
        if min(n, builds.n_samples - n) < spec.min_samples:
            skipped.append(name)
            continue
        cells = grouped(activations, has.astype(np.int64), 2)
        plain = difference(cells, 1, 0)
        adjusted = stratified_difference(grouped(activations, strata * 2 + has, 2 * n_strata), n_strata)
        counts = (name, n, int(cells.n_active[1]), float(cells.mean[1]), float(cells.mean[0]))
        own = (plain.value, plain.low, plain.high, standardised(cells, 1, 0), plain.p)
        rows.append((*counts, *own, adjusted.value, adjusted.low, adjusted.high, adjusted.p))
    frame = with_q(with_q(pl.DataFrame(rows, _SCHEMA_BINARY, orient="row")), "adjusted_p", "adjusted_q")
    frame = frame.sort([pl.col("difference").abs(), "token"], descending=[True, False], nulls_last=True)
    warnings = [f"too few samples with or without {', '.join(skipped)}: not compared"] if skipped else []
    return Answer(
        title=f"Feature {spec.feature_id}: mean with and without each ability",
        findings=_largest_difference(frame, spec),
        tables=[_table(frame, spec)],
        figures=[
            bars(
                "differences", "Difference of the means, with minus without", frame, "token", "difference", "difference"
            )
        ],
        warnings=[*([] if activations.n_active else [never(spec.feature_id)]), *warnings],
    )


_SCHEMA_BINARY = {"token": pl.String, "n": pl.Int64, "n_active": pl.Int64} | dict.fromkeys(
    (
        "mean",
        "mean_without",
        "difference",
        "difference_low",
        "difference_high",
        "d",
        "p",
        "adjusted",
        "adjusted_low",
        "adjusted_high",
        "adjusted_p",
    ),
    pl.Float64,
)


def _has(builds: BuildTable, name: str) -> np.ndarray:
    if name in builds.group_numbers:
        return np.asarray(builds.rungs_of(name) > 0)
    token = builds.vocabulary.by_name.get(name)
    if token is None or token.group not in builds.group_numbers:
        known = [*builds.group_numbers, *(token.name for token in builds.vocabulary.tokens)]
        raise InputError(unknown_name("token or ability", name, known))
    return np.asarray(builds.rungs_of(token.group) >= builds.rung_at(token.group, token.level or 1))


def _table(frame: pl.DataFrame, spec: Binary) -> ResultTable:
    described = {
        "token": "The ability, or the token (this rung or higher).",
        "n": "Samples with it.",
        "n_active": "Samples with it on which the feature fires.",
        "mean": "Mean activation with it, zeros included.",
        "mean_without": "Mean activation without it.",
        "difference": "mean - mean_without; interval: Welch.",
        "d": "The difference in pooled standard deviations (Cohen's d).",
        "q": "p-value of no difference, adjusted for the number of rows.",
    }
    if spec.primary_family is not None:
        described |= {
            "adjusted": f"The difference within rungs of {spec.primary_family}, with Mantel-Haenszel weights.",
            "adjusted_q": "p-value of no difference within rungs, adjusted for the number of rows.",
        }
    return ResultTable.of("binary", "Mean with and without", "observed", frame, described)


def _largest_difference(frame: pl.DataFrame, spec: Binary) -> list[str]:
    if frame.is_empty():
        return ["Nothing compared: too few samples with or without each token; lower --min-samples."]
    name, q = ("adjusted", "adjusted_q") if spec.primary_family else ("difference", "q")
    sure = frame.filter(pl.col(q) < 0.05).sort(pl.col(name).abs(), descending=True)
    adjusted = f" (adjusted for {token_in_words(spec.primary_family)})" if spec.primary_family else ""
    if sure.is_empty():
        return [f"No ability or token is associated with a difference beyond chance{adjusted}."]
    row = sure.row(0, named=True)
    return [f"Largest difference of the mean activation{adjusted}: {token_in_words(row['token'])}, {row[name]:+.3g} with it "
            f"(95 % interval {row[f'{name}_low']:+.3g} to {row[f'{name}_high']:+.3g})."]  # fmt: skip


class WithinFamily(FeatureSpec):
    """Each rung of an ability against the rung below: the step of the mean activation, unadjusted and within weapon classes.

    A negative step means that the feature stands for a range of the ability and not for more of it. Tokens are cumulative, so
    a build on a high rung has all lower tokens, too: the upstream system's "high rung with the low one" is every high build.
    """

    experiment: Literal["within-family"] = "within-family"
    family: Annotated[Ability, Field(description="The ability, for example swim_speed_up or ssu.")]
    min_samples: Annotated[int, Field(ge=2, lt=2**31, description="Minimum number of samples of a rung.")] = 10


def _within_family_answer(subject: Subject, spec: WithinFamily) -> Answer:
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
    frame = with_q(pl.DataFrame(rows, _SCHEMA_WITHIN_FAMILY, orient="row"))
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
        "step": "mean_above - mean_below; interval: Welch.",
        "alike": "The same step among weapons of the same class (Mantel-Haenszel weights).",
        "q": "p-value of no step, adjusted for the number of steps.",
    }
    table = ResultTable.of("steps", f"Steps of {token_in_words(spec.family)}", "observed", frame, described)
    return Answer(
        title=f"Feature {spec.feature_id}: steps of {token_in_words(spec.family)}",
        findings=[sentence] if activations.n_active else [],
        tables=[table],
        warnings=[] if activations.n_active else [never(spec.feature_id)],
    )


_SCHEMA_WITHIN_FAMILY = {
    "below": pl.String,
    "above": pl.String,
    "n_below": pl.Int64,
    "n_above": pl.Int64,
} | dict.fromkeys(
    ("mean_below", "mean_above", "step", "step_low", "step_high", "p", "alike", "alike_low", "alike_high"), pl.Float64
)


class Interactions(FeatureSpec):
    """Pairs of abilities whose joint association with the activation is more (or less) than the sum of both, with interval and q.

    m(both) - m(first) - m(second) + m(neither), means over all samples, zeros included. The upstream system counts only how often
    abilities occur together and ignores the activation. `heatmap` tests a pair over all rungs, also causally.
    """

    experiment: Literal["interactions"] = "interactions"
    n_families: Annotated[
        int, Field(ge=2, le=26, description="How many abilities to pair, those that explain most.")
    ] = 10
    given: Annotated[Ability | None, Field(description="Only builds that wear this ability.")] = None
    min_samples: Annotated[
        int, Field(ge=2, description="Minimum number of samples in each of the four cells of a pair.")
    ] = 20
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many pairs to show.")] = 20


def _interactions_answer(subject: Subject, spec: Interactions) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    within = np.ones(builds.n_samples, dtype=np.bool_) if spec.given is None else builds.rungs_of(spec.given) > 0
    ranked = dose_summary(activations, builds).filter(pl.col("eta2").is_not_null())["ability"].to_list()
    families = [name for name in ranked if name != spec.given][: spec.n_families]
    rows, n_few = [], 0
    for first, second in combinations(families, 2):
        a, b = builds.rungs_of(first) > 0, builds.rungs_of(second) > 0
        cells = grouped(activations, np.where(within, a.astype(np.int64) * 2 + b, -1), 4)
        if cells.n.min() < spec.min_samples:
            n_few += 1
            continue
        contrast = interaction_contrast(cells, 3, 2, 1, 0)
        rows.append(
            (
                first,
                second,
                *cells.n.tolist()[::-1],
                *cells.mean.tolist()[::-1],
                contrast.value,
                contrast.low,
                contrast.high,
                contrast.p,
            )
        )
    frame = with_q(pl.DataFrame(rows, _SCHEMA_INTERACTIONS, orient="row"))
    frame = frame.sort([pl.col("contrast").abs(), "first", "second"], descending=[True, False, False], nulls_last=True)
    described = {
        "first": "One ability.",
        "second": "The other.",
        "n_both": "Samples with both; all four cells have at least min_samples.",
        "mean_both": "Mean activation with both, zeros included.",
        "mean_first": "Mean activation with the first alone.",
        "mean_second": "Mean activation with the second alone.",
        "mean_neither": "Mean activation with neither.",
        "contrast": "mean_both - mean_first - mean_second + mean_neither; interval: Welch.",
        "q": "p-value of no interaction, adjusted for the number of pairs.",
    }
    note = f"{counted(frame.height, 'pairs')} compared; {n_few} more left out, with too few samples in a cell."
    table = ResultTable.of("pairs", "Pairs of abilities", "observed", frame.head(spec.top_k), described, note)
    where = "" if spec.given is None else f", builds with {token_in_words(spec.given)}"
    return Answer(
        title=f"Feature {spec.feature_id}: pairs of abilities{where}",
        findings=_strongest_interaction(frame),
        tables=[table],
        warnings=[] if activations.n_active else [never(spec.feature_id)],
    )


_SCHEMA_INTERACTIONS = {
    "first": pl.String,
    "second": pl.String,
    "n_both": pl.Int64,
    "n_first": pl.Int64,
    "n_second": pl.Int64,
    "n_neither": pl.Int64,
} | dict.fromkeys(
    ("mean_both", "mean_first", "mean_second", "mean_neither", "contrast", "contrast_low", "contrast_high", "p"),
    pl.Float64,
)


def _strongest_interaction(frame: pl.DataFrame) -> list[str]:
    if frame.is_empty():
        return ["No pair of abilities has enough samples in all four cells; lower --min-samples."]
    sure = frame.filter(pl.col("q") < 0.05)
    if sure.is_empty():
        return ["No pair of abilities interacts beyond chance."]
    row = sure.row(0, named=True)
    more = "more" if row["contrast"] > 0 else "less"
    return [
        f"Strongest interaction: with {token_in_words(row['first'])} and {token_in_words(row['second'])} together, the mean "
        f"activation is {more} than the sum of both: {row['contrast']:+.3g} "
        f"(95 % interval {row['contrast_low']:+.3g} to {row['contrast_high']:+.3g})."
    ]


EXPERIMENTS = (
    Experiment(Binary, _binary_answer),
    Experiment(WithinFamily, _within_family_answer),
    Experiment(Interactions, _interactions_answer),
)
