"""Every ability at every rung: the causal effect on a feature, beside the observed difference."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.grouped import grouped
from splat_assets.analysis.inference.intervals import with_q
from splat_serving.investigations.build_text import setting_in_words
from splat_serving.investigations.edited_builds import STRATA, draw_builds, mean_with_interval, sign_flip_p
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.family_sweep import NumberOfBuilds
from splat_serving.investigations.results.result import Answer, Heatmap, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class DoseSweep(FeatureSpec):
    """The causal effect on a feature of setting each ability to each rung, beside the observed difference.

    Causal: builds on which the feature fires and builds on which it does not, edited one ability and rung at a time. Observed:
    the mean over all samples on that rung minus the mean over all samples without the ability. Where the two disagree, the
    observed difference is confounded by something associated with the ability.
    """

    experiment: Literal["dose-sweep"] = "dose-sweep"
    n_builds: NumberOfBuilds = 200
    main_only: Annotated[bool, Field(description="Include the main-only abilities.")] = True


def _answer(subject: Subject, spec: DoseSweep) -> Answer:
    draw = draw_builds(subject, spec.feature_id, spec.n_builds, spec.seed)
    activations, builds = subject.feature(spec.feature_id), subject.builds
    groups = [group for group in builds.groups if spec.main_only or group.has_levels]
    rows = []
    for group in groups:
        observed = grouped(activations, builds.rungs_of(group.name), group.n_rungs)
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
        findings=_largest_change_sentences(strongest),
        facts={"deviation_of_unedited_builds": draw.deviation, "n_edited": len(draw.sets) * sum(g.n_rungs for g in groups)},
        tables=[_table("strongest", "Largest change by ability", strongest, False),
                _table("changes", "Every ability and rung", frame, True)],
        figures=[_figure(frame, name) for name in STRATA if name in frame["builds"]],
        warnings=draw.warnings,
    )  # fmt: skip


_SCHEMA = {
    **dict.fromkeys(("ability", "rung", "builds"), pl.String),
    "n": pl.Int64,
    **dict.fromkeys(("change", "change_low", "change_high", "p", "observed"), pl.Float64),
    "n_observed": pl.Int64,
}


def _table(name: str, title: str, frame: pl.DataFrame, detail: bool) -> ResultTable:
    described = {
        "ability": "The ability that was set.",
        "rung": "The rung it was set to (AP); absent: removed.",
        "builds": "fires: builds on which the feature fires; silent: builds on which it does not.",
        "n": "Builds.",
        "change": "Mean change of the activation compared with the same builds unedited; interval: bootstrap over builds.",
        "q": "p-value of no change (sign-flip test), adjusted for all abilities and rungs.",
        "observed": "Mean activation of all samples on that rung minus that of samples without the ability (observed, unedited).",
        "n_observed": "Samples on that rung.",
    }
    return ResultTable.of(name, title, "causal", frame, described, detail=detail)


def _largest_change_sentences(strongest: pl.DataFrame) -> list[str]:
    sentences = []
    for name, where in (("fires", "Where the feature fires"), ("silent", "Where the feature is silent")):
        part = strongest.filter((pl.col("builds") == name) & (pl.col("q") < 0.05))
        if part.is_empty():
            sentences.append(f"{where}, no single ability has an effect beyond chance.")
            continue
        row = part.row(0, named=True)
        sentences.append(
            f"{where}, {setting_in_words(row['ability'], row['rung'])} has the largest effect: {row['change']:+.3g} "
            f"(95 % interval {row['change_low']:+.3g} to {row['change_high']:+.3g}, n = {row['n']})."
        )
    return sentences


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


EXPERIMENTS = (Experiment(DoseSweep, _answer, {"n_builds": ("--max-examples",)}),)
