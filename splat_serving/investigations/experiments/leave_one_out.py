"""What a feature loses on a build with each of its abilities taken off, one at a time and all else held."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.intervals import benjamini_hochberg
from splat_assets.wording import counted
from splat_serving.investigations.edited_builds import (
    draw_firing,
    draw_of,
    each_taken_off,
    mean_with_interval,
    rerunnable,
    sign_flip_p,
)
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class LeaveOneOut(FeatureSpec):
    """What a feature loses on builds where it fires with each of their abilities taken off, one at a time and all else held.

    Drawn builds, no two alike. An ability that many builds lose much without is one that the feature needs; what merely goes
    along with such abilities costs nothing.
    """

    experiment: Literal["leave-one-out"] = "leave-one-out"
    n_builds: Annotated[int, Field(ge=1, le=2_000, description="So many builds on which it fires.")] = 64


def leave_one_out(subject: Subject, feature_id: int, sample_ids: Sequence[int]) -> pl.DataFrame:
    """Each ability of each sample's build taken off: `sample_id, ability, rung, activation, without, drop`.

    activation: on the whole build. drop: activation less without; null for a hook per token where the sample's own token goes
    with the ability. Masked copies of builds, which the model cannot be asked about again, have no row. sample_ids: of the store.
    Raises NotComputedError where there is no model.
    """
    able = rerunnable(subject)
    ids = np.array([one for one in sample_ids if able[one] and subject.builds.weapons[one] >= 0], dtype=np.int64)
    draw = draw_of(subject, feature_id, ids, ids.size)
    edited = each_taken_off(subject, draw.sets)
    owners = np.array([at for at, *_ in edited], dtype=np.int64)
    whole = draw.activations(draw.sets, range(ids.size)).astype(np.float64)
    without = draw.activations([less for *_, less in edited], owners.tolist()).astype(np.float64)
    frame = pl.DataFrame(
        {
            "sample_id": ids[owners],
            "ability": [group.name for _, group, _, _ in edited],
            "rung": [group.rung_name(rung) for _, group, rung, _ in edited],
            "activation": whole[owners],
            "without": without,
            "drop": whole[owners] - without,
        },
        {"sample_id": pl.Int64, "ability": pl.String, "rung": pl.String,
         "activation": pl.Float64, "without": pl.Float64, "drop": pl.Float64},
    )  # fmt: skip
    return frame.with_columns(pl.col("without", "drop").fill_nan(None))


def _answer(subject: Subject, spec: LeaveOneOut) -> Answer:
    draw, fires = draw_firing(subject, spec.feature_id, spec.n_builds, spec.seed)
    ids = draw.sample_ids[fires].tolist()
    found = leave_one_out(subject, spec.feature_id, ids)
    summary = _by_ability(found, spec.seed)
    return Answer(
        title=f"Feature {spec.feature_id}: each ability taken off",
        findings=_said(summary, len(ids)),
        facts={"n_builds": len(ids)},
        tables=[_summary_table(summary), _detail_table(found)],
        warnings=draw.warnings,
    )


def _by_ability(found: pl.DataFrame, seed: int) -> pl.DataFrame:
    rows = []
    for (ability,), part in found.drop_nulls("drop").group_by("ability", maintain_order=True):
        drops = part["drop"].to_numpy()
        shares = part.filter(pl.col("activation") > 0).select(pl.col("drop") / pl.col("activation"))["drop"]
        mean, low, high = mean_with_interval(drops, seed)
        borders = (low, high) if drops.size > 1 else (None, None)  # of one build, nothing is known of others
        rows.append((ability, drops.size, mean, *borders, shares.mean(), sign_flip_p(drops, seed)))
    schema = {"ability": pl.String, "n": pl.Int64, "drop": pl.Float64, "drop_low": pl.Float64, "drop_high": pl.Float64,
              "share_lost": pl.Float64, "p": pl.Float64}  # fmt: skip
    frame = pl.DataFrame(rows, schema, orient="row")
    frame = frame.with_columns(pl.Series("q", benjamini_hochberg(frame["p"].to_numpy()), pl.Float64))
    return frame.sort(pl.col("drop").abs(), "ability", descending=[True, False])


def _said(summary: pl.DataFrame, n_builds: int) -> list[str]:
    if summary.is_empty():
        return [f"{counted(n_builds, 'builds')} where it fires: nothing is worn that could be taken off."]
    row = summary.row(int((summary["n"] * summary["drop"].abs()).arg_max() or 0), named=True)
    return [
        f"Over {counted(n_builds, 'builds')} where it fires, {row['ability']} counts most in sum: without it, "
        f"the activation changes by "
        f"{-row['drop']:+.4g} on average on {row['n']} of them."
    ]


def _summary_table(summary: pl.DataFrame) -> ResultTable:
    described = {
        "ability": "The ability that is taken off, at whatever rung it is worn.",
        "n": "Builds of those drawn that wear it.",
        "drop": "Mean activation with it less without it, on the same builds.",
        "drop_low": "Lower border of its 95 % interval (bootstrap over builds).",
        "drop_high": "Upper border.",
        "share_lost": "Mean of the drop as a share of the build's activation.",
        "q": "p of no drop (signs thrown at random), adjusted for the number of abilities.",
    }
    return ResultTable.of("abilities", "What it loses without each ability", "causal", summary, described)


def _detail_table(found: pl.DataFrame) -> ResultTable:
    described = {
        "sample_id": "The build.",
        "ability": "The ability that is taken off.",
        "rung": "At which rung it was worn.",
        "activation": "On the whole build.",
        "without": "Without the ability.",
        "drop": "The difference.",
    }
    ordered = found.sort(["sample_id", "drop"], descending=[False, True], nulls_last=True)
    return ResultTable.of("builds", "Build by build", "causal", ordered, described, detail=True)


EXPERIMENT = Experiment(LeaveOneOut, _answer, {"n_builds": ("--max-examples",)})
