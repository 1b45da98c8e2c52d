"""`splat overview`: one feature on one page: how often and how strongly it fires, on which builds, and its effect."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import dose_summary, response_curve, token_profile, weapon_profile
from splat_assets.analysis.inference.intervals import share_interval
from splat_assets.analysis.rules.score import score_rule
from splat_assets.analysis.statistics import BANDS, band_numbers
from splat_assets.domain.concepts import parse_rule
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.errors import InputError
from splat_assets.text.wording import counted, percent
from splat_serving.database.errors import NotComputedError
from splat_serving.database.protocol import NO_INFLUENCES, FeatureSummary
from splat_serving.investigations.build_text import SAMPLE_COLUMNS, as_sentence, build_as_text, token_in_words
from splat_serving.investigations.experiment import answered, experiment, spec_of
from splat_serving.investigations.results.outputs import IN_DATA, INFLUENCE, outputs_frame
from splat_serving.investigations.results.result import (
    Answer,
    Heatmap,
    LinesOrBars,
    Result,
    ResultTable,
    bar_figure,
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
"""The experiments that `--all` adds."""


class Overview(FeatureSpec):
    """One feature on one page: how often and how strongly it fires, on which builds, and its effect on the predictions."""

    experiment: Literal["overview"] = "overview"
    top_k: Annotated[
        int, Field(ge=1, le=1_000, description="How many tokens, weapons, outputs and neighbours to show.")
    ] = 15
    max_examples: Annotated[
        int,
        Field(ge=0, description="How many of the stored example builds to show: the strongest, and some of each band. "
              "It does not change the statistics, which are over all samples."),
    ] = 8  # fmt: skip
    also: Annotated[tuple[str, ...], Field(description="Further experiments to include, with their defaults.")] = ()


def overview(subject: Subject, spec: Overview, command: str = "") -> Result:
    """The page of a feature.

    Returns:
        Tables over all samples, zeros included; `facts` are the statistics of the feature. A dead feature gives a warning and
        fewer tables. Results of `also` have tables named `EXPERIMENT/TABLE`.

    Raises:
        FeatureNotFoundError: For a feature that the SAE does not have.
        SplatError: What the experiments in `also` raise; one that needs a missing part becomes a warning.

    Examples:
        >>> page = overview(subject, Overview(feature_id=1, top_k=3))
        >>> page.title, page.table("statistics").frame["over"].to_list()
        ('Feature 1', ['when it fires', 'all samples'])
    """
    return answered(subject, spec, _answer, command)


COMPUTED_SECTIONS = ("tokens", "weapons", "doses", "statistics")
STORED_SECTIONS = ("influences", "neighbours", "examples", "histogram")
"""Sections that are stored with a feature, in full."""


def section_tables(subject: Subject, feature_id: int, name: str, top_k: int = 1_000) -> list[ResultTable]:
    """The tables of one section of the page: one of COMPUTED_SECTIONS or STORED_SECTIONS.

    Statistics exist for every feature, COMPUTED_SECTIONS if it fires, STORED_SECTIONS where they were computed. Raises
    FeatureNotFoundError.
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
    activations, builds = subject.feature(feature_id), subject.builds
    match name:
        case "tokens":
            return _token_tables(token_profile(activations, builds), top_k)
        case "weapons":
            return [_weapon_table(weapon_profile(activations, builds), top_k)]
        case "doses":
            curve = response_curve(activations, builds)
            return [_response_summary(dose_summary(activations, builds), curve), _response_table(curve)]
        case _:
            return [_statistics(summary), _bands(summary, activations.values)]


def _answer(subject: Subject, spec: Overview) -> Answer:
    summary = subject.database.feature(spec.feature_id)
    tables = [_statistics(summary)]
    figures: list[Any] = [figure for figure in [_histogram(summary)] if figure]
    findings = [_firing_sentence(summary)]
    warnings: list[str] = []
    if summary.statistics["n_active"]:
        activations, builds = subject.feature(spec.feature_id), subject.builds
        tokens, weapons = token_profile(activations, builds), weapon_profile(activations, builds)
        findings += _association_sentences(tokens, weapons)
        tables += [*_token_tables(tokens, spec.top_k), _weapon_table(weapons, spec.top_k)]
        curve = response_curve(activations, builds, spec.seed)
        tables += [_response_summary(dose_summary(activations, builds), curve), _response_table(curve)]
        figures.append(_response_figure(curve))
        tables.append(_bands(summary, activations.values))
    else:
        warnings.append("the feature never fires on these samples: what it responds to is unknown")
    tables += [
        *_influences(summary, spec.top_k),
        *_neighbours(summary, min(spec.top_k, _MOST_NEIGHBOURS)),
        *examples_table(summary.examples or {}, spec.max_examples),
    ]
    findings += _label_sentence(subject, spec.feature_id)
    findings += _rule_sentence(summary)
    further = _further_answers(subject, spec)
    return Answer(
        title=f"Feature {spec.feature_id}",
        findings=findings,
        facts={name: value for name, value in dict[str, Any](summary.statistics).items() if name != "crc32c"},
        tables=[*tables, *(table for one in further for table in one.tables)],
        figures=[*figures, *(figure for one in further for figure in one.figures)],
        warnings=[*warnings, *dict.fromkeys(f"{one.title}: {text}" for one in further for text in one.warnings)],
    )


def _token_tables(tokens: pl.DataFrame, top_k: int) -> list[ResultTable]:
    return [
        _profile_table("tokens", "Associated tokens", tokens.filter(pl.col("phi") > 0), "token", top_k),
        _profile_table("tokens_against", "Tokens it avoids", _against(tokens), "token", top_k),
    ]


def _weapon_table(weapons: pl.DataFrame, top_k: int) -> ResultTable:
    return _profile_table("weapons", "Associated weapons", weapons.filter(pl.col("phi") > 0), "weapon", top_k)


def _further_answers(subject: Subject, spec: Overview) -> list[Answer]:
    answers = []
    for name in spec.also:
        further = spec_of({"experiment": name, "feature_id": spec.feature_id, "seed": spec.seed})
        try:
            answer = experiment(name).answer(subject, further)
        except NotComputedError as error:
            answer = Answer(title=name, warnings=[str(error)])
        tables = [table.model_copy(update={"name": f"{name}/{table.name}"}) for table in answer.tables]
        answers.append(answer.model_copy(update={"tables": tables}))
    return answers


def _firing_sentence(summary: FeatureSummary) -> str:
    facts = summary.statistics
    n_active, n_samples = facts["n_active"], facts["n_samples"]
    if not n_active:
        return f"The feature fires on none of {counted(n_samples, 'samples')}."
    low, high = (float(bound) for bound in share_interval(n_active, n_samples))
    return (
        f"The feature fires on {n_active:,} of {counted(n_samples, 'samples')} ({percent(n_active / n_samples)}; "
        f"95 % interval {percent(low)} to {percent(high)}). Activation where it fires: mean {facts['mean']:.3g}, "
        f"maximum {facts['max']:.3g}."
    )


def _association_sentences(tokens: pl.DataFrame, weapons: pl.DataFrame) -> list[str]:
    sentences = []
    for what, frame in (("token", tokens), ("weapon", weapons)):
        sure = frame.filter((pl.col("q") < 0.05) & (pl.col("phi") > 0))
        if sure.is_empty():
            sentences.append(f"No {what} is associated with the feature beyond chance.")
            continue
        row = sure.row(0, named=True)
        sentences.append(
            f"Strongest {what}: {as_sentence(token_in_words(row[what]))} The feature fires {row['lift']:.3g}x as often "
            f"on builds with it (95 % interval {row['lift_low']:.3g} to {row['lift_high']:.3g}); "
            f"they are {percent(row['share_of_active'])} of its activations."
        )
    return sentences


def _label_sentence(subject: Subject, feature_id: int) -> list[str]:
    if not subject.has_labels:
        return []
    event = subject.labels.label(feature_id)
    if event is None or event.label is None:
        return ["No label yet."]
    label = event.label
    sure = "" if label.confidence is None else f", confidence {percent(label.confidence)}"
    scored = "" if label.rule is None else f" Its rule {_rule_score(subject, feature_id, label.rule)}."
    return [f"Label: {label.text} ({label.status}, {label.category}{sure}; {event.author}, {event.at[:10]}).{scored}"]


def _rule_score(subject: Subject, feature_id: int, raw: dict[str, Any]) -> str:
    rule = parse_rule(raw)
    try:
        score = score_rule(rule, subject.builds, subject.feature(feature_id))
    except InputError as error:
        return f"({rule_as_text(rule)}) cannot be scored here: {error}"
    bounds = f"95 % interval {score.f1_low:.3f} to {score.f1_high:.3f}"
    return f"({rule_as_text(rule)}) has F1 {score.f1:.3f} ({bounds}) over all samples"


def _rule_sentence(summary: FeatureSummary) -> list[str]:
    suggestion = summary.suggestion
    if suggestion is None or not suggestion["text"]:
        return []
    verdict = "good enough to be a label" if suggestion["suggested"] else "not good enough to be a label"
    return [f"Best rule: {suggestion['text']} (F1 {suggestion['f1']:.3f} on held-out builds; {verdict})."]


_STATISTICS = ("min", "q25", "median", "q75", "q90", "q95", "q99", "max", "mean", "std")


def _statistics(summary: FeatureSummary) -> ResultTable:
    facts = dict[str, Any](summary.statistics)
    rows = [
        ("when it fires", facts["n_active"], *(facts[name] for name in _STATISTICS)),
        ("all samples", facts["n_samples"], *(facts[f"{name}_all"] for name in _STATISTICS)),
    ]
    described = {
        "over": "Activations above 0 only, or all samples with zeros.",
        "n": "Number of values.",
        **{name: f"{name} of these values" for name in _STATISTICS},
        "std": "Standard deviation, dividing by n.",
    }
    return ResultTable.of("statistics", "Activation", "observed", rows, described)


def _histogram(summary: FeatureSummary) -> LinesOrBars | None:
    counts = np.asarray(summary.histogram["counts"], dtype=np.int64)
    if not counts.size:
        return None
    edges = np.asarray(summary.histogram["edges"], dtype=np.float64)
    together = -(-counts.size // _MOST_BARS)
    starts = np.arange(0, counts.size, together)
    labels = [f"{edges[at]:.3g} to {edges[min(at + together, counts.size)]:.3g}" for at in starts.tolist()]
    title = f"Activations above 0 ({counted(summary.histogram['n_zero'], 'further samples')} at 0)"
    return bar_figure("histogram", title, "activation", "samples", labels, np.add.reduceat(counts, starts))


def _histogram_table(summary: FeatureSummary) -> ResultTable:
    edges = [float(edge) for edge in summary.histogram["edges"]]
    rows = [*zip(edges, edges[1:], summary.histogram["counts"], strict=False)]
    described = {
        "from": "Lower edge of the bin.",
        "to": "Upper edge of the bin; only the last bin includes it.",
        "samples": "Samples with an activation in the bin.",
    }
    note = f"{counted(summary.histogram['n_zero'], 'further samples')} at 0."
    return ResultTable.of("histogram", "Activations", "observed", rows, described, note)


_PROFILE = {
    "n": "Samples with it.",
    "n_active": "Samples with it on which the feature fires.",
    "share_of_active": "Share of the feature's activations that have it.",
    "lift": "How many times as often the feature fires with it as overall.",
    "mean": "Mean activation with it, zeros included.",
    "mean_without": "Mean activation without it, zeros included.",
    "phi": "Correlation of having it and firing.",
    "q": "p-value of independence, adjusted for the number of rows compared (Benjamini-Hochberg).",
}


def _profile_table(name: str, title: str, frame: pl.DataFrame, what: str, top_k: int) -> ResultTable:
    note = f"{frame.height} compared; ordered by phi."
    return ResultTable.of(name, title, "observed", frame.head(top_k), {what: f"The {what}.", **_PROFILE}, note)


def _against(tokens: pl.DataFrame) -> pl.DataFrame:
    return tokens.filter(pl.col("phi") < 0).sort("phi", "token_id")


def _response_summary(frame: pl.DataFrame, curve: pl.DataFrame) -> ResultTable:
    sparks = {str(name): _spark(part["mean"].to_list()) for (name,), part in curve.group_by("ability")}
    shown = frame.with_columns(pl.col("ability").replace_strict(sparks, return_dtype=pl.String).alias("dose"))
    return ResultTable.of(
        "doses",
        "AP of each ability",
        "observed",
        shown,
        {
            "ability": "The ability.",
            "n": "Samples that wear it.",
            "dose": "Mean activation at each rung that builds have, starting with not worn; the tallest bar is the largest mean.",
            "mean_absent": "Mean activation where it is not worn, zeros included.",
            "mean_worn": "Mean activation where it is worn, zeros included.",
            "slope": "Change of the activation per 10 AP (least squares, not worn is 0 AP; main-only: worn against not worn).",
            "eta2": "Share of the variance of the activation that its rungs explain (eta squared).",
            "q": "p-value of the F test of that, adjusted for the number of abilities.",
        },
    )


def _spark(means: Sequence[float]) -> str:
    top = max(means, default=0.0)
    return "".join(_SPARKS[0 if top <= 0 else round(mean / top * (len(_SPARKS) - 1))] for mean in means)


def _response_table(curve: pl.DataFrame) -> ResultTable:
    described = {
        "ability": "The ability.",
        "rung": "Highest rung in the build (AP); absent: not worn.",
        "n": "Samples on this rung.",
        "n_active": "Samples with it on which the feature fires.",
        "mean": "Mean activation, zeros included.",
        "share_active": "n_active / n; interval: exact.",
    }
    return ResultTable.of("dose_by_rung", "AP of each ability, by rung", "observed", curve, described, detail=True)


def _response_figure(curve: pl.DataFrame) -> Heatmap:
    stacked = curve.filter(pl.col("rung").is_in(["worn"]).any().over("ability").not_())
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
    top = summary.statistics["effective_max"] or 0.0
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
        "band": "A range of activations, as shares of the effective maximum.",
        "above": "Lower edge of the band.",
        "n": "Number of activations in it.",
        "share": "Share of all activations; interval: exact.",
    }
    note = f"Effective maximum (99.5th percentile of the activations): {top:.3g}."
    return ResultTable.of("bands", "Activation bands", "observed", frame, described, note)


def _influences(summary: FeatureSummary, top_k: int) -> Iterable[ResultTable]:
    influences = summary.influences or NO_INFLUENCES
    sides = (
        ("raised", "Outputs it raises", influences["raised"]),
        ("lowered", "Outputs it lowers", influences["lowered"]),
    )
    for key, title, entries in sides:
        frame = outputs_frame(entries[:top_k])
        if frame.height:
            described = {"token": "The output.", "influence": INFLUENCE, "in_data": IN_DATA}
            yield ResultTable.of(key, title, "weights", frame, described)


_KINDS = {
    "decoder_cosine": "cosine of the decoder directions",
    "pearson": "correlation of the activations over all samples",
    "jaccard": "samples on which both fire over samples on which at least one fires",
}


def _neighbours(summary: FeatureSummary, top_k: int) -> Iterable[ResultTable]:
    rows = [
        (kind, one["feature_id"], one["score"], one["n_both"])
        for kind in _KINDS
        for one in (summary.neighbours or {}).get(kind, [])[:top_k]
    ]
    if rows:
        described = {
            "kind": "; ".join(f"{kind}: {text}" for kind, text in _KINDS.items()),
            "feature": "The other feature.",
            "score": "The similarity.",
            "n_both": "Samples on which both fire.",
        }
        yield ResultTable.of("neighbours", "Similar features", "observed", rows, described)


def examples_table(groups: Mapping[str, Sequence[Any]], most: int) -> Iterable[ResultTable]:
    """Example samples as one table: the first of each group before the second of any, at most `most`; none if there are none."""
    rows = [
        (group, one["activation"], one["weapon_name"], build_as_text(one.get("abilities") or ()), one["global_index"])
        for group, one in _in_turn(groups, most)
    ]
    if rows:
        described = {
            "group": "top: the strongest. A band: sampled from it. random: sampled from all activations.",
            "activation": "Activation of the feature.",
            **SAMPLE_COLUMNS,
        }
        yield ResultTable.of("examples", "Example builds", "observed", rows, described)


def _in_turn(groups: Mapping[str, Sequence[Any]], most: int) -> list[tuple[str, Any]]:
    """The first of each group, then the second of each, …, by group: at most `most`."""
    ranked = [(rank, at, name, one) for at, (name, rows) in enumerate(groups.items()) for rank, one in enumerate(rows)]
    chosen = sorted(ranked, key=lambda row: row[:2])[:most]
    return [(name, one) for _, _, name, one in sorted(chosen, key=lambda row: (row[1], row[0]))]
