"""Enhancers and suppressors of a feature: tokens with which it is strong, or is not, and how much its mean differs."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import token_profile
from splat_assets.analysis.inference.effects import difference, standardised
from splat_assets.analysis.inference.grouped import grouped
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.weapon_groups import HighPercentile
from splat_serving.investigations.profiles import never, strong
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class TokenInfluence(FeatureSpec):
    """Enhancers and suppressors: tokens that strong samples have more or less often, and the difference of mean activation.

    Strong samples against all others, zeros included (the upstream system leaves the zeros out). With collapsing, of the rungs of
    an ability only the one that tells most is shown.
    """

    experiment: Literal["token-influence"] = "token-influence"
    min_samples: Annotated[
        int, Field(ge=2, lt=2**31, description="Only tokens that so many samples have, and so many lack.")
    ] = 50
    high_percentile: HighPercentile = 0.9
    collapse: Annotated[bool, Field(description="Of each ability only the rung that tells most.")] = True
    top_k: Annotated[int, Field(ge=1, le=1_000, description="So many of each kind.")] = 20


def _answer(subject: Subject, spec: TokenInfluence) -> Answer:
    found, builds = subject.feature(spec.feature_id), subject.builds
    if not found.n_active:
        return Answer(title=f"Feature {spec.feature_id}: token influence", warnings=[never(spec.feature_id)])
    frame = token_profile(strong(found, spec.high_percentile), builds)
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
        "n": "Samples that have it.",
        "n_active": "Strong samples that have it.",
        "lift": "How many times as often strong samples have it as samples at large.",
        "lift_low": "Lower border of its 95 % interval.",
        "lift_high": "Upper border.",
        "difference": "Mean activation with it less mean without it, all samples, zeros included.",
        "difference_low": "Lower border of its 95 % interval (Welch).",
        "difference_high": "Upper border.",
        "d": "That difference in pooled standard deviations (Cohen's d).",
        "q": "p of independence from being strong, adjusted for all tokens.",
    }
    note = f"{frame.height} {'abilities' if spec.collapse else 'tokens'} compared; enhancers first."
    table = ResultTable.of("tokens", "Enhancers and suppressors", "observed", shown, described, note)
    return Answer(title=f"Feature {spec.feature_id}: enhancers and suppressors", findings=_said(shown), tables=[table])


def _effect(subject: Subject, feature_id: int, token: int) -> tuple[float | None, ...]:
    builds = subject.builds
    has = np.zeros(builds.n_samples, dtype=np.int64)
    has[np.searchsorted(builds.offsets, np.flatnonzero(builds.tokens == token), side="right") - 1] = 1
    cells = grouped(subject.feature(feature_id), has, 2)
    found = difference(cells, 1, 0)
    values = (found.value, found.low, found.high, standardised(cells, 1, 0))
    return tuple(value if np.isfinite(value) else None for value in values)


def _said(shown: pl.DataFrame) -> list[str]:
    sure = shown.filter(pl.col("q") < 0.05)
    said = []
    for sign, verb in ((1, "goes with its strongest samples"), (-1, "keeps away from them")):
        part = sure.filter(pl.col("phi") * sign > 0).sort(pl.col("phi") * sign, descending=True)
        if not part.is_empty():
            said.append(f"{part['token'][0]} {verb} most (lift {part['lift'][0]:.3g}).")
    return said or ["No token sets its strongest samples apart more than chance does."]


EXPERIMENT = Experiment(TokenInfluence, _answer)
