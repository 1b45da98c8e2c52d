"""Enhancers and suppressors of a feature: tokens enriched or depleted among its strong samples, and the mean difference."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import token_profile
from splat_assets.analysis.inference.grouped import difference, grouped, standardised
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.weapon_groups import HighPercentile
from splat_serving.investigations.profiles import never, strong
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class TokenInfluence(FeatureSpec):
    """Enhancers and suppressors: tokens enriched or depleted among strong samples, and the difference of the mean activation.

    Strong samples against all others, zeros included (the upstream system leaves the zeros out). With collapsing, only the
    most associated rung of each ability is shown.
    """

    experiment: Literal["token-influence"] = "token-influence"
    min_samples: Annotated[
        int, Field(ge=2, lt=2**31, description="Minimum number of samples with a token, and without it.")
    ] = 50
    high_percentile: HighPercentile = 0.9
    collapse: Annotated[bool, Field(description="Show only the most associated rung of each ability.")] = True
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many of each kind to show.")] = 20


def _answer(subject: Subject, spec: TokenInfluence) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    if not activations.n_active:
        return Answer(title=f"Feature {spec.feature_id}: token influence", warnings=[never(spec.feature_id)])
    frame = token_profile(strong(activations, spec.high_percentile), builds)
    frame = frame.filter((pl.col("n") >= spec.min_samples) & (subject.n_samples - pl.col("n") >= spec.min_samples))
    group_of = {token.name: token.group for token in builds.vocabulary.tokens}
    frame = frame.with_columns(pl.col("token").replace_strict(group_of, return_dtype=pl.String).alias("ability"))
    if spec.collapse:
        frame = frame.sort(pl.col("phi").abs(), descending=True).unique("ability", keep="first", maintain_order=True)
    shown = pl.concat([
        frame.filter(pl.col("phi") > 0).sort("phi", descending=True).head(spec.top_k),
        frame.filter(pl.col("phi") < 0).sort("phi").head(spec.top_k),
    ])  # fmt: skip
    rows = [_effect(subject, spec.feature_id, token) for token in shown["token_id"].to_list()]
    schema = {"difference": pl.Float64, "difference_low": pl.Float64, "difference_high": pl.Float64, "d": pl.Float64}
    shown = pl.concat([shown, pl.DataFrame(rows, schema, orient="row")], how="horizontal")
    described = {
        "token": "The token.",
        "n": "Samples with it.",
        "n_active": "Strong samples with it.",
        "lift": "How many times as often it occurs among strong samples as overall.",
        "lift_low": "Lower bound of its 95 % interval.",
        "lift_high": "Upper bound.",
        "difference": "Mean activation with it minus mean without it, all samples, zeros included.",
        "difference_low": "Lower bound of its 95 % interval (Welch).",
        "difference_high": "Upper bound.",
        "d": "That difference in pooled standard deviations (Cohen's d).",
        "q": "p-value of independence from being strong, adjusted for all tokens.",
    }
    note = f"{frame.height} {'abilities' if spec.collapse else 'tokens'} compared; enhancers first."
    table = ResultTable.of("tokens", "Enhancers and suppressors", "observed", shown, described, note)
    return Answer(
        title=f"Feature {spec.feature_id}: enhancers and suppressors",
        findings=_enhancer_sentences(shown),
        tables=[table],
    )


def _effect(subject: Subject, feature_id: int, token: int) -> tuple[float | None, ...]:
    builds = subject.builds
    has = np.zeros(builds.n_samples, dtype=np.int64)
    has[np.searchsorted(builds.offsets, np.flatnonzero(builds.tokens == token), side="right") - 1] = 1
    cells = grouped(subject.feature(feature_id), has, 2)
    contrast = difference(cells, 1, 0)
    values = (contrast.value, contrast.low, contrast.high, standardised(cells, 1, 0))
    return tuple(value if np.isfinite(value) else None for value in values)


def _enhancer_sentences(shown: pl.DataFrame) -> list[str]:
    sure = shown.filter(pl.col("q") < 0.05)
    sentences = []
    for sign, kind in ((1, "enhancer"), (-1, "suppressor")):
        part = sure.filter(pl.col("phi") * sign > 0).sort(pl.col("phi") * sign, descending=True)
        if not part.is_empty():
            name = token_in_words(part["token"][0])
            sentences.append(f"Strongest {kind}: {name} (lift {part['lift'][0]:.3g} among the strong samples).")
    return sentences or ["No token is associated with the strong samples beyond chance."]


EXPERIMENT = Experiment(TokenInfluence, _answer)
