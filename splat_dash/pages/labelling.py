"""The label of a feature: current label, evidence for its rule, and the suggested rule."""

from typing import Any

from dash import html

from splat_assets.errors import InputError
from splat_assets.text.wording import counted, visible
from splat_dash import cells, ui
from splat_dash.cells import in_digits
from splat_dash.source import Source
from splat_serving.database.protocol import FeatureSummary
from splat_serving.investigations.rule_evidence import Evidence
from splat_serving.labels.event import Event


def section(source: Source, summary: FeatureSummary) -> list[Any]:
    """The current label, how its rule performs, and the suggestion."""
    feature_id = summary.feature_id
    return [
        html.H2("Label"),
        html.Div(current_label(source.labels().get(feature_id)), id="label-now"),
        html.Div(evidence(source, feature_id, source.rule_of_label(feature_id)), id="label-evidence"),
        *_suggestion(summary),
    ]


def current_label(event: Event | None) -> list[Any]:
    """The current label of a feature."""
    if event is None or event.label is None:
        return [html.P("No label yet.", className="quiet")]
    label = event.label
    sure = "" if label.confidence is None else f", confidence {in_digits(label.confidence, '%')}"
    written = f"{visible(event.author)}, {event.at[:10]}, revision {event.revision}"
    details = f"{label.status}, {label.category}{sure}; {written}"
    return [
        html.P(html.Strong(visible(label.text))),
        html.P(details, className="quiet"),
        html.P(visible(label.notes)) if label.notes else None,
    ]


def evidence(source: Source, feature_id: int, rule: str) -> list[Any]:
    """How well the rule of the label, if any, predicts where the feature fires, with counterexamples."""
    if not rule.strip():
        return []
    try:
        rule_evidence = source.evidence(feature_id, rule)
    except InputError as error:
        return [ui.refusal(str(error))]
    score = rule_evidence.score
    text = (
        f"F1 {in_digits(score.f1)} [{in_digits(score.f1_low)}, {in_digits(score.f1_high)}], precision "
        f"{in_digits(score.precision, '%')}, recall {in_digits(score.recall, '%')}: the rule holds on {score.n_rule:,} of "
        f"{counted(score.n, 'samples')}; the feature fires on {score.n_both:,} of them."
    )
    return [
        html.P(["Rule: ", html.Code(visible(rule))]),
        html.P(text, className="quiet", id="label-score"),
        html.Details(_counterexamples(rule_evidence), className="label-form"),
    ]


def _counterexamples(evidence: Evidence) -> list[Any]:
    """Their number, and a table of each kind."""
    strongest = max((row["activation"] for row in evidence.missed), default=0.0)
    parts: list[Any] = [html.Summary(f"counterexamples ({counted(evidence.n_missed + evidence.n_silent, 'samples')})")]
    for kind, n, order, rows in (
        ("fires although the rule does not hold", evidence.n_missed, "strongest first", evidence.missed),
        ("does not fire although the rule holds", evidence.n_silent, "a random selection", evidence.silent),
    ):
        if rows:
            title = html.H3(f"{kind}: {counted(n, 'samples')}, {order}")
            parts += [title, cells.drawn([], [ui.example(row, strongest) for row in rows], "examples")]
    return parts


def _suggestion(summary: FeatureSummary) -> list[Any]:
    rule = summary.suggestion
    if rule is None or rule["text"] is None or rule["n"] is None:
        return []
    verdict = "good enough to be a label" if rule["suggested"] else "not good enough to be a label"
    return [
        html.H3("Suggested rule"),
        html.P(html.Code(visible(rule["text"]))),
        html.P(
            f"F1 {in_digits(rule['f1'])} [{in_digits(rule['f1_low'])}, {in_digits(rule['f1_high'])}] on "
            f"{counted(rule['n'], 'builds')} not used to select it; chance level {in_digits(rule['threshold'])}, "
            f"{rule['token']} alone {in_digits(rule['token_f1'])}: {verdict}.",
            className="quiet",
        ),
    ]
