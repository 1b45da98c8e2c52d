"""The label of a feature: current label, suggested rule, and the form to edit it."""

from typing import Any, get_args

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from splat_assets.errors import InputError, SplatError
from splat_assets.wording import counted, visible
from splat_dash import cells, ui
from splat_dash.label_form import Form, FormOrigin
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Source
from splat_serving.database.errors import LabelConflictError
from splat_serving.database.protocol import FeatureSummary
from splat_serving.investigations.label_pages import events_table
from splat_serving.labels.event import Category, Event, Status

_FIELDS = ("text", "category", "status", "confidence", "rule", "notes", "author")
"""In the order of the arguments of `splat.typed` in dashboard.js."""


def section(source: Source, summary: FeatureSummary) -> html.Section:
    """The current label, the suggestion, and the form."""
    return html.Section(
        [
            html.H2("Label"),
            html.Div(current_label(source.labels().get(summary.feature_id)), id="label-now"),
            html.Div(
                evidence(source, summary.feature_id, source.rule_of_label(summary.feature_id)), id="label-evidence"
            ),
            *_suggestion(summary),
            *(_form(source, summary) if source.subject.has_labels else []),
        ],
        id="label",
    )


def current_label(event: Event | None) -> list[Any]:
    """The current label of a feature."""
    if event is None or event.label is None:
        return [html.P("No label yet.", className="quiet")]
    label = event.label
    sure = "" if label.confidence is None else f", confidence {label.confidence:.0%}"
    details = (
        f"{label.status}, {label.category}{sure}; {visible(event.author)}, {event.at[:10]}, revision {event.revision}"
    )
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
        return [html.Pre(str(error), className="alert", role="alert")]
    score = rule_evidence.score
    text = (
        f"F1 {score.f1:.3f} [{score.f1_low:.3f}, {score.f1_high:.3f}], precision {_share(score.precision)}, "
        f"recall {_share(score.recall)}: the rule holds on {score.n_rule:,} of {counted(score.n, 'samples')}; "
        f"the feature fires on {score.n_both:,} of them."
    )
    strongest = max((row["activation"] for row in rule_evidence.missed), default=0.0)
    return [
        html.P(["Rule: ", html.Code(visible(rule))]),
        html.P(text, className="quiet", id="label-score"),
        html.Details(
            [
                html.Summary(
                    f"counterexamples ({counted(rule_evidence.n_missed + rule_evidence.n_silent, 'samples')})"
                ),
                *_counterexamples(
                    f"fires although the rule does not hold: {counted(rule_evidence.n_missed, 'samples')}, strongest first",
                    rule_evidence.missed,
                    strongest,
                ),
                *_counterexamples(
                    f"does not fire although the rule holds: {counted(rule_evidence.n_silent, 'samples')}, a random selection",
                    rule_evidence.silent,
                    strongest,
                ),
            ],
            className="label-form",
        ),
    ]


def _counterexamples(title: str, rows: list[dict[str, Any]], strongest: float) -> list[Any]:
    return [html.H3(title), cells.drawn([], [ui.example(row, strongest) for row in rows], "examples")] if rows else []


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"


def _suggestion(summary: FeatureSummary) -> list[Any]:
    rule = summary.suggestion
    if rule is None or rule["text"] is None or rule["n"] is None:
        return []
    verdict = "good enough to be a label" if rule["suggested"] else "not good enough to be a label"
    return [
        html.H3("Suggested rule"),
        html.P(html.Code(visible(rule["text"]))),
        html.P(
            f"F1 {rule['f1']:.3f} [{rule['f1_low']:.3f}, {rule['f1_high']:.3f}] on "
            f"{counted(rule['n'], 'builds')} not used "
            f"to select it; chance level {rule['threshold']:.3f}, {rule['token']} alone {rule['token_f1']:.3f}: {verdict}.",
            className="quiet",
        ),
    ]


def _form(source: Source, summary: FeatureSummary) -> list[Any]:
    feature_id = summary.feature_id
    event = source.labels().get(feature_id)
    label = event.label if event else None
    revision = event.revision if event else 0
    kept: dict[str, Any] = {
        "persistence": f"{source.sae}-{feature_id}-{revision}",
        "persistence_type": "session",
    }
    rule = source.rule_of_label(feature_id)
    history = source.subject.labels.history(feature_id)
    return [
        html.Details(
            [
                html.Summary(["edit", html.Kbd("e")], id="label-edit"),
                dmc.TextInput(id="label-text", label="Label", value=label.text if label else "", **kept),
                dmc.Group(
                    [
                        dmc.Select(id="label-category", label="Category", data=[*get_args(Category)], w=130, **kept,
                                   value=label.category if label else "none", allowDeselect=False),
                        dmc.Select(id="label-status", label="Status", data=[*get_args(Status)], w=130, **kept,
                                   value=label.status if label else "draft", allowDeselect=False),
                        dmc.NumberInput(id="label-confidence", label="Confidence, 0 to 1", min=0, max=1, step=0.1, w=130,
                                        value=label.confidence if label and label.confidence is not None else "", **kept),
                    ]
                ),
                dmc.TextInput(id="label-rule", label="Rule on builds (optional)", value=rule,
                              placeholder="ssu>=21 and ninja_squid", **kept),
                dmc.Textarea(id="label-notes", label="Notes", value=label.notes if label else "", autosize=True,
                             minRows=2, **kept),
                dmc.TextInput(id="label-author", label="Author", value=source.author, persistence=True,
                              persistence_type="local"),
                dmc.Group(
                    [
                        html.Button(["Save", html.Kbd("Ctrl Enter")], id="label-save", type="button", className="plain-button"),
                        html.Button("Skip", id="label-skip", type="button", className="plain-button",
                                    title="Remove it from the queue"),
                    ],
                    mt="xs",
                ),
            ],
            className="label-form",
            id="label-form",
            **ui.data(feature=str(feature_id)),
        ),
        html.Div(id="label-message", role="status"),
        dcc.Store(id="label-rule-written"),
        dcc.Store(id="label-typed"),
        dcc.Store(id="label-skipped"),
        dcc.Store(id="label-answer"),
        dcc.Store(id="label-of", data={"feature": feature_id, "based_on": revision, "sae": source.sae}),
        html.Details(_history(history), id="label-history", className="label-form"),
    ]  # fmt: skip


def _history(events: list[Event]) -> list[Any]:
    """The number of events, and their table."""
    rows = ui.table(events_table("history", "History", events)) if events else html.P("No events yet.")
    return [html.Summary(f"history ({len(events)})"), html.Div(rows)]


def _check(source: Source, form: Form) -> None:
    """InputError if the form belongs to another feature than the page, or to another SAE than the one shown."""
    if form.made.sae != source.sae:
        raise InputError(
            f"version {source.about.version} is of another SAE, whose feature {form.feature} is another one; "
            "reload the page to see it (your text is about the old one)"
        )
    form.check_same_feature()


def callbacks(app: Dash) -> None:
    """Save, skip, and update the evidence while a rule is typed."""

    @app.callback(
        Output("label-evidence", "children"),
        Input("label-rule-written", "data"),
        State("label-of", "data"),
        prevent_initial_call=True,
    )
    def follow(rule: Any, made: Any) -> list[Any]:
        feature_id = value_of(FormOrigin, made, "label-of").feature
        return evidence(current_source(), feature_id, value_of(str | None, rule, "rule") or "")

    app.clientside_callback(
        ClientsideFunction("splat", "written"),
        Output("label-rule-written", "data"),
        Input("label-rule", "value"),
        prevent_initial_call=True,
    )

    for clicked, sent in (("save", "typed"), ("skip", "skipped")):
        app.clientside_callback(
            ClientsideFunction("splat", "typed"),
            Output(f"label-{sent}", "data"),
            Input(f"label-{clicked}", "n_clicks"),
            State("label-of", "data"),
            *(State(f"label-{name}", "value") for name in _FIELDS),
            prevent_initial_call=True,
        )

    # The browser shows the answer, because it knows whether the page is still that of the feature.
    @app.callback(Output("label-answer", "data"), Input("label-typed", "data"), prevent_initial_call=True)
    def save(typed: Any) -> dict[str, Any]:
        form = value_of(Form, typed, "form")
        return {"feature": form.feature, **_saved(current_source(), form)}

    @app.callback(
        Output("label-answer", "data", allow_duplicate=True), Input("label-skipped", "data"), prevent_initial_call=True
    )
    def skip(typed: Any) -> dict[str, Any]:
        form = value_of(Form, typed, "form")
        return {"feature": form.feature, **_skipped(current_source(), form)}

    app.clientside_callback(
        ClientsideFunction("splat", "answered"),
        *(
            Output(name, part)
            for name, part in (
                ("label-now", "children"),
                ("label-message", "children"),
                ("label-of", "data"),
                ("label-history", "children"),
                ("feature-name", "children"),
            )
        ),
        Input("label-answer", "data"),
        State("label-of", "data"),
        prevent_initial_call=True,
    )


def _saved(source: Source, form: Form) -> dict[str, Any]:
    """The outcome of saving a label: the label, or why it was not saved. notice: the same in one line."""
    try:
        _check(source, form)
        event = source.write_label(form.feature, form.label(), form.author, form.made.based_on)
    except LabelConflictError:
        theirs = source.labels()[form.feature]
        rows = [
            html.P("Conflict: somebody else saved a label first:"),
            *current_label(theirs),
            html.P("Your text is still in the form: save again to replace their label."),
        ]
        shown = html.Div(rows, className="alert", role="alert")
        return {"shown": shown, "notice": "not saved, somebody else saved a label first", "based_on": theirs.revision}
    except SplatError as error:
        return _refused(f"Not saved: {error}")
    assert event.label is not None
    notice = f"Saved, revision {event.revision}, {event.at[11:16]} UTC."
    return {
        "now": current_label(event),
        "shown": html.P(notice, className="quiet"),
        "notice": notice,
        "based_on": event.revision,
        "history": _history(source.subject.labels.history(form.feature)),
        "name": f" {visible(event.label.text)}",
    }


def _skipped(source: Source, form: Form) -> dict[str, Any]:
    """The outcome of removing a feature from the queue."""
    try:
        _check(source, form)
        source.subject.labels.skip(form.feature, author=form.author if form.author is None else form.author.strip())
    except SplatError as error:
        return _refused(f"Not skipped: {error}")
    notice = "Skipped: removed from the queue."
    return {"shown": html.P(notice, className="quiet"), "notice": notice}


def _refused(notice: str) -> dict[str, Any]:
    return {"shown": html.Pre(notice, className="alert", role="alert"), "notice": notice}
