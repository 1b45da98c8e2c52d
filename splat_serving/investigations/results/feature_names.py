"""The name shown beside a feature's number: its label, else the rule that describes it."""

import polars as pl

from splat_serving.investigations.subject import Subject

LABEL = "The label of the feature, else its suggested rule where that is good enough; empty if there is neither."


def feature_names(subject: Subject) -> dict[int, str]:
    """By feature: the text of its label, else of its suggested rule; features that have neither are left out."""
    labels = subject.labels.current() if subject.has_labels else {}
    return subject.rules | {feature: event.label.text for feature, event in labels.items() if event.label}


def named(subject: Subject, frame: pl.DataFrame, column: str = "feature_id") -> pl.DataFrame:
    """The frame with `label`, the name of the feature in `column`."""
    names = feature_names(subject)
    return frame.with_columns(pl.Series("label", [names.get(one, "") for one in frame[column].to_list()], pl.String))


def label_events(subject: Subject) -> int:
    """The number of label events: whatever is cached with names is stale once this has grown."""
    return len(subject.labels.events()) if subject.has_labels else 0
