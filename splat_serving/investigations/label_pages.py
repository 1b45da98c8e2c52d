"""The pages of `splat label`: a label with its score, the progress of labelling, similar features, and carried labels."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from splat_assets.analysis.inference.similarity import Agreement, agreement
from splat_assets.analysis.rules.score import score_rule
from splat_assets.domain.concepts import parse_rule
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.text.wording import agreeing, counted, percent
from splat_serving.investigations.carry_labels import Carried
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.subject import Subject
from splat_serving.labels.event import Event


def label_page(subject: Subject, feature_id: int) -> Answer:
    """The label of a feature and, where it has a rule, the current score of that rule."""
    event = subject.labels.label(subject.labels.checked(feature_id))
    if event is None or event.label is None:
        return Answer(title=f"Feature {feature_id}: no label", findings=["No label yet: set one with splat label set."])
    label = event.label
    findings = [
        f"{label.text} ({label.status}, {label.category}), by {event.author} on {event.at[:10]}, revision {event.revision}."
    ]
    findings += [f"Notes: {label.notes}"] if label.notes else []
    findings += [f"Confidence: {percent(label.confidence)}."] if label.confidence is not None else []
    findings += [f"Origin: {label.origin}."] if label.origin else []
    if event.imported is not None:
        findings.append(f"Imported from {event.imported.file} by {event.imported.by} on {event.imported.at[:10]}.")
    facts: dict[str, Any] = {**label.model_dump(mode="json", exclude={"rule", "evidence"}), "author": event.author,
                             "revision": event.revision, "at": event.at}  # fmt: skip
    tables = []
    if label.rule is not None:
        rule = parse_rule(label.rule)
        score = score_rule(rule, subject.builds, subject.feature(feature_id))
        findings.append(f"Rule: {rule_as_text(rule)}.")
        described = {
            "n": "Samples.",
            "n_rule": "Samples on which the rule holds.",
            "n_active": "Samples on which the feature fires.",
            "n_both": "Samples with both.",
            "precision": "n_both / n_rule.",
            "recall": "n_both / n_active.",
            "f1": "Harmonic mean of precision and recall; interval: bootstrap over distinct builds.",
            "auroc": "Probability that the activation is higher on a sample of the rule than on another one.",
        }
        tables.append(
            ResultTable.of("score", "Current score of the rule", "observed", pl.DataFrame([asdict(score)]), described)
        )
    if label.evidence:
        rows = [(one.path, one.sha256[:16]) for one in label.evidence]
        described = {
            "file": "A result that the label rests on.",
            "sha256": "The first 16 digits of that file's checksum.",
        }
        tables.append(ResultTable.of("evidence", "Evidence", "people", rows, described))
    return Answer(title=f"Feature {feature_id}: {label.text}", findings=findings, facts=facts, tables=tables)


def history_page(subject: Subject, feature_id: int) -> Answer:
    """All events of a feature, oldest first."""
    events = subject.labels.history(subject.labels.checked(feature_id))
    table = events_table("history", "History", events)
    return Answer(title=f"Feature {feature_id}: {counted(len(events), 'events')}", tables=[table] if events else [])


def queue_page(subject: Subject, top_k: int) -> Answer:
    """The features in the queue."""
    waiting = subject.labels.queue()
    table = events_table("queue", "Queue", waiting[:top_k])
    return Answer(title=f"Queue: {counted(len(waiting), 'features')}", tables=[table] if waiting else [])


def status_page(subject: Subject) -> Answer:
    """The progress of labelling: features, and the activations that they cover."""
    current = subject.labels.current()
    counts = dict(subject.database.features().select("feature_id", "n_active").iter_rows())
    alive = sum(1 for n in counts.values() if n)
    labelled = [feature for feature in current if counts.get(feature)]
    covered = sum(counts[feature] for feature in labelled) / max(sum(counts.values()), 1)
    rows = [
        (what, kind, n)
        for what, of in (("status", _status), ("category", _category), ("author", _author))
        for kind, n in subject.labels.counts(of).items()
    ]
    described = {"what": "Counted by.", "kind": "Its value.", "n": "Number of current labels."}
    table = ResultTable.of("labels", "Labels", "people", rows, described)
    opinions = subject.labels.opinions().values()
    agreed = agreement(
        [[one.category for one in by_author.values() if one.category != "none"] for by_author in opinions]
    )
    waiting, skipped = len(subject.labels.queue()), len(subject.labels.skipped())
    return Answer(
        title="Labels",
        findings=[
            f"{len(labelled):,} of {counted(alive, 'features')} that fire {agreeing(len(labelled), 'have')} a label; "
            f"they hold {percent(covered)} of all activations.",
            f"Queue: {counted(waiting, 'features')}; skipped: {skipped:,}.",
            *_agreement_in_words(agreed),
        ],
        facts={
            "n_labelled": len(current),
            "n_alive": alive,
            "share_of_activations": covered,
            "n_waiting": waiting,
            "n_by_several": agreed.n,
            "n_same_category": agreed.n_alike,
            "alpha": agreed.alpha,
        },
        tables=[table] if rows else [],
        warnings=_damage_in_words(subject.labels.damaged_lines()),
    )


def _damage_in_words(lines: list[int]) -> list[str]:
    if not lines:
        return []
    numbers = ", ".join(map(str, lines[:20])) + (", …" if len(lines) > 20 else "")
    return [
        f"{counted(len(lines), 'lines')} of events.jsonl {'is' if len(lines) == 1 else 'are'} damaged and not counted here: "
        f"{numbers}; restore the file from a backup"
    ]


def _agreement_in_words(agreed: Agreement) -> list[str]:
    if not agreed.n:
        return []
    alpha = "" if agreed.alpha is None else f" (Krippendorff's alpha {agreed.alpha:.2f}; 1: perfect, 0: chance)"
    return [
        f"Agreement: {agreed.n_alike:,} of {counted(agreed.n, 'features')} with a category from two or more people "
        f"{agreeing(agreed.n_alike, 'have')} the same one from all{alpha}."
    ]


def similar_page(subject: Subject, feature_id: int, top_k: int) -> Answer:
    """Features similar to one, by each stored kind of similarity, with their labels."""
    summary = subject.database.feature(feature_id)
    current = subject.labels.current()
    rows = []
    for kind, neighbours in (summary.neighbours or {}).items():
        for one in neighbours[:top_k]:
            event = current.get(one["feature_id"])
            text = event.label.text if event and event.label else None
            rows.append((kind, one["feature_id"], one["score"], one["n_both"], text))
    described = {
        "kind": "decoder_cosine: similar decoder directions. pearson, jaccard: they fire together.",
        "feature": "The other feature.",
        "score": "The similarity.",
        "n_both": "Samples on which both fire.",
        "label": "Its label.",
    }
    tables = [ResultTable.of("similar", "Similar features", "observed", rows, described)] if rows else []
    warnings = [] if summary.neighbours is not None else ["neighbours were not computed for this version"]
    return Answer(title=f"Features similar to feature {feature_id}", tables=tables, warnings=warnings)


def carry_page(old: Subject, new: Subject, matches: Sequence[Carried], written: int | None) -> Answer:
    """The outcome of carrying labels, or of a dry run (written None)."""
    rows = [(one.old, one.text, one.new, one.r, one.nearest, one.why) for one in matches]
    described = {
        "old": "The old feature.",
        "text": "Its label.",
        "new": "The new feature that takes the label; none if it is lost.",
        "r": "Correlation of the activations of the old feature and the nearest new one, all samples, zeros included.",
        "nearest": "The nearest new feature.",
        "why": "Why the label is lost.",
    }
    n_kept = sum(one.new is not None for one in matches)
    done = "would be carried" if written is None else f"can be carried, {written} written now"
    return Answer(
        title=f"Labels of {old.source} to {new.source}",
        findings=[
            f"{n_kept} of {counted(len(matches), 'labels')} {done}, {len(matches) - n_kept} "
            f"{agreeing(len(matches) - n_kept, 'are')} lost."
        ],
        facts={"n_labels": len(matches), "n_carried": n_kept, "n_lost": len(matches) - n_kept},
        tables=[ResultTable.of("labels", "Labels", "observed", rows, described)] if rows else [],
    )


def events_table(name: str, title: str, events: Sequence[Event]) -> ResultTable:
    """The table of some events."""
    rows = [
        (event.feature_id, event.at, event.author, _what(event), event.label.text if event.label else event.reason,
         event.priority if event.kind == "queue" else None)
        for event in events
    ]  # fmt: skip
    described = {
        "feature": "The feature.",
        "at": "Time (UTC).",
        "author": "The author.",
        "what": "label, skip or queue; conflict: a label based on an old revision.",
        "text": "The label, or the reason.",
        "priority": "Priority in the queue.",
    }
    return ResultTable.of(name, title, "people", rows, described)


def _what(event: Event) -> str:
    if event.kind != "label" or event.label is None:
        return event.kind
    return "conflict" if event.conflict else f"label {event.revision}, {event.label.status}"


def _status(event: Event) -> str:
    return event.label.status if event.label else ""


def _category(event: Event) -> str:
    return event.label.category if event.label else ""


def _author(event: Event) -> str:
    return event.author
