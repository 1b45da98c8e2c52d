"""`splat label suggest`: the rule over builds that describes a feature best, with its score."""

import json
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from splat_assets.analysis.rules.search import LEAST_AUROC, LEAST_F1, RuleSearch
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.text.wording import agreeing, counted
from splat_serving.database.errors import NotComputedError
from splat_serving.investigations.experiment import answered
from splat_serving.investigations.results.result import Answer, Result, ResultTable
from splat_serving.investigations.spec import FeatureSpec, Spec
from splat_serving.investigations.subject import Subject


class Suggest(FeatureSpec):
    """The rule over builds that describes a feature best, chosen on half of the builds and scored on the other half."""

    experiment: Literal["suggest"] = "suggest"


class SuggestAll(Spec):
    """The best rule for every feature, from the table of the pipeline."""

    experiment: Literal["suggest-all"] = "suggest-all"
    only_good: Annotated[bool, Field(description="Show only the rules that are good enough to be labels.")] = True


def suggest(subject: Subject, spec: Suggest, command: str = "") -> Result:
    """The best rule for one feature: from the stored table, else from a search now."""
    return answered(subject, spec, _one, command)


def suggest_all(subject: Subject, spec: SuggestAll, command: str = "") -> Result:
    """The best rule for every feature; NotComputedError without the pipeline's table."""
    return answered(subject, spec, _all, command)


_COLUMNS = {
    "feature_id": "The feature.",
    "n_active": "Samples on which it fires.",
    "text": "The rule.",
    "suggested": f"Good enough to be a label: F1 at least {LEAST_F1}, AUROC at least {LEAST_AUROC}, and all of the interval "
    "beyond the threshold.",
    "precision": "Share of the rule's samples on which the feature fires.",
    "recall": "Share of the feature's samples on which the rule holds.",
    "f1": "Harmonic mean of precision and recall; interval: bootstrap over distinct builds.",
    "auroc": "Probability that the activation is higher on a sample of the rule than on another one.",
    "n": "Samples that it was scored on, from held-out builds.",
    "token": "The best single token, chosen and scored the same way.",
    "token_f1": "F1 of that token.",
    "threshold": "The highest F1 of any permuted feature.",
    "n_null": "Permuted features of this size that were searched.",
    "p": "Share of permuted features with the same F1 or a higher one, (1 + k) / (1 + n).",
    "q": "p adjusted over all features; unknown where only this feature was searched.",
}


def _one(subject: Subject, spec: Suggest) -> Answer:
    row = subject.database.feature(spec.feature_id).suggestion
    suggestion: dict[str, Any] = {**row} if row is not None else _searched(subject, spec)
    return Answer(
        title=f"Feature {spec.feature_id}: suggested label",
        findings=[_suggestion_sentence(suggestion)],
        facts={"rule": suggestion["rule"], "text": suggestion["text"], "suggested": bool(suggestion["suggested"])},
        tables=[_table(pl.DataFrame([suggestion], infer_schema_length=None))] if suggestion["text"] else [],
    )


def _searched(subject: Subject, spec: Suggest) -> dict[str, Any]:
    activations = subject.feature(spec.feature_id)
    best = RuleSearch(subject.builds, spec.seed).suggest(activations, spec.feature_id)
    if best is None:
        return {
            "feature_id": spec.feature_id,
            "n_active": activations.n_active,
            "text": None,
            "rule": None,
            "suggested": False,
        }
    score = best.score
    return {
        "feature_id": spec.feature_id,
        "n_active": activations.n_active,
        "text": rule_as_text(best.rule),
        "rule": json.dumps(best.rule.as_json()),
        "suggested": best.suggested,
        **{name: getattr(score, name) for name in ("precision", "recall", "f1", "f1_low", "f1_high", "auroc", "n")},
        "token": rule_as_text(best.token),
        "token_f1": best.token_f1,
        "threshold": best.threshold,
        "n_null": best.n_null,
        "p": best.p,
    }


def _suggestion_sentence(suggestion: dict[str, Any]) -> str:
    if not suggestion["text"]:
        return "The feature fires on too few samples, or on nearly all, to choose a rule on one half and score it on the other."
    verdict = "good enough to be a label" if suggestion["suggested"] else "not good enough to be a label"
    return (
        f"Best rule: {suggestion['text']}. F1 on held-out builds: {suggestion['f1']:.3f} (95 % interval "
        f"{suggestion['f1_low']:.3f} to {suggestion['f1_high']:.3f}); chance: {suggestion['threshold']:.3f}; best single token "
        f"({suggestion['token']}): {suggestion['token_f1']:.3f}. {verdict.capitalize()}."
    )


def _all(subject: Subject, spec: SuggestAll) -> Answer:
    try:
        frame = subject.database.suggestions()
    except NotComputedError as error:
        raise NotComputedError(f"{error}; `splat label suggest FEATURE` searches for one feature now") from error
    n_good = int(frame["suggested"].sum())
    shown = frame.filter(pl.col("suggested")) if spec.only_good else frame.filter(pl.col("text").is_not_null())
    return Answer(
        title="Suggested labels",
        findings=[
            f"{n_good:,} of {counted(frame.height, 'features')} {agreeing(n_good, 'have')} a rule that is good "
            f"enough to be a label."
        ],
        facts={"n_suggested": n_good, "n_features": frame.height},
        tables=[_table(shown.sort(["f1", "feature_id"], descending=[True, False], nulls_last=True))],
    )


def _table(frame: pl.DataFrame) -> ResultTable:
    described = {name: text for name, text in _COLUMNS.items() if name in frame.columns}
    return ResultTable.of("suggestions", "Best rules", "observed", frame, described)
