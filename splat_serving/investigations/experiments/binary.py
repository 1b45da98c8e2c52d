"""Difference of a feature's mean with and without an ability: unadjusted, and adjusted for another ability."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.inference.grouped import difference, grouped, standardised, stratified_difference
from splat_assets.analysis.inference.intervals import with_q
from splat_assets.errors import InputError
from splat_assets.wording import unknown_name
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


def _answer(subject: Subject, spec: Binary) -> Answer:
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
    frame = with_q(with_q(pl.DataFrame(rows, _SCHEMA, orient="row")), "adjusted_p", "adjusted_q")
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


_SCHEMA = {
    "token": pl.String,
    "n": pl.Int64,
    "n_active": pl.Int64,
    "mean": pl.Float64,
    "mean_without": pl.Float64,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "d": pl.Float64,
    "p": pl.Float64,
    "adjusted": pl.Float64,
    "adjusted_low": pl.Float64,
    "adjusted_high": pl.Float64,
    "adjusted_p": pl.Float64,
}


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
        "difference": "mean - mean_without.",
        "difference_low": "Lower bound of its 95 % interval (Welch).",
        "difference_high": "Upper bound.",
        "d": "The difference in pooled standard deviations (Cohen's d).",
        "q": "p-value of no difference, adjusted for the number of rows.",
    }
    if spec.primary_family is not None:
        described |= {
            "adjusted": f"The difference within rungs of {spec.primary_family}, with Mantel-Haenszel weights.",
            "adjusted_low": "Lower bound of its 95 % interval.",
            "adjusted_high": "Upper bound.",
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


EXPERIMENT = Experiment(Binary, _answer)
