"""`splat find RULE`: the builds that match a rule, and the features associated with it."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.intervals import benjamini_hochberg, lift_interval, share_interval, two_by_two_p
from splat_assets.analysis.rules.score import RuleScorer
from splat_assets.domain.concepts import Rule
from splat_assets.domain.rule_text import LONGEST_RULE, Names, parse_rule_text, rule_as_text
from splat_assets.text.wording import counted, percent
from splat_serving.investigations.build_text import SAMPLE_COLUMNS, sample_as_text
from splat_serving.investigations.experiment import answered
from splat_serving.investigations.results.feature_names import LABEL, named
from splat_serving.investigations.results.result import Answer, Result, ResultTable
from splat_serving.investigations.spec import Seed, Spec
from splat_serving.investigations.subject import Subject

MOST_SCORED = 100


class Find(Spec):
    """A random sample of the builds that match a rule, and the features associated with it."""

    experiment: Literal["find"] = "find"
    rule: Annotated[str, Field(max_length=LONGEST_RULE, description="A rule, for example ssu>=21 and ninja_squid.")]
    limit: Annotated[int, Field(ge=0, le=10_000, description="How many builds to show, sampled at random.")] = 10
    top_k: Annotated[int, Field(ge=0, le=100_000, description="How many features to show.")] = 15
    seed: Seed = 0


def find(subject: Subject, spec: Find, command: str = "") -> Result:
    """The builds and features of a rule; RuleTextError with a caret where the rule cannot be read."""
    return answered(subject, spec, _answer, command)


def _answer(subject: Subject, spec: Find) -> Answer:
    builds = subject.builds
    rule = parse_rule_text(spec.rule, Names(subject.vocabulary, subject.contexts))
    holds = np.flatnonzero(builds.holds(rule))
    low, high = (float(bound) for bound in share_interval(holds.size, subject.n_samples))
    findings = [
        f"{holds.size:,} of {counted(subject.n_samples, 'samples')} match the rule "
        f"({percent(holds.size / max(subject.n_samples, 1))}; 95 % interval {percent(low)} to {percent(high)})."
    ]
    tables = []
    if holds.size and spec.top_k:
        features = _features(subject, rule)
        scored = _scored(subject, rule, features.head(spec.top_k), spec.seed)
        tables.append(_features_table(named(subject, scored), features.height))
        findings.append(_most_associated(features, holds.size))
    if holds.size and spec.limit:
        tables.append(_examples(subject, holds, spec))
    return Answer(
        title=f"Builds with {rule_as_text(rule)}", findings=findings, facts={"n_builds": int(holds.size)}, tables=tables
    )


def _features(subject: Subject, rule: Rule) -> pl.DataFrame:
    overlaps = subject.database.features_of_rule(rule)
    frame = pl.from_arrow(overlaps.table)
    assert isinstance(frame, pl.DataFrame)
    both, active = frame["n_both"].to_numpy(), frame["n_active"].to_numpy()
    _, low, high = lift_interval(both, active, overlaps.n_set, overlaps.n_samples)
    return frame.with_columns(
        pl.Series("lift_low", low),
        pl.Series("lift_high", high),
        pl.Series("f1", 2 * both / (overlaps.n_set + active)),
        pl.Series("q", benjamini_hochberg(two_by_two_p(both, active, overlaps.n_set, overlaps.n_samples))).fill_nan(
            None
        ),
    )


def _scored(subject: Subject, rule: Rule, frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The frame with what needs the activations themselves, for its first features: the interval of F1, and AUROC."""
    scorer = RuleScorer(subject.builds)
    scores = [scorer.score(rule, subject.feature(one), seed) for one in frame["feature_id"].head(MOST_SCORED).to_list()]
    unknown = [None] * (frame.height - len(scores))
    return frame.with_columns(
        pl.Series(name, [*(getattr(score, name) for score in scores), *unknown], pl.Float64)
        for name in ("f1_low", "f1_high", "auroc")
    )


def _features_table(frame: pl.DataFrame, n_features: int) -> ResultTable:
    described = {
        "feature_id": "The feature.",
        "label": LABEL,
        "n_active": "Samples on which it fires.",
        "n_both": "Samples on which it fires that match the rule.",
        "share_of_set": "Share of the rule's samples on which it fires (recall).",
        "share_of_feature": "Share of its samples that match the rule (precision).",
        "f1": "Harmonic mean of precision and recall; interval: bootstrap over distinct builds.",
        "auroc": "Probability that its activation is higher on a sample of the rule than on another one; ties count half.",
        "lift": "How many times as often it fires where the rule holds as overall.",
        "phi": "Correlation of matching the rule and firing.",
        "q": "p-value of independence, adjusted for all features.",
    }
    note = f"{counted(n_features, 'features', 'fire')} on these builds; ordered by phi."
    if frame.height > MOST_SCORED:
        note += f" AUROC and the interval of F1 are computed for the first {MOST_SCORED} only."
    return ResultTable.of("features", "Associated features", "observed", frame, described, note)


def _most_associated(frame: pl.DataFrame, n_builds: int) -> str:
    if frame.is_empty():
        return "No feature fires on these builds."
    row = frame.row(0, named=True)
    return (
        f"Strongest feature: {row['feature_id']}. It fires on {row['n_both']:,} of these {counted(n_builds, 'builds')} "
        f"({percent(row['share_of_set'])}); they are {percent(row['share_of_feature'])} of its "
        f"{counted(row['n_active'], 'activations')}."
    )


def _examples(subject: Subject, holds: np.ndarray, spec: Find) -> ResultTable:
    rng = np.random.default_rng(spec.seed)
    chosen = np.sort(rng.choice(holds, min(spec.limit, holds.size), replace=False))
    rows = [(sample, *sample_as_text(subject, sample)) for sample in chosen.tolist()]
    described = {name: SAMPLE_COLUMNS[name] for name in ("sample", "weapon", "abilities")}
    note = f"{chosen.size:,} of {holds.size:,}, sampled at random." if chosen.size < holds.size else ""
    return ResultTable.of("builds", "Builds", "observed", rows, described, note)
