"""`splat contrast LEFT RIGHT`: the features that distinguish two sets of builds."""

import heapq
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.contrast import equal_shares_p
from splat_assets.analysis.inference.intervals import benjamini_hochberg
from splat_assets.analysis.inference.separation import Separation, auroc_bounds, separation
from splat_assets.domain.concepts import All, Not, Rule
from splat_assets.domain.rule_text import LONGEST_RULE, Names, parse_rule_text, rule_as_text
from splat_assets.errors import InputError
from splat_assets.text.wording import agreeing, counted, percent
from splat_serving.investigations.experiment import answered
from splat_serving.investigations.results.feature_names import LABEL, named
from splat_serving.investigations.results.result import Answer, Result, ResultTable
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject

_RuleText = Annotated[str, Field(max_length=LONGEST_RULE, description="A rule, for example ssu>=21 and ninja_squid.")]
_COLUMNS = {
    "feature_id": "The feature.",
    "label": LABEL,
    "auroc": "Probability that it is higher on a sample of the left rule than on one of the right; ties: half; interval: DeLong.",
    "n_left": "Samples of the left rule on which it fires.",
    "n_right": "Samples of the right rule on which it fires.",
    "share_left": "n_left over all samples of the left rule.",
    "share_right": "n_right over all samples of the right rule.",
    "difference": "share_left - share_right.",
    "q": "p-value of equal shares (two-sided z test), adjusted for all features.",
}
_DIGITS = 12
"""Distances are compared after rounding to this many digits; equal ones are ordered by feature id."""


class Contrast(Spec):
    """The features that distinguish two sets of builds, best first: by AUROC of their activation, exact over all features."""

    experiment: Literal["contrast"] = "contrast"
    left: _RuleText
    right: _RuleText
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many features to show.")] = 25


@dataclass(frozen=True, slots=True)
class _Set:
    """Samples on which a rule holds and the other one does not."""

    rule: Rule
    holds: npt.NDArray[np.bool_]
    n: int

    @classmethod
    def of(cls, rule: Rule, holds: npt.NDArray[np.bool_]) -> "_Set":
        return cls(rule, holds, int(np.count_nonzero(holds)))


def contrast(subject: Subject, spec: Contrast, command: str = "") -> Result:
    """The features that separate the builds of two rules; RuleTextError with a caret where one cannot be read."""
    return answered(subject, spec, _answer, command)


def _answer(subject: Subject, spec: Contrast) -> Answer:
    names = Names(subject.vocabulary, subject.contexts)
    left, right = parse_rule_text(spec.left, names), parse_rule_text(spec.right, names)
    title = f"{rule_as_text(left)} against {rule_as_text(right)}"
    of_left, of_right = subject.builds.holds(left), subject.builds.holds(right)
    n_shared = int(np.count_nonzero(of_left & of_right))
    if n_shared:
        left, right = All((left, Not(right))), All((right, Not(left)))
    sets = _Set.of(left, of_left & ~of_right), _Set.of(right, of_right & ~of_left)
    for one, text in zip(sets, (spec.left, spec.right), strict=True):
        if not one.n:
            raise InputError(f"no sample matches {text!r} without the other rule: there is nothing to compare")
    frame, n_read = ranked(subject, *sets, spec.top_k)
    findings = [f"{counted(sets[0].n, 'samples')} match the left rule, {sets[1].n:,} the right."]
    if n_shared:
        findings.append(
            f"{counted(n_shared, 'samples')} that {agreeing(n_shared, 'match')} both {agreeing(n_shared, 'are')} in neither set."
        )
    row = frame.row(0, named=True)  # an SAE has at least one feature
    side = "left" if row["auroc"] >= 0.5 else "right"
    findings.append(
        f"Most discriminative feature: {row['feature_id']}. Its activation is higher on the {side} in "
        f"{percent(max(row['auroc'], 1 - row['auroc']))} of all pairs (50 % is chance)."
    )
    note = (
        f"Ordered by the distance of AUROC from 0.5, exact over all {counted(subject.n_features, 'features')}. "
        f"{counted(n_read, 'candidates')} compared; the rest fire too rarely or too evenly to rank here."
    )
    return Answer(
        title=title,
        findings=findings,
        facts={"n_left": sets[0].n, "n_right": sets[1].n, "n_shared": n_shared, "n_read": n_read},
        tables=[
            ResultTable.of(
                "features", "Most discriminative features", "observed", named(subject, frame), _COLUMNS, note
            )
        ],
    )


def ranked(subject: Subject, left: _Set, right: _Set, top_k: int) -> tuple[pl.DataFrame, int]:
    """The top_k features by distance of AUROC from a half (ties: smaller id), and how many candidates were compared.

    Exact over all features: they are read in the order of what firing alone allows, until none that is left can be among them.
    """
    k_left, k_right = (_firing(subject, one.rule) for one in (left, right))
    low, high = auroc_bounds(k_left, left.n, k_right, right.n)
    reach = np.maximum(np.abs(low - 0.5), np.abs(high - 0.5))
    separations: dict[int, Separation] = {}
    best: list[float] = []  # a heap of the top_k largest distances
    for feature_id in np.lexsort((np.arange(reach.size), -reach)).tolist():
        if len(best) == top_k and best[0] > reach[feature_id] + 10**-_DIGITS:
            break
        separations[feature_id] = _separated(subject, feature_id, left, right)
        heapq.heappush(best, _distance(separations[feature_id]))
        if len(best) > top_k:
            heapq.heappop(best)
    order = sorted(separations, key=lambda feature: (-round(_distance(separations[feature]), _DIGITS), feature))[:top_k]
    ids = np.array(order, dtype=np.int64)
    q = benjamini_hochberg(equal_shares_p(k_left, left.n, k_right, right.n))
    share_left, share_right = k_left[ids] / left.n, k_right[ids] / right.n
    frame = pl.DataFrame(
        {
            "feature_id": ids,
            "auroc": [separations[one].auroc for one in order],
            "auroc_low": [separations[one].low for one in order],
            "auroc_high": [separations[one].high for one in order],
            "n_left": k_left[ids].astype(np.int64),
            "n_right": k_right[ids].astype(np.int64),
            "share_left": share_left,
            "share_right": share_right,
            "difference": share_left - share_right,
            "q": q[ids],
        }
    ).with_columns(pl.col("q").fill_nan(None))
    return frame, len(separations)


def _distance(one: Separation) -> float:
    assert one.auroc is not None  # neither set is empty
    return abs(one.auroc - 0.5)


def _firing(subject: Subject, rule: Rule) -> npt.NDArray[np.float64]:
    """On how many samples of a rule each feature fires, shape (n_features,)."""
    counts = np.zeros(subject.n_features)
    table = subject.database.features_of_rule(rule).table
    counts[table["feature_id"].to_numpy()] = table["n_both"].to_numpy()
    return counts


def _separated(subject: Subject, feature_id: int, left: _Set, right: _Set) -> Separation:
    activations = subject.feature(feature_id)
    ids, values = activations.sample_ids, activations.values
    return separation(values[left.holds[ids]], left.n, values[right.holds[ids]], right.n)
