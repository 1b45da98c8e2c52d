"""Leave-one-out: how much a feature's activation drops when each ability of a build is removed, one at a time."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.intervals import benjamini_hochberg
from splat_assets.text.wording import counted
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.edited_builds import (
    draw_firing,
    draw_of,
    each_removed,
    mean_with_interval,
    rerunnable,
    sign_flip_p,
)
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class LeaveOneOut(FeatureSpec):
    """How much a feature's activation drops when each ability of a build is removed, one at a time and all else fixed.

    Sampled builds where it fires, all different. A large drop on many builds marks an ability that the feature needs; an
    ability that only co-occurs with it causes no drop.
    """

    experiment: Literal["leave-one-out"] = "leave-one-out"
    n_builds: Annotated[int, Field(ge=1, le=2_000, description="How many builds on which it fires to sample.")] = 64


def leave_one_out(subject: Subject, feature_id: int, sample_ids: Sequence[int]) -> pl.DataFrame:
    """Each ability of each sample's build removed: `sample_id, ability, rung, activation, without, drop`.

    activation: on the whole build. drop: activation minus without; null for a hook per token where the sample's own token is
    removed with the ability. Masked copies of builds, which cannot be run again, have no row. sample_ids: of the store.
    Raises NotComputedError without a model.
    """
    able = rerunnable(subject)
    ids = np.array([one for one in sample_ids if able[one] and subject.builds.weapons[one] >= 0], dtype=np.int64)
    draw = draw_of(subject, feature_id, ids, ids.size)
    edited = each_removed(subject, draw.sets)
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
    drops = leave_one_out(subject, spec.feature_id, ids)
    summary = _by_ability(drops, spec.seed)
    return Answer(
        title=f"Feature {spec.feature_id}: each ability removed",
        findings=_largest_total_drop(summary, len(ids)),
        facts={"n_builds": len(ids)},
        tables=[_summary_table(summary), _detail_table(drops)],
        warnings=draw.warnings,
    )


def _by_ability(rows_by_build: pl.DataFrame, seed: int) -> pl.DataFrame:
    rows = []
    for (ability,), part in rows_by_build.drop_nulls("drop").group_by("ability", maintain_order=True):
        drops = part["drop"].to_numpy()
        shares = part.filter(pl.col("activation") > 0).select(pl.col("drop") / pl.col("activation"))["drop"]
        mean, low, high = mean_with_interval(drops, seed)
        bounds = (low, high) if drops.size > 1 else (None, None)  # one build gives none
        rows.append((ability, drops.size, mean, *bounds, shares.mean(), sign_flip_p(drops, seed)))
    schema = {"ability": pl.String, "n": pl.Int64, "drop": pl.Float64, "drop_low": pl.Float64, "drop_high": pl.Float64,
              "share_lost": pl.Float64, "p": pl.Float64}  # fmt: skip
    frame = pl.DataFrame(rows, schema, orient="row")
    frame = frame.with_columns(pl.Series("q", benjamini_hochberg(frame["p"].to_numpy()), pl.Float64))
    return frame.sort(pl.col("drop").abs(), "ability", descending=[True, False])


def _largest_total_drop(summary: pl.DataFrame, n_builds: int) -> list[str]:
    if summary.is_empty():
        return [f"{counted(n_builds, 'builds')} where it fires: none has an ability that could be removed."]
    row = summary.row(int((summary["n"] * summary["drop"].abs()).arg_max() or 0), named=True)
    return [
        f"Largest total drop over {counted(n_builds, 'builds')} where the feature fires: "
        f"removing {token_in_words(row['ability'])} changes the activation by {-row['drop']:+.3g} on average "
        f"on the {row['n']} of them that have it."
    ]


def _summary_table(summary: pl.DataFrame) -> ResultTable:
    described = {
        "ability": "The ability removed, whatever its rung.",
        "n": "Sampled builds that wear it.",
        "drop": "Mean activation with it minus without it, on the same builds; interval: bootstrap over builds.",
        "share_lost": "Mean of the drop as a share of the build's activation.",
        "q": "p-value of no drop (sign-flip test), adjusted for the number of abilities.",
    }
    return ResultTable.of("abilities", "Drop of the activation without each ability", "causal", summary, described)


def _detail_table(drops: pl.DataFrame) -> ResultTable:
    described = {
        "sample_id": "The sample.",
        "ability": "The ability removed.",
        "rung": "The rung it had.",
        "activation": "Activation on the whole build.",
        "without": "Activation without the ability.",
        "drop": "activation - without.",
    }
    ordered = drops.sort(["sample_id", "drop"], descending=[False, True], nulls_last=True)
    return ResultTable.of("builds", "Build by build", "causal", ordered, described, detail=True)


EXPERIMENTS = (Experiment(LeaveOneOut, _answer, {"n_builds": ("--max-examples",)}),)
