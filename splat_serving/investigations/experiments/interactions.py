"""Pairs of abilities that interact: differences of differences of the mean activation."""

from itertools import combinations
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import dose_summary
from splat_assets.analysis.inference.grouped import grouped, interaction_contrast
from splat_assets.analysis.inference.intervals import with_q
from splat_assets.wording import counted
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject


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


def _answer(subject: Subject, spec: Interactions) -> Answer:
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
    frame = with_q(pl.DataFrame(rows, _SCHEMA, orient="row"))
    frame = frame.sort([pl.col("contrast").abs(), "first", "second"], descending=[True, False, False], nulls_last=True)
    described = {
        "first": "One ability.",
        "second": "The other.",
        "n_both": "Samples with both; all four cells have at least min_samples.",
        "mean_both": "Mean activation with both, zeros included.",
        "mean_first": "Mean activation with the first alone.",
        "mean_second": "Mean activation with the second alone.",
        "mean_neither": "Mean activation with neither.",
        "contrast": "mean_both - mean_first - mean_second + mean_neither.",
        "contrast_low": "Lower bound of its 95 % interval (Welch).",
        "contrast_high": "Upper bound.",
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


_SCHEMA = {
    "first": pl.String,
    "second": pl.String,
    "n_both": pl.Int64,
    "n_first": pl.Int64,
    "n_second": pl.Int64,
    "n_neither": pl.Int64,
    "mean_both": pl.Float64,
    "mean_first": pl.Float64,
    "mean_second": pl.Float64,
    "mean_neither": pl.Float64,
    "contrast": pl.Float64,
    "contrast_low": pl.Float64,
    "contrast_high": pl.Float64,
    "p": pl.Float64,
}


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


EXPERIMENT = Experiment(Interactions, _answer)
