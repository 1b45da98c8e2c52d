"""Every ability at once: what setting each of them to each rung does to a feature, beside what builds that wear it show."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.frames import with_q
from splat_assets.analysis.inference.grouped import grouped
from splat_serving.investigations.edited_builds import STRATA, draw_builds, mean_with_interval, sign_flip_p
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.family_sweep import NumberOfBuilds
from splat_serving.investigations.results.result import Answer, Heatmap, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class DoseSweep(FeatureSpec):
    """All abilities: what setting each of them to each rung does to a feature, beside what builds that wear it show.

    Causal: builds on which the feature fires and builds on which it does not, edited one ability and rung at a time. The observed
    column is the mean over all samples on that rung less the mean over all samples without the ability. Where the two disagree,
    something that goes with the ability is at work.
    """

    experiment: Literal["dose-sweep"] = "dose-sweep"
    n_builds: NumberOfBuilds = 200
    main_only: Annotated[bool, Field(description="Also the abilities without levels.")] = True


def _answer(subject: Subject, spec: DoseSweep) -> Answer:
    draw = draw_builds(subject, spec.feature_id, spec.n_builds, spec.seed)
    found, builds = subject.feature(spec.feature_id), subject.builds
    groups = [group for group in builds.groups if spec.main_only or group.has_levels]
    rows = []
    for group in groups:
        observed = grouped(found, builds.rungs_of(group.name), group.n_rungs)
        values = draw.with_rungs(group, range(group.n_rungs)).astype(np.float64)
        for rung in range(group.n_rungs):
            for name in STRATA:
                part = draw.stratum(name)
                change = values[part, rung] - draw.stored[part]
                if change.size:
                    rows.append((group.name, group.rung_name(rung), name, int((~np.isnan(change)).sum()),
                                 *mean_with_interval(change, spec.seed), sign_flip_p(change, spec.seed),
                                 float(observed.mean[rung] - observed.mean[0]), int(observed.n[rung])))  # fmt: skip
    frame = with_q(pl.DataFrame(rows, _SCHEMA, orient="row"))
    strongest = frame.filter(pl.col("change").is_not_null()).sort(pl.col("change").abs(), descending=True)
    strongest = strongest.unique(["ability", "builds"], keep="first", maintain_order=True)
    return Answer(
        title=f"Feature {spec.feature_id}: every ability at every rung",
        findings=_said(strongest),
        facts={"deviation_of_unedited_builds": draw.deviation, "n_edited": len(draw.sets) * sum(g.n_rungs for g in groups)},
        tables=[_table("strongest", "The rung of each ability that changes it most", strongest, False),
                _table("changes", "Every ability and rung", frame, True)],
        figures=[_figure(frame, name) for name in STRATA if name in frame["builds"]],
        warnings=draw.warnings,
    )  # fmt: skip


_SCHEMA = {
    "ability": pl.String,
    "rung": pl.String,
    "builds": pl.String,
    "n": pl.Int64,
    "change": pl.Float64,
    "change_low": pl.Float64,
    "change_high": pl.Float64,
    "p": pl.Float64,
    "observed": pl.Float64,
    "n_observed": pl.Int64,
}


def _table(name: str, title: str, frame: pl.DataFrame, detail: bool) -> ResultTable:
    described = {
        "ability": "The ability that was set.",
        "rung": "To this rung (AP); absent: taken off.",
        "builds": "fires: drawn from those on which the feature fires; silent: from those on which it does not.",
        "n": "Builds.",
        "change": "Mean change of the activation against the same builds unedited.",
        "change_low": "Lower border of its 95 % interval (bootstrap over builds).",
        "change_high": "Upper border.",
        "q": "p of no change (signs thrown at random), adjusted for all abilities and rungs.",
        "observed": "Mean activation of all samples on that rung less that of samples without the ability (observed, no edit).",
        "n_observed": "Samples on that rung.",
    }
    return ResultTable.of(name, title, "causal", frame, described, detail=detail)


def _said(strongest: pl.DataFrame) -> list[str]:
    said = []
    for name, where in (("fires", "Where it fires"), ("silent", "Where it is silent")):
        part = strongest.filter((pl.col("builds") == name) & (pl.col("q") < 0.05))
        if part.is_empty():
            said.append(f"{where}, no single ability changes it more than chance does.")
            continue
        row = part.row(0, named=True)
        said.append(
            f"{where}, setting {row['ability']} to {row['rung']} changes it most: {row['change']:+.4g} "
            f"({row['change_low']:+.4g} to {row['change_high']:+.4g}, n = {row['n']})."
        )
    return said


def _figure(frame: pl.DataFrame, name: str) -> Heatmap:
    part = frame.filter((pl.col("builds") == name) & (pl.col("rung") != "worn"))
    stacked = part.filter(pl.len().over("ability") > 1)
    abilities = list(dict.fromkeys(stacked["ability"].to_list()))
    rungs = list(dict.fromkeys(stacked["rung"].to_list()))
    cells = {(row["ability"], row["rung"]): row["change"] for row in stacked.iter_rows(named=True)}
    return Heatmap(
        name=name,
        title=f"Change of the activation where it {'fires' if name == 'fires' else 'is silent'}",
        x_label="AP",
        y_label="ability",
        z_label="change",
        x=[*rungs],
        y=[*abilities],
        z=[[cells.get((ability, rung)) for rung in rungs] for ability in abilities],
    )


EXPERIMENT = Experiment(DoseSweep, _answer, {"n_builds": ("--max-examples",)})
