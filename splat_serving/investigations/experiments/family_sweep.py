"""How a feature depends on one ability: its activation at each rung, "not worn" included."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_table import Group
from splat_assets.analysis.builds.edits import FAR
from splat_assets.analysis.inference.grouped import grouped
from splat_assets.analysis.inference.intervals import two_by_two_p, with_q
from splat_serving.investigations.build_text import setting_in_words, token_in_words
from splat_serving.investigations.edited_builds import (
    STRATA,
    Draw,
    draw_builds,
    edited_sets,
    mean_with_interval,
    plausibility,
    sign_flip_p,
)
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import never
from splat_serving.investigations.results.result import Answer, LinesOrBars, ResultTable, Scalar, Series, finite
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject

EvidenceWanted = Annotated[
    Literal["observed", "causal", "both"],
    Field(description="observed: counted over all samples. causal: builds edited and run through the model. both: side by side "
          "(only observed, with a warning, without a model)."),
]  # fmt: skip
NumberOfBuilds = Annotated[
    int,
    Field(
        ge=2, le=10_000, description="How many builds to edit: half where the feature fires, half where it does not."
    ),
]


class FamilySweep(FeatureSpec):
    """How a feature depends on one ability: mean activation and how often it fires at each rung, "not worn" included.

    Observed: all samples of the store by the rung they wear; other abilities differ between rungs, too. Causal: sampled builds
    with this ability set to each rung and all else fixed, run through base model and SAE.
    """

    experiment: Literal["family-sweep"] = "family-sweep"
    family: Annotated[Ability, Field(description="The ability, for example swim_speed_up or ssu.")]
    evidence: EvidenceWanted = "both"
    rungs: Annotated[tuple[int, ...], Field(description="Rungs (AP) to show. If not given: all.")] = ()
    absent: Annotated[bool, Field(description="Also show builds that do not wear it.")] = True
    n_builds: NumberOfBuilds = 200


def _answer(subject: Subject, spec: FamilySweep) -> Answer:
    group = subject.builds.group(spec.family)
    rungs = chosen_rungs(subject, group, spec.rungs, spec.absent)
    tables: list[ResultTable] = []
    series: list[Series] = []
    findings: list[str] = []
    warnings: list[str] = []
    facts: dict[str, Scalar] = {}
    if spec.evidence != "causal":
        observed = _observed(subject, spec, group, rungs)
        tables.append(_observed_table(spec, observed))
        series.append(_line("observed: all samples", observed))
        fires = subject.feature(spec.feature_id).n_active
        findings += [_observed_sentence(spec, observed)] if fires else []
        warnings += [] if fires else [never(spec.feature_id)]
    if spec.evidence == "observed" or (spec.evidence == "both" and not subject.has_model):
        if spec.evidence == "both":
            warnings.append(f"no causal results: {subject.no_model}")
    else:
        draw = draw_builds(subject, spec.feature_id, spec.n_builds, spec.seed)
        causal = _causal(draw, spec, group, rungs)
        tables.append(_causal_table(spec, causal))
        series += [_line(f"causal: builds where it {_DOES[name]}", causal.filter(pl.col("builds") == name)) for name in STRATA
                   if name in causal["builds"]]  # fmt: skip
        findings += _causal_sentences(spec, causal)
        warnings += draw.warnings
        facts["deviation_of_unedited_builds"] = draw.deviation
    title = f"Feature {spec.feature_id} by rung of {token_in_words(spec.family)}"
    line = LinesOrBars(
        kind="lines",
        name="mean_by_rung",
        title=title,
        x_label=f"{token_in_words(spec.family)} (AP)",
        y_label="mean activation",
        series=series,
    )
    return Answer(title=title, findings=findings, facts=facts, tables=tables, figures=[line], warnings=warnings)


_DOES = {"fires": "fires", "silent": "is silent"}


def chosen_rungs(subject: Subject, group: Group, levels: Sequence[int], absent: bool) -> list[int]:
    """The rungs with these levels, all for none, with "not worn" first; InputError for a level that is not a rung."""
    named = [subject.builds.rung_at(group.name, level) for level in levels] or list(range(1, group.n_rungs))
    return sorted({*([0] if absent else []), *named})


def _observed(subject: Subject, spec: FamilySweep, group: Group, rungs: list[int]) -> pl.DataFrame:
    cells = grouped(subject.feature(spec.feature_id), subject.builds.rungs_of(spec.family), group.n_rungs)
    low, high = cells.mean_interval(spec.seed)
    share_low, share_high = cells.share_interval()
    p = two_by_two_p(cells.n_active, cells.n, int(cells.n_active.sum()), subject.n_samples)
    frame = pl.DataFrame(
        {
            "rung": [group.rung_name(rung) for rung in range(group.n_rungs)],
            "n": cells.n,
            "n_active": cells.n_active,
            "mean": cells.mean,
            "mean_low": low,
            "mean_high": high,
            "share_active": cells.share,
            "share_active_low": share_low,
            "share_active_high": share_high,
            "p": p,
        }
    )
    return with_q(frame[rungs])


def _observed_table(spec: FamilySweep, frame: pl.DataFrame) -> ResultTable:
    return ResultTable.of(
        "observed",
        f"Builds by their rung of {token_in_words(spec.family)}",
        "observed",
        frame,
        {
            "rung": "Highest rung of the ability in the build (AP); absent: not worn.",
            "n": "Samples on this rung.",
            "n_active": "Samples on this rung on which the feature fires.",
            "mean": "Mean activation over all n samples, zeros included.",
            "share_active": "n_active / n; interval: exact.",
            "q": "p-value of firing as often on this rung as elsewhere, adjusted for the number of rungs.",
        },
    )


def _observed_sentence(spec: FamilySweep, frame: pl.DataFrame) -> str:
    known = frame.filter(pl.col("n") > 0)
    if known.is_empty():
        return "Observed: no build has any of these rungs."
    peak = known.sort("mean", descending=True, nulls_last=True).row(0, named=True)
    where = _at_rung(spec.family, peak["rung"])
    return f"Observed: the mean activation is highest {where}: {peak['mean']:.3g} (n = {peak['n']:,})."


def _at_rung(family: str, rung: str) -> str:
    """`at 12 AP of Swim Speed Up`, `without Swim Speed Up`."""
    name = token_in_words(family)
    return f"without {name}" if rung == "absent" else f"with {name}" if rung == "worn" else f"at {rung} AP of {name}"


def _causal(draw: Draw, spec: FamilySweep, group: Group, rungs: list[int]) -> pl.DataFrame:
    values = draw.with_rungs(group, rungs).astype(np.float64)
    near = [plausibility(draw, [sets[draw.stratum(name)] for sets in edited_sets(draw, group, rungs)])
            if _any(draw, name) else None for name in STRATA]  # fmt: skip
    rows: list[tuple[Any, ...]] = []
    for name, plausible in zip(STRATA, near, strict=True):
        if plausible is None:
            continue
        part, stored = values[draw.stratum(name)], draw.stored[draw.stratum(name)].astype(np.float64)
        rows.append((name, "unedited", stored.size, *mean_with_interval(stored, spec.seed), float((stored > 0).mean()),
                     None, None, None, None, None, None, None))  # fmt: skip
        for at, rung in enumerate(rungs):
            column = part[:, at]
            change = column - stored
            legal = None if plausible.share_legal is None else float(plausible.share_legal[at])
            rows.append((
                name, group.rung_name(rung), int((~np.isnan(column)).sum()), *mean_with_interval(column, spec.seed),
                float((column[~np.isnan(column)] > 0).mean()) if (~np.isnan(column)).any() else None,
                *mean_with_interval(change, spec.seed), sign_flip_p(change, spec.seed), legal,
                float(plausible.near[at, 0]), float(plausible.near[at, FAR]),
            ))  # fmt: skip
    return with_q(pl.DataFrame(rows, _CAUSAL, orient="row"))


def _any(draw: Draw, name: str) -> bool:
    part = draw.stratum(name)
    return bool(part.stop > part.start)


_CAUSAL = {"builds": pl.String, "rung": pl.String, "n": pl.Int64} | dict.fromkeys(
    (
        "mean",
        "mean_low",
        "mean_high",
        "share_active",
        "change",
        "change_low",
        "change_high",
        "p",
        "legal",
        "real",
        "far",
    ),
    pl.Float64,
)


def _causal_table(spec: FamilySweep, frame: pl.DataFrame) -> ResultTable:
    return ResultTable.of(
        "causal",
        f"The same builds with {token_in_words(spec.family)} set to each rung",
        "causal",
        frame,
        {
            "builds": "fires: builds on which the feature fires; silent: builds on which it does not.",
            "rung": "The rung set, all else fixed; unedited: the builds as stored.",
            "n": "Builds.",
            "mean": "Mean activation over them; interval: bootstrap over builds.",
            "share_active": "Share of them on which the feature fires.",
            "change": "Mean change compared with the same builds unedited; interval: bootstrap over builds.",
            "q": "p-value of no change (sign-flip test over builds), adjusted for the number of rows.",
            "legal": "Share of the edited builds that gear allows.",
            "real": "Share of them that occur in the store.",
            "far": "Share of them whose nearest real build is more than two rungs away: weaker evidence.",
        },
    )


def _causal_sentences(spec: FamilySweep, frame: pl.DataFrame) -> list[str]:
    sentences = []
    for name in STRATA:
        part = frame.filter((pl.col("builds") == name) & pl.col("change").is_not_null())
        sure = part.filter(pl.col("q") < 0.05)
        if part.is_empty():
            continue
        where = f"where the feature {_DOES[name]}"
        if sure.is_empty():
            sentences.append(f"Causal: {where}, {_no_setting(spec.family, part)} has an effect beyond chance.")
            continue
        row = sure.sort(pl.col("change").abs(), descending=True).row(0, named=True)
        sentences.append(
            f"Causal: {where}, {setting_in_words(spec.family, row['rung'])} has the largest effect: {row['change']:+.3g} on "
            f"average (95 % interval {row['change_low']:+.3g} to {row['change_high']:+.3g}, n = {row['n']:,})."
        )
    return sentences


def _no_setting(family: str, part: pl.DataFrame) -> str:
    """`no rung of Swim Speed Up`, or for a main-only ability `neither adding nor removing Ninja Squid`."""
    is_main_only = "worn" in part["rung"]
    return f"{'neither adding nor removing' if is_main_only else 'no rung of'} {token_in_words(family)}"


def _line(name: str, frame: pl.DataFrame) -> Series:
    shown = frame.filter(pl.col("rung") != "unedited")
    return Series(
        name=name,
        x=shown["rung"].to_list(),
        y=finite(shown["mean"]),
        low=finite(shown["mean_low"]),
        high=finite(shown["mean_high"]),
    )


EXPERIMENTS = (Experiment(FamilySweep, _answer, {"n_builds": ("--max-examples",)}),)
