"""Two abilities at once: the activation in each pair of rungs, and whether their effects add up or interact."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_table import Group
from splat_assets.analysis.inference.grouped import grouped
from splat_assets.analysis.inference.interaction import Interaction, interaction_of_cells, interaction_of_factorial
from splat_assets.errors import InputError
from splat_assets.text.wording import counted, percent
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.edited_builds import Draw, draw_builds
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.family_sweep import EvidenceWanted, NumberOfBuilds, chosen_rungs
from splat_serving.investigations.results.result import Answer, Figure, Heatmap, ResultTable, Scalar, finite
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject

_SLIGHT = 0.1
"""An interaction that explains less than this share of the variation between cells is called slight."""


class HeatmapSpec(FeatureSpec):
    """Two abilities at once: mean activation in each pair of rungs, and a test of whether their effects interact.

    The additive fit is the best sum of a term per rung of one ability and a term per rung of the other. Interaction share: the
    share of the variation between cells that it leaves unexplained. p: its probability by chance. Causal: every sampled
    build is edited into every cell. Observed: samples as they are; cells differ in more than these two abilities.
    """

    experiment: Literal["heatmap"] = "heatmap"
    family_x: Annotated[Ability, Field(description="The first ability, for example quick_respawn.")]
    family_y: Annotated[Ability, Field(description="The second ability.")]
    rungs_x: Annotated[
        tuple[int, ...], Field(description="Rungs (AP) of the first ability. If not given: all that builds wear.")
    ] = ()
    rungs_y: Annotated[
        tuple[int, ...], Field(description="Rungs (AP) of the second ability. If not given: all that builds wear.")
    ] = ()
    evidence: EvidenceWanted = "both"
    n_builds: NumberOfBuilds = 100
    max_cells: Annotated[
        int | None,
        Field(ge=4, description="Maximum number of cells; of the rungs not given, the rarest are left out."),
    ] = None


def _answer(subject: Subject, spec: HeatmapSpec) -> Answer:
    if spec.family_x == spec.family_y:
        raise InputError(f"family_x and family_y are both {spec.family_y}: name two abilities")
    x, y = subject.builds.group(spec.family_x), subject.builds.group(spec.family_y)
    rungs_x, rungs_y = (_rungs(subject, group, named) for group, named in ((x, spec.rungs_x), (y, spec.rungs_y)))
    rungs_x, rungs_y = _fitting(subject, spec, (x, rungs_x), (y, rungs_y))
    axes = _Axes(spec, x, y, rungs_x, rungs_y)
    tables, figures, findings, warnings, facts = [], [], [], [], dict[str, Scalar]()
    if spec.evidence != "causal":
        table, figure, test = _observed(subject, spec, axes)
        tables.append(table)
        figures.append(figure)
        findings.append(_interaction_sentence("Observed", test, axes))
        facts |= _facts("observed", test)
    if spec.evidence == "both" and not subject.has_model:
        warnings.append(f"no causal results: {subject.no_model}")
    elif spec.evidence != "observed":
        draw = draw_builds(subject, spec.feature_id, spec.n_builds, spec.seed)
        table, figure, test, incomplete = _causal(draw, spec, axes)
        tables.append(table)
        figures.append(figure)
        findings.append(_interaction_sentence("Causal", test, axes))
        facts |= _facts("causal", test)
        warnings += draw.warnings
        if incomplete:
            warnings.append(
                f"{incomplete} of {counted(len(draw.sets), 'builds')} lose their own token in some cell: left out of the test"
            )
    title = f"Feature {spec.feature_id}: {token_in_words(spec.family_x)} by {token_in_words(spec.family_y)}"
    return Answer(title=title, findings=findings, facts=facts, tables=tables, figures=figures, warnings=warnings)


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
            x_label=f"{token_in_words(self.x.name)} (AP)",
            y_label=f"{token_in_words(self.y.name)} (AP)",
            z_label="mean activation",
            x=[*self.names_x],
            y=[*self.names_y],
            z=[finite(row) for row in means],
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
    """The rungs; of those not given, the rarest are left out until there are at most max_cells cells."""
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
    cells = grouped(subject.feature(spec.feature_id), codes, shape[0] * shape[1])
    low, high = cells.mean_interval(spec.seed)
    test = interaction_of_cells(cells.codes, cells.values, cells.n.reshape(shape), np.random.default_rng(spec.seed))
    frame = _cells(axes, cells.n, cells.mean, low, high, test).with_columns(pl.Series("n_active", cells.n_active))
    table = _table("observed", "Builds by their rungs", frame.filter(pl.col("n") > 0), axes)
    figure = axes.figure("observed", "Observed: mean activation", cells.mean.reshape(shape), cells.n.reshape(shape))
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
        **({"n_active": "Samples in the cell on which the feature fires."} if "n_active" in frame.columns else {}),
        "mean": "Mean activation, zeros included.",
        "additive": "The additive fit: a term for each rung of the one plus a term for each rung of the other.",
        "beyond": "mean - additive.",
    }
    return ResultTable.of(name, title, name, frame, described, detail=frame.height > 40)


def _facts(name: str, test: Interaction) -> dict[str, Scalar]:
    return {f"{name}_interaction_share": test.share, f"{name}_p": test.p, f"{name}_cells": test.n_cells}


def _interaction_sentence(name: str, test: Interaction, axes: _Axes) -> str:
    if test.p is None or test.share is None:
        return f"{name}: too few cells with builds, or no variation between them, to test for an interaction."
    if test.p > 0.05:
        verdict = "no interaction beyond chance"
    else:
        verdict = "they interact slightly" if test.share < _SLIGHT else "they interact"
    return (
        f"{name}: adding the effects of {token_in_words(axes.x.name)} and {token_in_words(axes.y.name)} leaves "
        f"{percent(test.share)} of the variation between cells unexplained (p = {test.p:.3g}): {verdict}."
    )


EXPERIMENTS = (Experiment(HeatmapSpec, _answer, {"n_builds": ("--max-examples",)}),)
