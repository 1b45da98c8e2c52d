"""The Labels page: progress, queue, and all labels."""

from typing import Any

from dash import dcc, html

from splat_assets.text.wording import visible
from splat_dash import address, cells, ui
from splat_dash.query import EVERYTHING, ListQuery
from splat_dash.source import Source
from splat_serving.database.home import NO_HOME
from splat_serving.investigations.label_pages import status_page
from splat_serving.labels.event import Event

_MOST = 500
_LISTS = (
    ("unlabelled features that fire, most frequent first", ListQuery(state="unlabelled", sort="-density")),
    ("features with a suggested rule, best rule first", ListQuery(state="suggested", sort="-f1")),
    ("the queue, in order", ListQuery(state="queued", sort="queue")),
)


def layout(source: Source, **_: Any) -> html.Article:
    """The page."""
    if not source.subject.has_labels:
        text = f"Labels cannot be stored here: {NO_HOME}."
        return html.Article([html.H1("Labels"), html.P(text, className="quiet")])
    status = status_page(source.subject)
    labels, waiting = source.labels(), source.subject.labels.queue()
    share = float(status.facts["n_labelled"] or 0) / (float(status.facts["n_alive"] or 0) or 1)
    return html.Article(
        [
            html.H1("Labels"),
            html.Progress(value=f"{share:.4f}", max="1", **ui.named("Share of firing features with a label")),
            *(html.P(text) for text in status.findings),
            *(html.P(text, className="alert", role="alert") for text in status.warnings),
            html.H2("Continue labelling"),
            html.P("On a feature's page: e opens the form, Ctrl Enter saves, j opens the next feature.", className="quiet"),
            html.Ul([html.Li(_way(source, words, query)) for words, query in _LISTS]),
            html.H2(f"Labels ({len(labels):,})"),
            html.P([html.A("all events as JSON Lines", href="/api/labels.jsonl", download="labels.jsonl")]) if labels else None,
            _table(sorted(labels.values(), key=lambda event: event.at, reverse=True)),
            html.H2(f"Queue ({len(waiting):,})"),
            _waiting(waiting),
        ]
    )  # fmt: skip


def _way(source: Source, words: str, query: ListQuery) -> list[Any]:
    ids = source.rows(query)["feature_id"]
    if not ids.len():
        return [html.Span(f"{words}: none", className="quiet")]
    first = address.feature_url(int(ids[0]), query)
    return [dcc.Link(words, href=first), html.Span(f" ({ids.len():,})", className="quiet")]


def _table(events: list[Event]) -> Any:
    if not events:
        return html.P("No labels yet.", className="quiet")
    body = []
    for event in events[:_MOST]:
        assert event.label is not None
        sure = cells.in_digits(event.label.confidence, "%")
        values = (visible(event.label.text), event.label.status, event.label.category, sure, visible(event.author))
        body.append([_feature(event), *values, event.at[:16]])
    more = len(events) - _MOST
    note = html.P(f"{more:,} older labels are not shown.", className="quiet") if more > 0 else None
    head = [cells.heading(name) for name in ("feature", "label", "status", "category", "confidence", "by", "at")]
    return html.Div([cells.drawn(head, body), note])


def _waiting(events: list[Event]) -> Any:
    if not events:
        return html.P("The queue is empty: `splat label queue build` fills it.", className="quiet")
    head = [cells.heading("feature"), cells.heading("priority", "", "number"), cells.heading("why")]
    body = [
        [_feature(event, _LISTS[2][1]), cells.number(event.priority), visible(event.reason)] for event in events[:_MOST]
    ]
    return cells.drawn(head, body)


def _feature(event: Event, query: ListQuery = EVERYTHING) -> cells.Cell:
    return cells.link(str(event.feature_id), address.feature_url(event.feature_id, query))


def as_lines(source: Source) -> str:
    """All label events as JSON Lines, oldest first."""
    return "".join(f"{event.model_dump_json()}\n" for event in source.subject.label_log.events())
