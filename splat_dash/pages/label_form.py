"""The form of a label: its fields, what the browser sends of it, and what is saved or refused."""

from typing import Annotated, Any, get_args
from urllib.parse import unquote

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html
from pydantic import BaseModel, ConfigDict, Field

from splat_assets.errors import InputError, SplatError
from splat_assets.text.wording import visible
from splat_dash import ui
from splat_dash.pages import labelling
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Source
from splat_serving.database.errors import LabelConflictError
from splat_serving.investigations.label_pages import events_table
from splat_serving.labels.book import current_username
from splat_serving.labels.event import Category, Status

_FIELDS = ("text", "category", "status", "confidence", "rule", "notes", "author")
"""In the order of the arguments of `splat.typed` in dashboard.js."""
_Number = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
_Text = Annotated[str, Field(max_length=40_000)] | None


class FormOrigin(BaseModel):
    """The origin of a form. based_on: the revision of the label that it edits. sae: content hash, None for a store
    without it."""

    model_config = ConfigDict(frozen=True)

    feature: _Number
    based_on: _Number
    sae: str | None


class Form(BaseModel):
    """feature: the number in the form itself. address: path of the page when it was sent. made: the origin that Dash holds.
    All three must name the same feature, or nothing is saved."""

    model_config = ConfigDict(frozen=True)

    feature: _Number
    address: str
    made: FormOrigin
    text: _Text = None
    category: _Text = None
    status: _Text = None
    confidence: float | str | None = None
    rule: _Text = None
    notes: _Text = None
    author: _Text = None

    def label(self) -> dict[str, Any]:
        """The fields of the label."""
        return self.model_dump(include={"text", "category", "status", "confidence", "rule", "notes"})

    def check_origin(self, source: Source) -> None:
        """InputError if the form is of another SAE than the one shown, or form, page and address are not of one feature."""
        if self.made.sae != source.sae:
            raise InputError(
                f"version {source.about.version} is of another SAE, whose feature {self.feature} is another one; "
                "reload the page to see it (your text is about the old one)"
            )
        number = unquote(self.address).strip("/").removeprefix("f/")
        named = number.isascii() and number.isdigit() and len(number) < 10 and int(number) == self.feature
        if self.made.feature != self.feature or not named:
            raise InputError(
                f"this form belongs to feature {self.feature}, but the address of the page is {self.address[:40]}: the page was "
                f"not updated, probably because the dashboard did not answer. Your text is kept on the page of feature "
                f"{self.feature}: open /f/{self.feature} to save it there, or reload this page to see the other one"
            )


def fields(source: Source, feature_id: int) -> list[Any]:
    """The form with the current label, and its history."""
    event = source.labels().get(feature_id)
    label = event.label if event else None
    revision = event.revision if event else 0
    kept: Any = {"persistence": f"{source.sae}-{feature_id}-{revision}", "persistence_type": "session"}
    rule = source.rule_of_label(feature_id)
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
                dmc.TextInput(id="label-author", label="Author", value=current_username(), persistence=True,
                              persistence_type="local"),
                dmc.Group(
                    [
                        html.Button(["Save", html.Kbd("Ctrl Enter")], id="label-save", **ui.PLAIN),
                        html.Button("Skip", id="label-skip", title="Remove it from the queue", **ui.PLAIN),
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
        html.Details(_history(source, feature_id), id="label-history", className="label-form"),
    ]  # fmt: skip


def _history(source: Source, feature_id: int) -> list[Any]:
    """The number of events, and their table."""
    events = source.subject.labels.history(feature_id)
    rows = ui.table(events_table("history", "History", events)) if events else html.P("No events yet.")
    return [html.Summary(f"history ({len(events)})"), html.Div(rows)]


def register(app: Dash) -> None:
    """Save, skip, and update the evidence while a rule is typed."""

    @app.callback(
        Output("label-evidence", "children"),
        Input("label-rule-written", "data"),
        State("label-of", "data"),
        prevent_initial_call=True,
    )
    def follow(rule: Any, made: Any) -> list[Any]:
        feature_id = value_of(FormOrigin, made, "label-of").feature
        return labelling.evidence(current_source(), feature_id, value_of(str | None, rule, "rule") or "")

    ui.in_browser(app, "written", Output("label-rule-written", "data"), Input("label-rule", "value"))
    states = [State("label-of", "data"), *(State(f"label-{name}", "value") for name in _FIELDS)]
    for clicked, sent in (("save", "typed"), ("skip", "skipped")):
        ui.in_browser(app, "typed", Output(f"label-{sent}", "data"), Input(f"label-{clicked}", "n_clicks"), *states)

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

    parts = (("label-now", "children"), ("label-message", "children"), ("label-of", "data"),
             ("label-history", "children"), ("feature-name", "children"))  # fmt: skip
    outputs = [Output(name, part) for name, part in parts]
    ui.in_browser(app, "answered", outputs, Input("label-answer", "data"), State("label-of", "data"))


def _saved(source: Source, form: Form) -> dict[str, Any]:
    """The outcome of saving a label: the label, or why it was not saved. notice: the same in one line."""
    try:
        form.check_origin(source)
        event = source.write_label(form.feature, form.label(), form.author, form.made.based_on)
    except LabelConflictError:
        theirs = source.labels()[form.feature]
        rows = [
            html.P("Conflict: somebody else saved a label first:"),
            *labelling.current_label(theirs),
            html.P("Your text is still in the form: save again to replace their label."),
        ]
        shown = html.Div(rows, className="alert", role="alert")
        return {"shown": shown, "notice": "not saved, somebody else saved a label first", "based_on": theirs.revision}
    except SplatError as error:
        notice = f"Not saved: {error}"
        return {"shown": ui.refusal(notice), "notice": notice}
    assert event.label is not None
    notice = f"Saved, revision {event.revision}, {event.at[11:16]} UTC."
    return {
        "now": labelling.current_label(event),
        "shown": html.P(notice, className="quiet"),
        "notice": notice,
        "based_on": event.revision,
        "history": _history(source, form.feature),
        "name": f" {visible(event.label.text)}",
    }


def _skipped(source: Source, form: Form) -> dict[str, Any]:
    """The outcome of removing a feature from the queue."""
    try:
        form.check_origin(source)
        source.subject.labels.skip(form.feature, author=form.author and form.author.strip())
    except SplatError as error:
        notice = f"Not skipped: {error}"
        return {"shown": ui.refusal(notice), "notice": notice}
    notice = "Skipped: removed from the queue."
    return {"shown": html.P(notice, className="quiet"), "notice": notice}
