"""Experiments on a feature, run from its page: a form with the settings, and the result."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from dash import Dash, Input, Output, dcc, html, no_update

from splat_assets.errors import SplatError
from splat_dash import address, ui
from splat_dash.query import ListQuery
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Source
from splat_serving.investigations.experiment import experiment, experiment_names
from splat_serving.investigations.spec import Spec

FIRST = "dose-sweep"
_FIXED = ("experiment", "feature_id")
_LONGEST = 500
_POLITE: dict[str, Any] = {"aria-live": "polite"}


def panel(source: Source, feature_id: int, query: ListQuery, parameters: Mapping[str, Any]) -> html.Div:
    """The menu of experiments, the form of the one that `x` names, and the place for its result."""
    name = str(parameters.get("x") or FIRST)
    known = [one for one in experiment_names() if "feature_id" in experiment(one).spec.model_fields]
    if name not in known:
        unknown = ui.alert(f"Unknown experiment {name[:40]!r}", f"Choose from {', '.join(known)}.")
        return html.Div([unknown, _menu(feature_id, query, "", known)])
    kind = experiment(name)
    settings = {
        key: str(parameters[key])[:_LONGEST] for key in _settings(kind.spec) if parameters.get(key) not in (None, "")
    }
    missing = [key for key, field in _settings(kind.spec).items() if field.is_required() and key not in settings]
    settings_to_run = None if missing else {"experiment": name, "feature_id": feature_id, **settings}
    waiting = f"Fill in {' and '.join(missing)}, then run." if missing else "…"
    return html.Div(
        [
            _menu(feature_id, query, name, known),
            html.P(kind.summary),
            _form(feature_id, query, name, kind.spec, settings, bool(missing)),
            dcc.Store(id="experiment-request", data=settings_to_run),
            _place(waiting),
        ]
    )


def alone(name: str, feature_id: int) -> html.Div:
    """One experiment with its default settings: its summary, and the place for its result."""
    return html.Div(
        [
            html.P(experiment(name).summary),
            dcc.Store(id="experiment-request", data={"experiment": name, "feature_id": feature_id}),
            _place("…"),
        ]
    )


def _place(waiting: str) -> dcc.Loading:
    words = html.P(waiting, className="quiet")
    return dcc.Loading(html.Div(words, id="experiment-result", **_POLITE), delay_show=200)


def _settings(spec: type[Spec]) -> dict[str, Any]:
    return {key: field for key, field in spec.model_fields.items() if key not in _FIXED}


def _menu(feature_id: int, query: ListQuery, chosen: str, known: list[str]) -> html.Nav:
    addresses = (
        (name, address.feature_url(feature_id, query, tab="experiments", x=name), name == chosen) for name in known
    )
    return ui.choices("Experiments", addresses)


def _form(
    feature_id: int, query: ListQuery, name: str, spec: type[Spec], settings: Mapping[str, str], is_open: bool
) -> html.Details:
    """The settings as text fields with their defaults as placeholders; submitting opens the address of the result."""
    boxes = []
    for key, field in _settings(spec).items():
        usual = "" if field.is_required() or field.default is None else field.default
        default = ", ".join(map(str, usual)) if isinstance(usual, tuple) else str(usual)
        label = html.Label(key.replace("_", " "), htmlFor=f"set-{key}", title=field.description or "")
        box = dcc.Input(id=f"set-{key}", name=key, value=settings.get(key, ""), placeholder=default, type="text")
        boxes.append(html.Div([label, box], className="setting"))
    kept: dict[str, str] = {"list": query.as_text(), "tab": "experiments", "x": name}
    hidden = [dcc.Input(id=f"kept-{key}", name=key, value=value, type="hidden") for key, value in kept.items() if value]
    parts = [*hidden, *boxes, html.Button("Run", type="submit", className="plain-button")]
    form = html.Form(parts, action=f"/f/{feature_id}", method="get", className="rule")
    return html.Details([html.Summary("settings"), form], open=is_open)


def register(app: Dash) -> None:
    """The result, computed in a thread of its own, so that other pages do not wait."""

    @app.callback(Output("experiment-result", "children"), Input("experiment-request", "data"))
    async def answer(sent: Any) -> Any:
        if sent is None:
            return no_update
        try:
            request = value_of(dict[str, str | int | float | None], sent, "experiment")
            result = await asyncio.to_thread(current_source().answer, tuple(sorted(request.items())))
        except SplatError as error:
            return ui.refusal(str(error))
        settings = urlencode({name: value for name, value in request.items() if name != "experiment"})
        return ui.answer(result, address.Files(f"/api/experiments/{request['experiment']}", settings))
