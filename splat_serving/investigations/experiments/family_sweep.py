"""How a feature depends on one ability: its activation at each rung of the family, "not worn" included."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from splat_assets.analysis.grouped import grouped
from splat_assets.analysis.intervals import benjamini_hochberg, two_by_two_p
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.result import Answer, LinesOrBars, ResultTable, Series, finite
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class FamilySweep(FeatureSpec):
    """How a feature depends on one ability: mean activation and how often it fires at each rung, "not worn" included."""

    experiment: Literal["family-sweep"] = "family-sweep"
    family: Annotated[str, Field(description="The ability, as swim_speed_up.")]


def _answer(subject: Subject, spec: FamilySweep) -> Answer:
    group = subject.builds.group(spec.family)
    found = grouped(subject.feature(spec.feature_id), subject.builds.rungs_of(spec.family), group.n_rungs)
    low, high = found.mean_interval(spec.seed)
    share_low, share_high = found.share_interval()
    n_active = int(found.n_active.sum())
    p = two_by_two_p(found.n_active, found.n, n_active, subject.n_samples)
    names = [group.rung_name(rung) for rung in range(group.n_rungs)]
    frame = pl.DataFrame(
        {
            "rung": names,
            "n": found.n,
            "n_active": found.n_active,
            "mean": found.mean,
            "mean_low": low,
            "mean_high": high,
            "share_active": found.share,
            "share_active_low": share_low,
            "share_active_high": share_high,
            "q": benjamini_hochberg(p),
        }
    )
    table = ResultTable.of(
        "by_rung",
        f"Feature {spec.feature_id} by rung of {spec.family}",
        "observed",
        frame,
        {
            "rung": "Highest rung of the ability in the build (AP); absent: not worn.",
            "n": "Samples on this rung.",
            "n_active": "Samples of those on which the feature fires.",
            "mean": "Mean activation over all n samples, zeros included.",
            "mean_low": "Lower border of the 95 % interval of the mean.",
            "mean_high": "Upper border.",
            "share_active": "n_active / n.",
            "share_active_low": "Lower border of its exact 95 % interval.",
            "share_active_high": "Upper border.",
            "q": "Whether it fires more or less often on this rung than elsewhere: p, adjusted for the number of rungs.",
        },
    )
    line = LinesOrBars(
        kind="lines",
        name="mean_by_rung",
        title=table.title,
        x_label=f"{spec.family} (AP)",
        y_label="mean activation",
        series=[Series(name="observed", x=[*names], y=finite(found.mean), low=finite(low), high=finite(high))],
    )
    return Answer(title=table.title, tables=[table], figures=[line])


EXPERIMENT = Experiment(FamilySweep, _answer)
