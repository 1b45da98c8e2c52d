"""`splat compare A B`: two features side by side: when they fire, on which builds, and their effects."""

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import token_profile, weapon_profile
from splat_assets.analysis.contrast import Agreement, agreement, contrast
from splat_assets.text.wording import counted
from splat_serving.database.protocol import NO_INFLUENCES, FeatureSummary
from splat_serving.investigations.build_text import SAMPLE_COLUMNS, sample_as_text
from splat_serving.investigations.experiment import answered
from splat_serving.investigations.results.outputs import IN_DATA
from splat_serving.investigations.results.result import Answer, LinesOrBars, Result, ResultTable, Series, finite
from splat_serving.investigations.spec import FeatureId, Spec
from splat_serving.investigations.subject import Subject

_EXAMPLES = 3


class Compare(Spec):
    """Two features side by side: when they fire together, which builds distinguish them, and their effects."""

    experiment: Literal["compare"] = "compare"
    left: FeatureId
    right: FeatureId
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many rows of each table to show.")] = 15


def compare(subject: Subject, spec: Compare, command: str = "") -> Result:
    """Two features side by side; FeatureNotFoundError."""
    return answered(subject, spec, _answer, command)


def _answer(subject: Subject, spec: Compare) -> Answer:
    left, right = subject.feature(spec.left), subject.feature(spec.right)
    summaries = subject.database.feature(spec.left), subject.database.feature(spec.right)
    together = agreement(left, right, subject.n_samples)
    tables = [_statistics(summaries), _agreement(together, spec)]
    figures = []
    builds = subject.builds
    if left.n_active and right.n_active:
        for what, profile in (("token", token_profile), ("weapon", weapon_profile)):
            sides = contrast(profile(left, builds), profile(right, builds), what, left.n_active, right.n_active)
            tables.append(_contrast(what, sides, spec))
            if what == "token":
                figures.append(_figure(sides, spec))
        tables += _examples(subject, spec)
    tables += _influences(summaries, spec.top_k)
    dead = [feature for feature, activations in ((spec.left, left), (spec.right, right)) if not activations.n_active]
    return Answer(
        title=f"Feature {spec.left} compared with feature {spec.right}",
        findings=[_overlap_sentence(spec, together)],
        tables=tables,
        figures=[*figures],
        warnings=[f"feature {feature} never fires on these samples" for feature in dead],
    )


def _overlap_sentence(spec: Compare, overlap: Agreement) -> str:
    correlated = "" if overlap.pearson is None else f"; correlation over all samples: {overlap.pearson:.3f}"
    return (
        f"Feature {spec.left} fires on {counted(overlap.n_left, 'samples')}, feature {spec.right} on {overlap.n_right:,}, both "
        f"on {overlap.n_both:,} (Jaccard {overlap.jaccard:.3f}){correlated}."
    )


def _statistics(summaries: tuple[FeatureSummary, FeatureSummary]) -> ResultTable:
    names = ("n_active", "mean", "median", "q95", "max", "mean_all", "std_all", "effective_max")
    rows = []
    for name in names:
        left, right = (_number(one.statistics.get(name)) for one in summaries)
        rows.append((name, left, None if left is None or right is None else left - right, right))
    described = {
        "statistic": "Over the activations above 0; names with _all: over all samples, zeros included.",
        "left": f"Feature {summaries[0].feature_id}.",
        "difference": f"Feature {summaries[0].feature_id} minus feature {summaries[1].feature_id}.",
        "right": f"Feature {summaries[1].feature_id}.",
    }
    headings = _headings(*(one.feature_id for one in summaries))
    return ResultTable.of("statistics", "Activation", "observed", rows, described, headings=headings)


def _headings(left: int, right: int) -> dict[str, str]:
    """The headings of the columns of the two features: their numbers."""
    sides = (("left", f"feature {left}"), ("right", f"feature {right}"))
    return {
        **dict(sides),
        **{f"only_{side}": f"only {feature}" for side, feature in sides},
        **{f"share_{side}": f"share of {feature}" for side, feature in sides},
    }


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _agreement(overlap: Agreement, spec: Compare) -> ResultTable:
    alone = (overlap.n_left - overlap.n_both, overlap.n_right - overlap.n_both)
    row = (overlap.n_both, *alone, overlap.jaccard, overlap.phi, overlap.pearson)
    described = {
        "n_both": "Samples on which both fire.",
        "only_left": f"Samples on which feature {spec.left} fires and feature {spec.right} does not.",
        "only_right": f"Samples on which feature {spec.right} fires and feature {spec.left} does not.",
        "jaccard": "n_both over samples on which at least one fires.",
        "phi": "Correlation of firing.",
        "pearson": "Correlation of the activations over all samples, zeros included.",
    }
    headings = _headings(spec.left, spec.right)
    return ResultTable.of("agreement", "Firing together", "observed", [row], described, headings=headings)


def _contrast(what: str, sides: pl.DataFrame, spec: Compare) -> ResultTable:
    described = {
        what: f"The {what}.",
        "n": "Samples with it.",
        "share_left": f"Share of the activations of feature {spec.left} that have it.",
        "difference": f"The share of feature {spec.left} minus that of feature {spec.right}; interval: Newcombe.",
        "share_right": f"Share of the activations of feature {spec.right} that have it.",
        "q": "p-value of equal shares, adjusted for the number of rows compared.",
    }
    note = f"{sides.height} compared; largest differences first."
    return ResultTable.of(f"{what}s", f"{what.capitalize()}s that distinguish the two", "observed", sides.head(spec.top_k),
                          described, note, headings=_headings(spec.left, spec.right))  # fmt: skip


def _figure(sides: pl.DataFrame, spec: Compare) -> LinesOrBars:
    shown = sides.head(spec.top_k)
    x = shown["token"].to_list()
    return LinesOrBars(
        kind="bars",
        name="tokens",
        title="Share of activations with each token",
        x_label="token",
        y_label="share of activations",
        series=[
            Series(name=f"feature {spec.left}", x=x, y=finite(shown["share_left"])),
            Series(name=f"feature {spec.right}", x=x, y=finite(shown["share_right"])),
        ],
    )


def _influences(summaries: tuple[FeatureSummary, FeatureSummary], top_k: int) -> Iterable[ResultTable]:
    if any(one.influences is None for one in summaries):
        return
    outputs = [
        [*influences["raised"], *influences["lowered"]]
        for influences in (one.influences or NO_INFLUENCES for one in summaries)
    ]
    sides = [{row["token"]: row["value"] for row in rows} for rows in outputs]
    in_data = {row["token"]: row.get("in_data") for row in outputs[0]}
    rows = [
        (token, value, sides[1][token], value - sides[1][token], in_data[token])
        for token, value in sides[0].items()
        if token in sides[1]
    ]
    rows.sort(key=lambda row: (row[4] is False, -abs(row[3])))
    one, other = (summary.feature_id for summary in summaries)
    described = {
        "token": "The output.",
        "left": f"Change of its logit per unit of feature {one}'s activation.",
        "right": f"The same for feature {other}.",
        "difference": f"Feature {one} minus feature {other}.",
        "in_data": IN_DATA,
    }
    title = "Outputs that they affect differently"
    yield ResultTable.of("influences", title, "weights", rows[:top_k], described, headings=_headings(one, other))


def _examples(subject: Subject, spec: Compare) -> Iterable[ResultTable]:
    left, right = subject.dense(spec.left), subject.dense(spec.right)
    rows = []
    for name, where, strength in (
        ("both", (left > 0) & (right > 0), np.minimum(left, right)),
        (f"only feature {spec.left}", (left > 0) & (right == 0), left),
        (f"only feature {spec.right}", (right > 0) & (left == 0), right),
    ):
        ids = np.flatnonzero(where)
        for sample in ids[np.argsort(-strength[ids], kind="stable")[:_EXAMPLES]].tolist():
            rows.append((name, float(left[sample]), float(right[sample]), *sample_as_text(subject, sample), sample))
    described = {
        "fires": "Which of the two fires; the strongest samples of each kind.",
        "left": f"Activation of feature {spec.left}.",
        "right": f"Activation of feature {spec.right}.",
        **SAMPLE_COLUMNS,
    }
    title, headings = "Builds on which both or one of them fire", _headings(spec.left, spec.right)
    yield ResultTable.of("examples", title, "observed", rows, described, headings=headings)
