"""The label of a feature: what people say, what a rule suggests, and a form in which to say something else."""

from typing import Any, get_args

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from splat_assets.errors import InputError, SplatError
from splat_assets.wording import counted, visible
from splat_dash import cells, ui
from splat_dash.label_form import Form, Made
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Source
from splat_serving.database.errors import LabelConflictError
from splat_serving.database.protocol import FeatureSummary
from splat_serving.investigations.label_pages import events_table
from splat_serving.labels.event import Category, Event, Status

_FIELDS = ("text", "category", "status", "confidence", "rule", "notes", "author")
"""In the order in which `splat.typed` of dashboard.js gets them."""


def section(source: Source, found: FeatureSummary) -> html.Section:
    """The label now, the suggestion beside it, and the form."""
    return html.Section(
        [
            html.H2("Label"),
            html.Div(now(source.labels().get(found.feature_id)), id="label-now"),
            html.Div(evidence(source, found.feature_id, source.claimed(found.feature_id)), id="label-evidence"),
            *_suggestion(found),
            *(_form(source, found) if source.subject.has_labels else []),
        ],
        id="label",
    )


def now(event: Event | None) -> list[Any]:
    """What is said of a feature at the moment."""
    if event is None or event.label is None:
        return [html.P("Nobody has labelled it yet.", className="quiet")]
    label = event.label
    sure = "" if label.confidence is None else f", confidence {label.confidence:.0%}"
    said = (
        f"{label.status}, {label.category}{sure}; {visible(event.author)}, {event.at[:10]}, revision {event.revision}"
    )
    return [
        html.P(html.Strong(visible(label.text))),
        html.P(said, className="quiet"),
        html.P(visible(label.notes)) if label.notes else None,
    ]


def evidence(source: Source, feature_id: int, rule: str) -> list[Any]:
    """How well a rule, if there is one, tells where the feature fires, and builds that break it: claim beside evidence."""
    if not rule.strip():
        return []
    try:
        found = source.evidence(feature_id, rule)
    except InputError as error:
        return [html.Pre(str(error), className="alert", role="alert")]
    score = found.score
    text = (
        f"F1 {score.f1:.3f} [{score.f1_low:.3f}, {score.f1_high:.3f}], precision {_share(score.precision)}, "
        f"recall {_share(score.recall)}: it holds on {score.n_rule:,} of {counted(score.n, 'samples')}, "
        f"{score.n_both:,} of which fire."
    )
    strongest = max((row["activation"] for row in found.missed), default=0.0)
    return [
        html.P(["Its rule: ", html.Code(visible(rule))]),
        html.P(text, className="quiet", id="label-score"),
        html.Details(
            [
                html.Summary(f"builds that break it ({counted(found.n_missed + found.n_silent, 'samples')})"),
                *_breaking(
                    f"fires, and the rule does not hold: {counted(found.n_missed, 'samples')}, the strongest",
                    found.missed,
                    strongest,
                ),
                *_breaking(
                    f"the rule holds, and it does not fire: {counted(found.n_silent, 'samples')}, some at random",
                    found.silent,
                    strongest,
                ),
            ],
            className="label-form",
        ),
    ]


def _breaking(title: str, rows: list[dict[str, Any]], strongest: float) -> list[Any]:
    return [html.H3(title), cells.drawn([], [ui.example(row, strongest) for row in rows], "examples")] if rows else []


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"


def _suggestion(found: FeatureSummary) -> list[Any]:
    rule = found.suggestion
    if not rule or not rule.get("text"):
        return []
    verdict = "good enough to be a label" if rule["suggested"] else "not good enough to be a label"
    return [
        html.H3("Suggested by a rule"),
        html.P(html.Code(visible(rule["text"]))),
        html.P(
            f"F1 {rule['f1']:.3f} [{rule['f1_low']:.3f}, {rule['f1_high']:.3f}] on "
            f"{counted(rule['n'], 'builds')} that did not choose "
            f"it; chance reaches {rule['threshold']:.3f}, {rule['token']} alone {rule['token_f1']:.3f}: {verdict}.",
            className="quiet",
        ),
    ]


def _form(source: Source, found: FeatureSummary) -> list[Any]:
    feature_id = found.feature_id
    event = source.labels().get(feature_id)
    label = event.label if event else None
    revision = event.revision if event else 0
    kept: dict[str, Any] = {
        "persistence": f"{source.sae}-{feature_id}-{revision}",
        "persistence_type": "session",
    }
    rule = source.claimed(feature_id)
    history = source.subject.labels.history(feature_id)
    return [
        html.Details(
            [
                html.Summary(["edit", html.Kbd("e")], id="label-edit"),
                dmc.TextInput(id="label-text", label="What it stands for", value=label.text if label else "", **kept),
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
                dmc.TextInput(id="label-rule", label="Rule over builds, if there is one", value=rule,
                              placeholder="ssu>=21 and ninja_squid", **kept),
                dmc.Textarea(id="label-notes", label="Notes", value=label.notes if label else "", autosize=True,
                             minRows=2, **kept),
                dmc.TextInput(id="label-author", label="Who says it", value=source.author, persistence=True,
                              persistence_type="local"),
                dmc.Group(
                    [
                        html.Button(["Save", html.Kbd("Ctrl Enter")], id="label-save", type="button", className="plain-button"),
                        html.Button("Skip", id="label-skip", type="button", className="plain-button",
                                    title="Leave it out of the queue"),
                    ],
                    mt="xs",
                ),
            ],
            className="label-form",
            id="label-form",
            **ui.data(feature=str(feature_id)),
        ),
        html.Div(id="label-said", role="status"),
        dcc.Store(id="label-rule-written"),
        dcc.Store(id="label-typed"),
        dcc.Store(id="label-skipped"),
        dcc.Store(id="label-answer"),
        dcc.Store(id="label-of", data={"feature": feature_id, "based_on": revision, "sae": source.sae}),
        html.Details(_history(history), id="label-history", className="label-form"),
    ]  # fmt: skip


def _history(events: list[Event]) -> list[Any]:
    """How many events there are, and what they say."""
    rows = ui.table(events_table("history", "History", events)) if events else html.P("Nothing was said yet.")
    return [html.Summary(f"history ({len(events)})"), html.Div(rows)]


def _check(source: Source, form: Form) -> None:
    """InputError where the form is of another feature than the page, or of another SAE than what is shown."""
    if form.made.sae != source.sae:
        raise InputError(
            f"version {source.about.version} is shown by now, of another SAE, whose feature {form.feature} is another one; "
            "load the page again to see it (what is typed here is of the old one)"
        )
    form.check_same_feature()


def callbacks(app: Dash) -> None:
    """Saving, skipping, and the evidence for a rule while it is written."""

    @app.callback(
        Output("label-evidence", "children"),
        Input("label-rule-written", "data"),
        State("label-of", "data"),
        prevent_initial_call=True,
    )
    def follow(rule: Any, made: Any) -> list[Any]:
        feature_id = value_of(Made, made, "label-of").feature
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

    # The answer is shown by the browser, which knows whether the page is still that of the feature.
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
                ("label-said", "children"),
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
    """What the page shows of a label that was sent: the label, or why it is not saved. notice: the same in a line."""
    try:
        _check(source, form)
        event = source.write_label(form.feature, form.label(), form.author, form.made.based_on)
    except LabelConflictError:
        theirs = source.labels()[form.feature]
        rows = [
            html.P("Somebody else was faster. What they say:"),
            *now(theirs),
            html.P("What you typed is still in the form: save again to put it in the place of theirs."),
        ]
        shown = html.Div(rows, className="alert", role="alert")
        return {"shown": shown, "notice": "not saved, somebody else was faster", "based_on": theirs.revision}
    except SplatError as error:
        return _refused(f"Not saved: {error}")
    assert event.label is not None
    notice = f"Saved, revision {event.revision}, {event.at[11:16]} UTC."
    return {
        "now": now(event),
        "shown": html.P(notice, className="quiet"),
        "notice": notice,
        "based_on": event.revision,
        "history": _history(source.subject.labels.history(form.feature)),
        "name": f" {visible(event.label.text)}",
    }


def _skipped(source: Source, form: Form) -> dict[str, Any]:
    """What the page shows of a feature that was left out of the queue."""
    try:
        _check(source, form)
        source.subject.labels.skip(form.feature, author=form.author if form.author is None else form.author.strip())
    except SplatError as error:
        return _refused(f"Not skipped: {error}")
    notice = "Skipped: it is left out of the queue."
    return {"shown": html.P(notice, className="quiet"), "notice": notice}


def _refused(notice: str) -> dict[str, Any]:
    return {"shown": html.Pre(notice, className="alert", role="alert"), "notice": notice}
