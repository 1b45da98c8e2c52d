"""`splat overview`: what is known of one feature, on one page: how often and how strongly it fires, on what, and what it does."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.bands import BANDS, band_numbers
from splat_assets.analysis.builds.doses import dose_summary, response_curve
from splat_assets.analysis.builds.profile import token_profile, weapon_profile
from splat_assets.analysis.inference.intervals import share_interval
from splat_assets.analysis.rules.score import score_rule
from splat_assets.domain.concepts import parse_rule
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.errors import InputError
from splat_assets.wording import counted
from splat_serving.database.errors import NotComputedError
from splat_serving.database.protocol import FeatureSummary
from splat_serving.investigations.build_text import build_as_text
from splat_serving.investigations.experiment import answered, experiment, spec_of
from splat_serving.investigations.results.outputs import IN_DATA, INFLUENCE, outputs_frame
from splat_serving.investigations.results.result import (
    Answer,
    Heatmap,
    LinesOrBars,
    Result,
    ResultTable,
    Series,
    finite,
)
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject

_MOST_BARS = 20
_MOST_NEIGHBOURS = 5
_SPARKS = "▁▂▃▄▅▆▇█"
EXTENDED = (
    "enrichment",
    "bands",
    "binary",
    "kit-sweep",
    "weapon-sweep",
    "coverage",
    "token-influence",
    "interactions",
    "itemsets",
    "minimal-core",
    "split-half",
    "shuffle-null",
    "pagerank",
)
"""The experiments that `--all` asks, too."""


class Overview(FeatureSpec):
    """What is known of one feature: how often it fires and how strongly, on which builds, and what it does to the predictions."""

    experiment: Literal["overview"] = "overview"
    top_k: Annotated[int, Field(ge=1, le=1_000, description="So many tokens, weapons, outputs and neighbours.")] = 15
    max_examples: Annotated[
        int,
        Field(ge=0, description="So many example builds at most, of those stored: the strongest, and some of each band. "
              "Statistics are over all samples whatever it says."),
    ] = 8  # fmt: skip
    also: Annotated[tuple[str, ...], Field(description="Experiments to ask as well, with their defaults.")] = ()


def overview(subject: Subject, spec: Overview, command: str = "") -> Result:
    """The page of a feature; FeatureNotFoundError, and what the experiments of `also` raise."""
    return answered(subject, "overview", spec.model_dump(mode="json"), _answer, spec, command)


PARTS = ("tokens", "weapons", "doses", "statistics")
RECORD = ("influences", "neighbours", "examples", "histogram")
"""Further parts: what is stored of a feature, whole."""


def part(subject: Subject, feature_id: int, name: str, top_k: int = 1_000) -> list[ResultTable]:
    """The tables of one part of the page alone: one of PARTS or RECORD.

    Statistics are there for every feature, PARTS if it fires, RECORD where it was computed. FeatureNotFoundError.
    """
    summary = subject.database.feature(feature_id)
    match name:
        case "influences":
            return [*_influences(summary, top_k)]
        case "neighbours":
            return [*_neighbours(summary, top_k)]
        case "examples":
            return [*examples_table(summary.examples or {}, top_k)]
        case "histogram":
            return [_histogram_table(summary)]
    if not summary.statistics["n_active"]:
        return [_statistics(summary)] if name == "statistics" else []
    found, builds = subject.feature(feature_id), subject.builds
    match name:
        case "tokens":
            return _token_tables(token_profile(found, builds), top_k)
        case "weapons":
            return [_weapon_table(weapon_profile(found, builds), top_k)]
        case "doses":
            doses = response_curve(found, builds)
            return [_dose_summary(dose_summary(found, builds), doses), _dose_table(doses)]
        case _:
            return [_statistics(summary), _bands(summary, found.values)]


def _answer(subject: Subject, spec: Overview) -> Answer:
    summary = subject.database.feature(spec.feature_id)
    tables = [_statistics(summary)]
    figures: list[Any] = [figure for figure in [_histogram(summary)] if figure]
    said = [_in_a_sentence(summary)]
    warnings: list[str] = []
    if summary.statistics["n_active"]:
        found, builds = subject.feature(spec.feature_id), subject.builds
        tokens, weapons = token_profile(found, builds), weapon_profile(found, builds)
        said += _strongest(tokens, weapons)
        tables += [*_token_tables(tokens, spec.top_k), _weapon_table(weapons, spec.top_k)]
        doses = response_curve(found, builds, spec.seed)
        tables += [_dose_summary(dose_summary(found, builds), doses), _dose_table(doses)]
        figures.append(_dose_figure(doses))
        tables.append(_bands(summary, found.values))
    else:
        warnings.append("it never fires on these samples: nothing can be said of what it responds to")
    tables += [
        *_influences(summary, spec.top_k),
        *_neighbours(summary, min(spec.top_k, _MOST_NEIGHBOURS)),
        *examples_table(summary.examples or {}, spec.max_examples),
    ]
    said += _label(subject, spec.feature_id)
    said += _suggestion(summary)
    further = _asked_as_well(subject, spec)
    return Answer(
        title=f"Feature {spec.feature_id}",
        findings=said,
        facts={name: value for name, value in summary.statistics.items() if name != "crc32c"},
        tables=[*tables, *(table for one in further for table in one.tables)],
        figures=[*figures, *(figure for one in further for figure in one.figures)],
        warnings=[*warnings, *dict.fromkeys(f"{one.title}: {text}" for one in further for text in one.warnings)],
    )


def _token_tables(tokens: pl.DataFrame, top_k: int) -> list[ResultTable]:
    return [
        _profile_table("tokens", "Tokens that go with it", tokens.filter(pl.col("phi") > 0), "token", top_k),
        _profile_table("tokens_against", "Tokens that go without it", _against(tokens), "token", top_k),
    ]


def _weapon_table(weapons: pl.DataFrame, top_k: int) -> ResultTable:
    return _profile_table("weapons", "Weapons that go with it", weapons.filter(pl.col("phi") > 0), "weapon", top_k)


def _asked_as_well(subject: Subject, spec: Overview) -> list[Answer]:
    found = []
    for name in spec.also:
        asked = spec_of({"experiment": name, "feature_id": spec.feature_id, "seed": spec.seed})
        try:
            answer = experiment(name).answer(subject, asked)
        except NotComputedError as error:
            answer = Answer(title=name, warnings=[str(error)])
        tables = [table.model_copy(update={"name": f"{name}/{table.name}"}) for table in answer.tables]
        found.append(answer.model_copy(update={"tables": tables}))
    return found


def _in_a_sentence(summary: FeatureSummary) -> str:
    facts = summary.statistics
    n_active, n_samples = facts["n_active"], facts["n_samples"]
    if not n_active:
        return f"It fires on none of {counted(n_samples, 'samples')}."
    low, high = (float(border) for border in share_interval(n_active, n_samples))
    return (
        f"It fires on {n_active:,} of {counted(n_samples, 'samples')} ({n_active / n_samples:.3%}; 95 % "
        f"interval {low:.3%} to {high:.3%}), "
        f"then with {facts['mean']:.4g} on average and {facts['max']:.4g} at most."
    )


def _strongest(tokens: pl.DataFrame, weapons: pl.DataFrame) -> list[str]:
    said = []
    for what, frame in (("token", tokens), ("weapon", weapons)):
        sure = frame.filter((pl.col("q") < 0.05) & (pl.col("phi") > 0))
        if sure.is_empty():
            said.append(f"No {what} goes with it more often than chance explains.")
            continue
        row = sure.row(0, named=True)
        said.append(
            f"Of all {what}s {row[what]} goes with it most: there it fires {row['lift']:.3g} times as often as at large "
            f"({row['lift_low']:.3g} to {row['lift_high']:.3g}), and {row['share_of_active']:.0%} of its activations have it."
        )
    return said


def _label(subject: Subject, feature_id: int) -> list[str]:
    if not subject.has_labels:
        return []
    event = subject.labels.label(feature_id)
    if event is None or event.label is None:
        return ["Nobody has labelled it yet."]
    label = event.label
    sure = "" if label.confidence is None else f", confidence {label.confidence:.0%}"
    scored = "" if label.rule is None else f" Its rule {_scored(subject, feature_id, label.rule)}."
    return [f"Label: {label.text} ({label.status}, {label.category}{sure}; {event.author}, {event.at[:10]}).{scored}"]


def _scored(subject: Subject, feature_id: int, raw: dict[str, Any]) -> str:
    rule = parse_rule(raw)
    try:
        found = score_rule(rule, subject.builds, subject.feature(feature_id))
    except InputError as error:
        return f"({rule_as_text(rule)}) cannot be scored here: {error}"
    return f"({rule_as_text(rule)}) has F1 {found.f1:.3f} ({found.f1_low:.3f} to {found.f1_high:.3f}) over all samples"


def _suggestion(summary: FeatureSummary) -> list[str]:
    found = summary.suggestion
    if found is None or not found["text"]:
        return []
    verdict = "good enough to be a label" if found["suggested"] else "not good enough to be a label"
    return [f"Best rule: {found['text']} (F1 {found['f1']:.3f} on builds that did not choose it, {verdict})."]


_STATISTICS = ("min", "q25", "median", "q75", "q90", "q95", "q99", "max", "mean", "std")


def _statistics(summary: FeatureSummary) -> ResultTable:
    facts = summary.statistics
    rows = [
        ("when it fires", facts["n_active"], *(facts[name] for name in _STATISTICS)),
        ("all samples", facts["n_samples"], *(facts[f"{name}_all"] for name in _STATISTICS)),
    ]
    schema = {"over": pl.String, "n": pl.Int64, **dict.fromkeys(_STATISTICS, pl.Float64)}
    described = {
        "over": "The activations alone, or all samples with zeros.",
        "n": "How many numbers.",
        **{name: f"{name} of them" for name in _STATISTICS},
        "std": "Standard deviation, dividing by n.",
    }
    return ResultTable.of("statistics", "Activation", "observed", pl.DataFrame(rows, schema, orient="row"), described)


def _histogram(summary: FeatureSummary) -> LinesOrBars | None:
    counts = np.asarray(summary.histogram["counts"], dtype=np.int64)
    if not counts.size:
        return None
    edges = np.asarray(summary.histogram["edges"], dtype=np.float64)
    together = -(-counts.size // _MOST_BARS)
    starts = np.arange(0, counts.size, together)
    labels = [f"{edges[at]:.3g} to {edges[min(at + together, counts.size)]:.3g}" for at in starts.tolist()]
    bars = Series(name="samples", x=[*labels], y=finite(np.add.reduceat(counts, starts)))
    return LinesOrBars(
        kind="bars",
        name="histogram",
        title=f"Activations; on {counted(summary.histogram['n_zero'], 'further samples')} it is 0",
        x_label="activation",
        y_label="samples",
        series=[bars],
    )


def _histogram_table(summary: FeatureSummary) -> ResultTable:
    edges = [float(edge) for edge in summary.histogram["edges"]]
    rows = [*zip(edges, edges[1:], summary.histogram["counts"], strict=False)]
    schema = {"from": pl.Float64, "to": pl.Float64, "samples": pl.Int64}
    described = {
        "from": "Where the bin begins.",
        "to": "Where it ends; the last one with its end.",
        "samples": "Samples whose activation is in it.",
    }
    note = f"On {counted(summary.histogram['n_zero'], 'further samples')} it is 0."
    return ResultTable.of(
        "histogram", "Activations", "observed", pl.DataFrame(rows, schema, orient="row"), described, note
    )


_PROFILE = {
    "n": "Samples with it.",
    "n_active": "Samples of those on which the feature fires.",
    "share_of_active": "Share of the feature's activations that have it.",
    "lift": "How many times as often the feature fires there as at large.",
    "lift_low": "Lower border of the 95 % interval of the lift.",
    "lift_high": "Upper border.",
    "mean": "Mean activation with it, zeros included.",
    "mean_without": "Mean activation without it, zeros included.",
    "phi": "Correlation of having it and firing.",
    "q": "p of independence, adjusted for the number of rows compared (Benjamini-Hochberg).",
}


def _profile_table(name: str, title: str, frame: pl.DataFrame, what: str, top_k: int) -> ResultTable:
    note = f"{frame.height} compared; ordered by phi."
    return ResultTable.of(name, title, "observed", frame.head(top_k), {what: f"The {what}.", **_PROFILE}, note)


def _against(tokens: pl.DataFrame) -> pl.DataFrame:
    return tokens.filter(pl.col("phi") < 0).sort("phi", "token_id")


def _dose_summary(frame: pl.DataFrame, doses: pl.DataFrame) -> ResultTable:
    sparks = {str(name): _spark(part["mean"].to_list()) for (name,), part in doses.group_by("ability")}
    shown = frame.with_columns(pl.col("ability").replace_strict(sparks, return_dtype=pl.String).alias("dose"))
    return ResultTable.of(
        "doses",
        "AP of each ability",
        "observed",
        shown,
        {
            "ability": "The ability.",
            "n": "Samples that wear it.",
            "dose": "Mean activation at each rung that builds have, not worn first; the tallest bar is the largest.",
            "mean_absent": "Mean activation where it is not worn, zeros included.",
            "mean_worn": "Mean activation where it is worn, zeros included.",
            "slope": "Change of the activation for 10 AP more (least squares, not worn counts as 0 AP; main-only: worn).",
            "eta2": "Share of the variance of the activation that its rungs explain.",
            "q": "p of an F test of that, adjusted for the number of abilities.",
        },
    )


def _spark(means: Sequence[float]) -> str:
    top = max(means, default=0.0)
    return "".join(_SPARKS[0 if top <= 0 else round(mean / top * (len(_SPARKS) - 1))] for mean in means)


def _dose_table(doses: pl.DataFrame) -> ResultTable:
    described = {
        "ability": "The ability.",
        "rung": "Highest rung in the build (AP); absent: not worn.",
        "n": "Samples on this rung.",
        "n_active": "Samples of those on which the feature fires.",
        "mean": "Mean activation, zeros included.",
        "mean_low": "Lower border of its 95 % interval.",
        "mean_high": "Upper border.",
        "share_active": "n_active / n.",
        "share_active_low": "Lower border of its exact 95 % interval.",
        "share_active_high": "Upper border.",
    }
    return ResultTable.of("dose_by_rung", "AP of each ability, by rung", "observed", doses, described, detail=True)


def _dose_figure(doses: pl.DataFrame) -> Heatmap:
    stacked = doses.filter(pl.col("rung").is_in(["worn"]).any().over("ability").not_())
    rungs = sorted(set(stacked["ap"].to_list()))
    cells = {(row["ability"], row["ap"]): row for row in stacked.iter_rows(named=True)}
    names = list(dict.fromkeys(stacked["ability"].to_list()))
    return Heatmap(
        name="doses",
        title="Mean activation by ability and rung",
        x_label="AP (0: not worn)",
        y_label="ability",
        z_label="mean activation",
        x=[*rungs],
        y=[*names],
        z=[[cells[name, ap]["mean"] if (name, ap) in cells else None for ap in rungs] for name in names],
        n=[[cells[name, ap]["n"] if (name, ap) in cells else 0 for ap in rungs] for name in names],
    )


def _bands(summary: FeatureSummary, values: Any) -> ResultTable:
    top = float(summary.statistics["effective_max"])
    counts = np.bincount(band_numbers(values, top), minlength=len(BANDS))
    low, high = share_interval(counts, values.size)
    frame = pl.DataFrame(
        {
            "band": [band.name for band in BANDS],
            "above": [band.above * top for band in BANDS],
            "n": counts,
            "share": counts / values.size,
            "share_low": low,
            "share_high": high,
        }
    )
    described = {
        "band": "A range of activations, by shares of the effective maximum.",
        "above": "Where it begins.",
        "n": "Activations in it.",
        "share": "Share of all activations.",
        "share_low": "Lower border of its exact 95 % interval.",
        "share_high": "Upper border.",
    }
    note = f"Effective maximum (99.5th percentile of the activations): {top:.4g}."
    return ResultTable.of("bands", "Bands of activation", "observed", frame, described, note)


def _influences(summary: FeatureSummary, top_k: int) -> Iterable[ResultTable]:
    for key, title in (("raised", "Outputs it raises"), ("lowered", "Outputs it lowers")):
        frame = outputs_frame((summary.influences or {}).get(key, [])[:top_k])
        if frame.height:
            described = {"token": "The output.", "influence": INFLUENCE, "in_data": IN_DATA}
            yield ResultTable.of(key, title, "weights", frame, described)


_KINDS = {
    "decoder_cosine": "cosine of the decoder directions",
    "pearson": "correlation of the activations over all samples",
    "jaccard": "samples on which both fire over samples on which one does",
}


def _neighbours(summary: FeatureSummary, top_k: int) -> Iterable[ResultTable]:
    rows = [
        (kind, one["feature_id"], one["score"], one["n_both"])
        for kind in _KINDS
        for one in (summary.neighbours or {}).get(kind, [])[:top_k]
    ]
    if rows:
        schema = {"kind": pl.String, "feature": pl.Int64, "score": pl.Float64, "n_both": pl.Int64}
        described = {
            "kind": "; ".join(f"{kind}: {text}" for kind, text in _KINDS.items()),
            "feature": "The other feature.",
            "score": "How alike they are.",
            "n_both": "Samples on which both fire.",
        }
        yield ResultTable.of(
            "neighbours", "Features like it", "observed", pl.DataFrame(rows, schema, orient="row"), described
        )


def examples_table(groups: Mapping[str, Sequence[Any]], most: int) -> Iterable[ResultTable]:
    """Samples by group as one table, the first of each group before the second of any, at most so many; none for no sample."""
    rows = [
        (group, one["activation"], one["weapon_name"], build_as_text(one.get("abilities") or ()), one["global_index"])
        for group, one in _in_turn(groups, most)
    ]
    if rows:
        schema = {
            "group": pl.String,
            "activation": pl.Float64,
            "weapon": pl.String,
            "abilities": pl.String,
            "sample": pl.Int64,
        }
        described = {
            "group": "top: the strongest. A band: drawn from it. random: drawn from all activations.",
            "activation": "Of the feature.",
            "weapon": "The weapon.",
            "abilities": "Abilities with their highest rung (AP).",
            "sample": "Its id.",
        }
        yield ResultTable.of("examples", "Builds", "observed", pl.DataFrame(rows, schema, orient="row"), described)


def _in_turn(groups: Mapping[str, Sequence[Any]], most: int) -> list[tuple[str, Any]]:
    """The first of each group, then the second of each, …, by group: at most so many."""
    ranked = [(rank, at, name, one) for at, (name, rows) in enumerate(groups.items()) for rank, one in enumerate(rows)]
    chosen = sorted(ranked, key=lambda row: row[:2])[:most]
    return [(name, one) for _, _, name, one in sorted(chosen, key=lambda row: (row[1], row[0]))]
