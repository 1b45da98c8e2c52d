"""Tokens, weapons and sets of abilities that are associated with a feature, and how far each covers its activations."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import token_profile, weapon_profile
from splat_assets.analysis.inference.grouped import difference, grouped, standardised
from splat_assets.analysis.inference.intervals import share_interval
from splat_assets.analysis.statistics import BANDS
from splat_assets.errors import InputError
from splat_assets.text.wording import counted, unknown_name
from splat_serving.investigations.build_text import as_sentence, token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.weapons import HighPercentile, TopK
from splat_serving.investigations.profiles import PROFILE, bars, in_band, never, profile_table, strong
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject


class Enrichment(FeatureSpec):
    """Tokens and weapons that are more (or less) frequent among a feature's strongest samples than overall.

    lift = P(token | strong) / P(token), over all samples. Every token is compared.
    """

    experiment: Literal["enrichment"] = "enrichment"
    high_percentile: HighPercentile = 0.9
    top_k: TopK = 15


def _enrichment_answer(subject: Subject, spec: Enrichment) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    if not activations.n_active:
        return Answer(title=f"Feature {spec.feature_id}: enrichment", warnings=[never(spec.feature_id)])
    high = strong(activations, spec.high_percentile)
    tokens, weapons = token_profile(high, builds), weapon_profile(high, builds)
    more = tokens.filter(pl.col("phi") > 0)
    less = tokens.filter(pl.col("phi") < 0).sort("phi", "token_id")
    note = f"{counted(high.n_active, 'strong samples')}; {counted(tokens.height, 'tokens')} compared."
    return Answer(
        title=f"Feature {spec.feature_id}: enrichment among its strongest samples",
        tables=[
            profile_table("enhancers", "Enriched tokens", more, "token", spec.top_k, note),
            profile_table("suppressors", "Depleted tokens", less, "token", spec.top_k, note),
            profile_table("weapons", "Weapons", weapons, "weapon", spec.top_k),
        ],
        figures=[bars("tokens", "Lift of tokens among strong samples", tokens, "token", "lift", "lift", spec.top_k)],
    )


class Bands(FeatureSpec):
    """Tokens and weapons in each activation band (shares of the effective maximum), with lift."""

    experiment: Literal["bands"] = "bands"
    top_k: Annotated[int, Field(ge=1, le=100, description="How many tokens and weapons to show per band.")] = 5


def _bands_answer(subject: Subject, spec: Bands) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    if not activations.n_active:
        return Answer(title=f"Feature {spec.feature_id}: bands", warnings=[never(spec.feature_id)])
    parts, counts = [], []
    for band in BANDS:
        held = in_band(activations, band.name)
        counts.append(held.n_active)
        if held.n_active:
            for kind, profile in (("token", token_profile), ("weapon", weapon_profile)):
                top = profile(held, builds).head(spec.top_k).rename({kind: "name"})
                parts.append(
                    top.select(
                        pl.lit(band.name).alias("band"),
                        pl.lit(kind).alias("what"),
                        "name",
                        *PROFILE,
                        "lift_low",
                        "lift_high",
                    )
                )
    low, high = share_interval(counts, activations.n_active)
    sizes = pl.DataFrame({"band": [band.name for band in BANDS], "n": counts, "share": np.array(counts) / activations.n_active,
                          "share_low": low, "share_high": high})  # fmt: skip
    described = {
        "band": "A range of activations, as shares of the effective maximum (the 99.5th percentile).",
        "n": "Number of activations in it.",
        "share": "Share of all activations; interval: exact.",
    }
    profile_columns = {"band": "The band.", "what": "token or weapon.", "name": "Its name.", **PROFILE}
    return Answer(
        title=f"Feature {spec.feature_id}: activation bands",
        tables=[
            ResultTable.of("sizes", "Bands", "observed", sizes, described),
            ResultTable.of(
                "profiles", "Tokens and weapons of each band", "observed", pl.concat(parts), profile_columns
            ),
        ],
    )


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


def _coverage_answer(subject: Subject, spec: Coverage) -> Answer:
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
        "core": "Share of the core activations that have it; interval: exact.",
        "top": "Share of the top activations that have it; interval: exact.",
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


def _token_influence_answer(subject: Subject, spec: TokenInfluence) -> Answer:
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
        "difference": "Mean activation with it minus mean without it, all samples, zeros included; interval: Welch.",
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


EXPERIMENTS = (
    Experiment(Enrichment, _enrichment_answer),
    Experiment(Bands, _bands_answer),
    Experiment(Coverage, _coverage_answer),
    Experiment(TokenInfluence, _token_influence_answer),
)
