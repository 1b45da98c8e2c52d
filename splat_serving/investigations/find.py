"""`splat find RULE`: the builds on which a rule holds, and the features that go together with it."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.intervals import benjamini_hochberg, lift_interval, share_interval, two_by_two_p
from splat_assets.analysis.rules.score import RuleScorer
from splat_assets.domain.concepts import Rule
from splat_assets.domain.rule_text import LONGEST_RULE, Names, parse_rule_text, rule_as_text
from splat_assets.wording import counted
from splat_serving.investigations.build_text import sample_as_text
from splat_serving.investigations.experiment import answered
from splat_serving.investigations.results.feature_names import LABEL, named
from splat_serving.investigations.results.result import Answer, Result, ResultTable
from splat_serving.investigations.spec import Seed, Spec
from splat_serving.investigations.subject import Subject

MOST_SCORED = 100


class Find(Spec):
    """Builds on which a rule holds, drawn at random, and the features that fire on those builds rather than on others."""

    experiment: Literal["find"] = "find"
    rule: Annotated[str, Field(max_length=LONGEST_RULE, description="As ssu>=21 and ninja_squid.")]
    limit: Annotated[int, Field(ge=0, le=10_000, description="So many builds are shown, drawn at random.")] = 10
    top_k: Annotated[int, Field(ge=0, le=100_000, description="So many features are shown.")] = 15
    seed: Seed = 0


def find(subject: Subject, spec: Find, command: str = "") -> Result:
    """The builds and features of a rule; RuleTextError with a caret where the rule cannot be read."""
    return answered(subject, "find", spec.model_dump(mode="json"), _answer, spec, command)


def _answer(subject: Subject, spec: Find) -> Answer:
    builds = subject.builds
    rule = parse_rule_text(spec.rule, Names(subject.vocabulary, subject.contexts))
    holds = np.flatnonzero(builds.holds(rule))
    low, high = (float(border) for border in share_interval(holds.size, subject.n_samples))
    said = [
        f"It holds on {holds.size:,} of {counted(subject.n_samples, 'samples')} "
        f"({holds.size / max(subject.n_samples, 1):.3%}; 95 % "
        f"interval {low:.3%} to {high:.3%})."
    ]
    tables = []
    if holds.size and spec.top_k:
        features = _features(subject, rule)
        scored = _scored(subject, rule, features.head(spec.top_k), spec.seed)
        tables.append(_features_table(named(subject, scored), features.height))
        said.append(_best(features, holds.size))
    if holds.size and spec.limit:
        tables.append(_examples(subject, holds, spec))
    return Answer(
        title=f"Builds with {rule_as_text(rule)}", findings=said, facts={"n_builds": int(holds.size)}, tables=tables
    )


def _features(subject: Subject, rule: Rule) -> pl.DataFrame:
    found = subject.database.features_of_rule(rule)
    frame = pl.from_arrow(found.table)
    assert isinstance(frame, pl.DataFrame)
    both, active = frame["n_both"].to_numpy(), frame["n_active"].to_numpy()
    _, low, high = lift_interval(both, active, found.n_set, found.n_samples)
    return frame.with_columns(
        pl.Series("lift_low", low),
        pl.Series("lift_high", high),
        pl.Series("f1", 2 * both / (found.n_set + active)),
        pl.Series("q", benjamini_hochberg(two_by_two_p(both, active, found.n_set, found.n_samples))).fill_nan(None),
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
        "n_both": "Samples of those on which the rule holds.",
        "share_of_set": "Share of the rule's samples on which it fires (recall).",
        "share_of_feature": "Share of its samples on which the rule holds (precision).",
        "f1": "Harmonic mean of the two.",
        "f1_low": "Lower border of its 95 % interval (bootstrap over distinct builds).",
        "f1_high": "Upper border.",
        "auroc": "Probability that its activation is higher on a sample of the rule than on another one, ties counting half.",
        "lift": "How many times as often it fires where the rule holds as at large.",
        "lift_low": "Lower border of its 95 % interval.",
        "lift_high": "Upper border.",
        "phi": "Correlation of the rule's holding and the feature's firing.",
        "q": "p of independence, adjusted for all features.",
    }
    note = f"{counted(n_features, 'features', 'fire')} there; ordered by phi."
    if frame.height > MOST_SCORED:
        note += f" AUROC and the interval of F1 are known for the first {MOST_SCORED}."
    return ResultTable.of("features", "Features that go with it", "observed", frame, described, note)


def _best(frame: pl.DataFrame, n_builds: int) -> str:
    if frame.is_empty():
        return "No feature fires there."
    row = frame.row(0, named=True)
    return (
        f"Feature {row['feature_id']} goes with it most: it fires on {row['n_both']:,} of these {counted(n_builds, 'builds')} "
        f"({row['share_of_set']:.0%}), which have {row['share_of_feature']:.0%} of its {row['n_active']:,} activations."
    )


def _examples(subject: Subject, holds: np.ndarray, spec: Find) -> ResultTable:
    rng = np.random.default_rng(spec.seed)
    chosen = np.sort(rng.choice(holds, min(spec.limit, holds.size), replace=False))
    rows = [(sample, *sample_as_text(subject, sample)) for sample in chosen.tolist()]
    frame = pl.DataFrame(rows, {"sample": pl.Int64, "weapon": pl.String, "abilities": pl.String}, orient="row")
    described = {"sample": "Its id.", "weapon": "The weapon.", "abilities": "Abilities with their highest rung (AP)."}
    note = f"{chosen.size:,} of {holds.size:,}, drawn at random." if chosen.size < holds.size else ""
    return ResultTable.of("builds", "Builds", "observed", frame, described, note)
