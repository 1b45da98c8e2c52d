"""Two abilities at once: the activation in each pair of rungs, and whether the two add up or one changes what the other does."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_table import Group
from splat_assets.analysis.inference.grouped import grouped
from splat_assets.analysis.inference.interaction import Interaction, interaction_of_cells, interaction_of_factorial
from splat_assets.errors import InputError
from splat_assets.wording import counted
from splat_serving.investigations.edited_builds import Draw, draw_builds
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.family_sweep import EvidenceWanted, NumberOfBuilds, chosen_rungs
from splat_serving.investigations.results.result import Answer, Figure, Heatmap, ResultTable, Scalar
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject


class HeatmapSpec(FeatureSpec):
    """Two abilities at once: mean activation in each pair of rungs, and a test of whether the two merely add up.

    The additive fit is the best sum of a part per rung of one ability and a part per rung of the other. interaction share: what
    it leaves of the differences between cells. p: how often chance leaves as much. Causal: every drawn build is edited into
    every cell. Observed: samples as they are; builds in two cells differ in more than these abilities.
    """

    experiment: Literal["heatmap"] = "heatmap"
    family_x: Annotated[Ability, Field(description="One ability, as quick_respawn.")]
    family_y: Annotated[Ability, Field(description="The other one.")]
    rungs_x: Annotated[tuple[int, ...], Field(description="Its rungs (AP); all that builds wear if left out.")] = ()
    rungs_y: Annotated[tuple[int, ...], Field(description="Those of the other one.")] = ()
    evidence: EvidenceWanted = "both"
    n_builds: NumberOfBuilds = 100
    max_cells: Annotated[
        int | None,
        Field(ge=4, description="Of the rungs that are not named, only the most frequent that fit into so many cells."),
    ] = None


def _answer(subject: Subject, spec: HeatmapSpec) -> Answer:
    if spec.family_x == spec.family_y:
        raise InputError(f"family_y is {spec.family_y}, as family_x: name two abilities")
    x, y = subject.builds.group(spec.family_x), subject.builds.group(spec.family_y)
    rungs_x, rungs_y = (_rungs(subject, group, named) for group, named in ((x, spec.rungs_x), (y, spec.rungs_y)))
    rungs_x, rungs_y = _fitting(subject, spec, (x, rungs_x), (y, rungs_y))
    axes = _Axes(spec, x, y, rungs_x, rungs_y)
    tables, figures, said, warnings, facts = [], [], [], [], dict[str, Scalar]()
    if spec.evidence != "causal":
        table, figure, test = _observed(subject, spec, axes)
        tables.append(table)
        figures.append(figure)
        said.append(_in_a_sentence("Observed", test, axes))
        facts |= _facts("observed", test)
    if spec.evidence == "both" and not subject.has_model:
        warnings.append(f"nothing causal was measured: {subject.no_model}")
    elif spec.evidence != "observed":
        draw = draw_builds(subject, spec.feature_id, spec.n_builds, spec.seed)
        table, figure, test, incomplete = _causal(draw, spec, axes)
        tables.append(table)
        figures.append(figure)
        said.append(_in_a_sentence("Causal", test, axes))
        facts |= _facts("causal", test)
        warnings += draw.warnings
        if incomplete:
            warnings.append(
                f"{incomplete} of {counted(len(draw.sets), 'builds')} lost a token in some cell: left out of the test"
            )
    title = f"Feature {spec.feature_id}: {spec.family_x} by {spec.family_y}"
    return Answer(title=title, findings=said, facts=facts, tables=tables, figures=figures, warnings=warnings)


class _Axes:
    """The cells: rungs of two abilities."""

    def __init__(self, spec: HeatmapSpec, x: Group, y: Group, rungs_x: list[int], rungs_y: list[int]) -> None:
        self.x, self.y, self.rungs_x, self.rungs_y = x, y, rungs_x, rungs_y
        self.names_x = [x.rung_name(rung) for rung in rungs_x]
        self.names_y = [y.rung_name(rung) for rung in rungs_y]
        self.spec = spec

    def figure(self, name: str, title: str, means: npt.NDArray[np.float64], n: npt.NDArray[np.integer]) -> Heatmap:
        """means, n: shape (n_y, n_x)."""
        return Heatmap(
            name=name,
            title=title,
            x_label=f"{self.x.name} (AP)",
            y_label=f"{self.y.name} (AP)",
            z_label="mean activation",
            x=[*self.names_x],
            y=[*self.names_y],
            z=[[None if np.isnan(value) else float(value) for value in row] for row in means],
            n=n.tolist(),
        )


def _rungs(subject: Subject, group: Group, named: tuple[int, ...]) -> list[int]:
    if named:
        worn_levels = [level for level in named if level]
        absent = 0 in named or group.n_rungs == 2
        return chosen_rungs(subject, group, worn_levels, absent) if worn_levels else [0]
    worn = np.bincount(subject.builds.rungs_of(group.name), minlength=group.n_rungs)
    return np.flatnonzero(worn).tolist()


def _fitting(
    subject: Subject, spec: HeatmapSpec, x: tuple[Group, list[int]], y: tuple[Group, list[int]]
) -> tuple[list[int], list[int]]:
    """The rungs, of those that were not named the rarest left out until there are max_cells cells at most."""
    kept = [x[1], y[1]]
    counts = [np.bincount(subject.builds.rungs_of(group.name), minlength=group.n_rungs) for group, _ in (x, y)]
    free = [not spec.rungs_x, not spec.rungs_y]
    while spec.max_cells is not None and len(kept[0]) * len(kept[1]) > spec.max_cells and any(free):
        at = max((side for side in (0, 1) if free[side]), key=lambda side: len(kept[side]))
        if len(kept[at]) <= 2:
            break
        rarest = min(kept[at], key=lambda rung: int(counts[at][rung]))
        kept[at] = [rung for rung in kept[at] if rung != rarest]
    return kept[0], kept[1]


def _observed(subject: Subject, spec: HeatmapSpec, axes: _Axes) -> tuple[ResultTable, Figure, Interaction]:
    place_x = np.full(axes.x.n_rungs, -1, dtype=np.int64)
    place_y = np.full(axes.y.n_rungs, -1, dtype=np.int64)
    place_x[axes.rungs_x], place_y[axes.rungs_y] = np.arange(len(axes.rungs_x)), np.arange(len(axes.rungs_y))
    at_x, at_y = place_x[subject.builds.rungs_of(axes.x.name)], place_y[subject.builds.rungs_of(axes.y.name)]
    codes = np.where((at_x >= 0) & (at_y >= 0), at_y * len(axes.rungs_x) + at_x, -1)
    shape = (len(axes.rungs_y), len(axes.rungs_x))
    found = grouped(subject.feature(spec.feature_id), codes, shape[0] * shape[1])
    low, high = found.mean_interval(spec.seed)
    test = interaction_of_cells(found.codes, found.values, found.n.reshape(shape), np.random.default_rng(spec.seed))
    frame = _cells(axes, found.n, found.mean, low, high, test).with_columns(pl.Series("n_active", found.n_active))
    table = _table("observed", "Builds by the rungs that they wear", frame.filter(pl.col("n") > 0), axes)
    figure = axes.figure("observed", "Observed: mean activation", found.mean.reshape(shape), found.n.reshape(shape))
    return table, figure, test


def _causal(draw: Draw, spec: HeatmapSpec, axes: _Axes) -> tuple[ResultTable, Figure, Interaction, int]:
    responses = draw.with_pairs(axes.y, axes.rungs_y, axes.x, axes.rungs_x).astype(np.float64)
    whole = responses[~np.isnan(responses).any(axis=(1, 2))]
    rng = np.random.default_rng(spec.seed)
    if not whole.shape[0]:
        empty = np.full(responses.shape[1:], np.nan)
        test, mean, low, high = Interaction(empty, None, None, empty.size), empty, empty, empty
    else:
        test, mean = interaction_of_factorial(whole, rng), whole.mean(axis=0)
        drawn = rng.integers(0, whole.shape[0], (2_000, whole.shape[0]))
        weights = np.stack([np.bincount(row, minlength=whole.shape[0]) for row in drawn]) / whole.shape[0]
        low, high = np.quantile(weights @ whole.reshape(whole.shape[0], -1), [0.025, 0.975], axis=0)
    n = np.full(responses.shape[1:], whole.shape[0])
    frame = _cells(axes, n.reshape(-1), mean.reshape(-1), low.reshape(-1), high.reshape(-1), test)
    table = _table("causal", "The same builds with both abilities set", frame, axes)
    figure = axes.figure("causal", "Causal: mean activation", mean, n)
    return table, figure, test, responses.shape[0] - whole.shape[0]


def _cells(
    axes: _Axes,
    n: npt.NDArray[np.integer],
    mean: npt.NDArray[np.float64],
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
    test: Interaction,
) -> pl.DataFrame:
    fitted = test.fitted.reshape(-1)
    columns = {
        axes.x.name: axes.names_x * len(axes.names_y),
        axes.y.name: [name for name in axes.names_y for _ in axes.names_x],
        "n": n,
        "mean": mean,
        "mean_low": low,
        "mean_high": high,
        "additive": fitted,
        "beyond": mean - fitted,
    }
    return pl.DataFrame(columns).fill_nan(None)


def _table(name: Literal["observed", "causal"], title: str, frame: pl.DataFrame, axes: _Axes) -> ResultTable:
    described = {
        axes.x.name: "Rung (AP).",
        axes.y.name: "Rung (AP).",
        "n": "Samples in the cell." if name == "observed" else "Builds; the same in every cell.",
        **({"n_active": "Samples of those on which the feature fires."} if "n_active" in frame.columns else {}),
        "mean": "Mean activation, zeros included.",
        "mean_low": "Lower border of its 95 % interval.",
        "mean_high": "Upper border.",
        "additive": "The additive fit: a part for each rung of one plus a part for each rung of the other.",
        "beyond": "mean - additive.",
    }
    return ResultTable.of(name, title, name, frame, described, detail=frame.height > 40)


def _facts(name: str, test: Interaction) -> dict[str, Scalar]:
    return {f"{name}_interaction_share": test.share, f"{name}_p": test.p, f"{name}_cells": test.n_cells}


def _in_a_sentence(name: str, test: Interaction, axes: _Axes) -> str:
    if test.p is None or test.share is None:
        return f"{name}: there are too few cells with builds, or no differences between them, to tell an interaction."
    verdict = "they do not merely add up" if test.p <= 0.05 else "nothing speaks against their adding up"
    return (
        f"{name}: {test.share:.1%} of the differences between cells is left when {axes.x.name} and {axes.y.name} are taken to "
        f"add up (p = {test.p:.3g}): {verdict}."
    )


EXPERIMENT = Experiment(HeatmapSpec, _answer, {"n_builds": ("--max-examples",)})
