"""One build compared with a changed one: the features and predictions of each, and what drives one feature."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.builds.edits import legal, rungs_of_sets, with_rung
from splat_assets.text.wording import counted
from splat_serving.investigations.edited_builds import each_removed
from splat_serving.investigations.results.outputs import IN_DATA, never_in_data
from splat_serving.investigations.results.result import Answer, Figure, Heatmap, ResultTable
from splat_serving.investigations.subject import Subject
from splat_serving.model.answers import Edit
from splat_serving.model.runner import TokenSet, Trace

_MOST_FEATURES = 1_000
Numbers = npt.NDArray[np.float64]


def what_if(
    subject: Subject,
    base: TokenSet,
    changed: TokenSet,
    edits: Sequence[Edit] = (),
    focus: int | None = None,
    top_k: int = 20,
) -> Answer:
    """How features and predictions differ between two builds, and with features of the changed build edited.

    edits: of features, on the changed build; the reconstruction error stays in place. focus: the feature whose dependence on
    each ability of the changed build is computed; if not given, the strongest one there. For a hook per token an activation is
    the largest over the build's tokens. Raises what `ModelRunner` raises.
    """
    before, after = (subject.model.trace(build, _MOST_FEATURES) for build in (base, changed))
    features = _features(before, after)
    focus = focus if focus is not None else _strongest_feature(after)
    chances = [subject.model.probabilities([base])[0], subject.model.probabilities([changed])[0]]
    if edits:
        chances.append(subject.model.probabilities([changed], edits)[0])
    tables = [_feature_table(features.head(top_k)), _predictions(subject, changed, chances, top_k)]
    figures: list[Figure] = []
    if focus is not None:
        tables.append(_abilities(subject, changed, focus))
        if not subject.model.per_token():
            figures.append(_rungs(subject, changed, focus))
    return Answer(
        title="What if",
        findings=[f"{counted(features.filter(pl.col('base') > 0).height, 'features', 'fire')} on the base build, "
              f"{features.filter(pl.col('changed') > 0).height} on the changed build."],
        facts={"focus": focus, "n_features": features.height},
        tables=tables,
        figures=figures,
    )  # fmt: skip


def _activations(traced: Trace) -> dict[int, float]:
    largest: dict[int, float] = {}
    for feature, value in zip(traced.features, traced.activations, strict=True):
        largest[feature] = max(value, largest.get(feature, 0.0))
    return largest


def _strongest_feature(traced: Trace) -> int | None:
    return traced.features[0] if traced.features else None


def _features(before: Trace, after: Trace) -> pl.DataFrame:
    """`feature, base, difference, changed`, the largest difference first, then the strongest."""
    was, now = _activations(before), _activations(after)
    rows = [
        (one, was.get(one, 0.0), now.get(one, 0.0) - was.get(one, 0.0), now.get(one, 0.0)) for one in {**was, **now}
    ]
    schema = {"feature": pl.Int64, "base": pl.Float64, "difference": pl.Float64, "changed": pl.Float64}
    frame = pl.DataFrame(rows, schema, orient="row")
    return frame.sort(pl.col("difference").abs(), "changed", "feature", descending=[True, True, False])


def _feature_table(frame: pl.DataFrame) -> ResultTable:
    described = {
        "feature": "The feature.",
        "base": "Its activation on the base build.",
        "difference": "Changed minus base.",
        "changed": "Its activation on the changed build.",
    }
    return ResultTable.of("features", "Features", "causal", frame, described)


def _predictions(
    subject: Subject, changed: TokenSet, chances: Sequence[npt.NDArray[np.float32]], top_k: int
) -> ResultTable:
    base, now = chances[:2]
    edited = chances[2] if len(chances) > 2 else None
    special = {subject.vocabulary.pad_id, subject.vocabulary.null_id}
    worn = set(changed.tokens)
    rows = [
        (token.name, token.id in worn, float(base[token.id]), float(now[token.id] - base[token.id]), float(now[token.id]),
         None if edited is None else float(edited[token.id]), None if edited is None else float(edited[token.id] - now[token.id]))
        for token in subject.vocabulary.tokens
        if token.id not in special
    ]  # fmt: skip
    schema = {"token": pl.String, "worn": pl.Boolean, "base": pl.Float64, "difference": pl.Float64, "changed": pl.Float64,
              "edited": pl.Float64, "by_edits": pl.Float64}  # fmt: skip
    frame = pl.DataFrame(rows, schema, orient="row")
    moved = pl.max_horizontal(pl.col("difference").abs(), pl.col("by_edits").abs())
    described = {
        "token": "The token.",
        "worn": "Whether the changed build has it already.",
        "base": "Its probability on the base build.",
        "difference": "Changed minus base.",
        "changed": "Its probability on the changed build.",
    }
    if edited is not None:
        described |= {"edited": "Its probability with the features edited.", "by_edits": "Edited minus changed."}
    unseen = never_in_data(subject.database.tokens())
    if unseen:
        frame = frame.with_columns(in_data=~pl.col("token").is_in(list(unseen)))
        described["in_data"] = IN_DATA
    frame = frame.sort(moved, "changed", "token", descending=[True, True, False])
    if unseen:
        frame = frame.sort("in_data", descending=True, maintain_order=True)
    return ResultTable.of("predictions", "Predictions", "causal", frame.head(top_k), described)


def _abilities(subject: Subject, build: TokenSet, focus: int) -> ResultTable:
    """The focus feature with each ability of the build removed."""
    edited = each_removed(subject, [build])
    values = activations_on(subject, [build, *(less for *_, less in edited)], focus)
    rows = [
        (group.name, group.rung_name(rung), float(without), float(values[0] - without))
        for (_, group, rung, _), without in zip(edited, values[1:], strict=True)
    ]
    described = {
        "ability": "An ability of the changed build.",
        "rung": "Its rung.",
        "without": f"Activation of feature {focus} when it is removed, all else fixed.",
        "drop": "The drop of the activation.",
    }
    rows.sort(key=lambda row: row[3], reverse=True)
    title = f"What drives feature {focus} ({values[0]:.3g} on the changed build)"
    return ResultTable.of("abilities", title, "causal", rows, described)


def _rungs(subject: Subject, build: TokenSet, focus: int) -> Heatmap:
    """The focus feature with each ability set to each rung, all else fixed; no value where no gear can hold the build."""
    groups = [group for group in subject.builds.groups if group.has_levels]
    levels = list(dict.fromkeys(level for group in groups for level in group.levels))
    places = [(group, rung) for group in groups for rung in range(group.n_rungs)]
    sets = [TokenSet(build.weapon_id, with_rung(build.tokens, group, rung)) for group, rung in places]
    values = activations_on(subject, sets, focus)
    wearable = legal(rungs_of_sets([one.tokens for one in sets], subject.builds), subject.builds.groups)
    known = np.ones(len(sets), dtype=np.bool_) if wearable is None else wearable
    cells = {
        (group.name, group.levels[rung]): float(value) if fine else None
        for (group, rung), value, fine in zip(places, values, known, strict=True)
    }
    return Heatmap(
        name="rungs",
        title=f"Feature {focus} with each ability set to each rung, all else fixed; hatched: no gear can hold it",
        x_label="AP",
        y_label="ability",
        z_label="activation",
        x=[*levels],
        y=[group.name for group in groups],
        z=[[cells.get((group.name, level)) for level in levels] for group in groups],
    )


def activations_on(subject: Subject, sets: Sequence[TokenSet], focus: int) -> Numbers:
    """The feature on each build, for a hook per token its largest: float64, shape (n,). NotComputedError without a model."""
    if not subject.model.per_token():
        return subject.model.activations(sets, [focus])[:, 0].astype(np.float64)
    largest = [_activations(subject.model.trace(one, _MOST_FEATURES)).get(focus, 0.0) for one in sets]
    return np.array(largest, dtype=np.float64)
