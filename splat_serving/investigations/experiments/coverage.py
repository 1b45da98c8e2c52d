"""The share of a feature's core and of its strongest activations that have a token or weapon."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import token_profile, weapon_profile
from splat_assets.analysis.inference.intervals import share_interval
from splat_assets.errors import InputError
from splat_assets.wording import counted, unknown_name
from splat_serving.investigations.build_text import as_sentence, token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import in_band, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject


class Coverage(FeatureSpec):
    """The share of the core (25 to 75 % of the effective maximum) and of the top (90 % and more) that has a token or weapon.

    A token that covers the top but not the core marks the tail: the strongest examples then suggest a concept that most of
    the feature's activations do not have.
    """

    experiment: Literal["coverage"] = "coverage"
    tokens: Annotated[tuple[Ability, ...], Field(description="Tokens. If not given: the most associated ones.")] = ()
    threshold: Annotated[
        float, Field(ge=0, le=1, description="A tail marker has less than this share of the core and more of the top.")
    ] = 0.3
    weapons: Annotated[bool, Field(description="Also compare weapons.")] = True
    top_k: Annotated[int, Field(ge=1, le=500, description="How many candidates of each kind.")] = 15


def _answer(subject: Subject, spec: Coverage) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    if not activations.n_active:
        return Answer(title=f"Feature {spec.feature_id}: coverage", warnings=[never(spec.feature_id)])
    core, top = in_band(activations, "core"), in_band(activations, "top")
    kinds = [("token", token_profile)] + ([("weapon", weapon_profile)] if spec.weapons else [])
    parts = []
    for what, profile in kinds:
        in_core, in_top = profile(core, builds), profile(top, builds)
        names = _candidates(spec, what, profile(activations, builds))
        by = f"{what}_id"  # names may be shared
        both = in_core.select(by, what, "n", pl.col("n_active").alias("n_core")).join(
            in_top.select(by, pl.col("n_active").alias("n_top")), on=by, how="left"
        )
        parts.append(both.filter(pl.col(what).is_in(names)).rename({what: "name"}).select(pl.lit(what).alias("what"), "name", "n", "n_core", "n_top"))  # noqa: E501  # fmt: skip
    frame = pl.concat(parts)
    for band, size in (("core", core.n_active), ("top", top.n_active)):
        counts = frame[f"n_{band}"].to_numpy()
        low, high = share_interval(counts, np.full(counts.size, size))
        frame = frame.with_columns(
            pl.Series(band, counts / size if size else np.full(counts.size, np.nan)),
            pl.Series(f"{band}_low", low),
            pl.Series(f"{band}_high", high),
        )
    frame = frame.fill_nan(None)
    frame = frame.with_columns(
        ((pl.col("top_low") > spec.threshold) & (pl.col("core_high") < spec.threshold)).alias("tail")
    ).sort(["core", "name"], descending=[True, False], nulls_last=True)
    tails = frame.filter(pl.col("tail"))["name"].to_list()
    described = {
        "what": "token or weapon.",
        "name": "Its name.",
        "n": "Samples with it.",
        "core": "Share of the core activations that have it.",
        "core_low": "Lower bound of its exact 95 % interval.",
        "core_high": "Upper bound.",
        "top": "Share of the top activations that have it.",
        "top_low": "Lower bound of its exact 95 % interval.",
        "top_high": "Upper bound.",
        "tail": "Whether its interval is above the threshold in the top and below it in the core.",
    }
    note = f"{counted(core.n_active, 'core activations')}, {counted(top.n_active, 'top activations')}."
    table = ResultTable.of("coverage", "Coverage of the core and of the top", "observed", frame, described, note)
    findings = [
        f"Tail markers: {as_sentence(', '.join(map(token_in_words, tails)))}"
        if tails
        else "No token or weapon marks only the tail."
    ]
    return Answer(title=f"Feature {spec.feature_id}: coverage", findings=findings, tables=[table])


def _candidates(spec: Coverage, what: str, profile: pl.DataFrame) -> list[str]:
    known = profile[what].to_list()
    if what == "token" and spec.tokens:
        for name in spec.tokens:
            if name not in known:
                raise InputError(unknown_name("token", name, known))
        return list(spec.tokens)
    return known[: spec.top_k]


EXPERIMENT = Experiment(Coverage, _answer)
