"""The what-if page: edit a build slot by slot, and see the features and predictions change."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update

from splat_assets.domain.abilities import SLOTS
from splat_assets.domain.builds import Build, Gear
from splat_assets.errors import InputError, SplatError
from splat_dash import address, cells, gear, ui
from splat_dash.abilities import code_of, in_words
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Source
from splat_dash.terms import meaning_of
from splat_serving.investigations.build_text import highest_rungs
from splat_serving.investigations.results.result import Answer, Column
from splat_serving.model.answers import Edit
from splat_serving.model.runner import MOST_EDITS

_EDIT = re.compile(r"(?P<feature>\d{1,9})\s*(?P<op>[=*])\s*(?P<value>-?\d+(\.\d+)?(e-?\d+)?)")
_PLACES: Final = tuple((slot, at) for slot in SLOTS for at in range(1 + gear.N_SUBS_EACH))
_POLITE: dict[str, Any] = {"aria-live": "polite"}


@dataclass(frozen=True, slots=True)
class View:
    """The state of the page: base and changed build, edits as text, the feature in focus."""

    weapon: int
    base: Build
    changed_weapon: int
    changed: Build
    edits: str
    focus: int | None

    def as_text(self) -> str:
        """`/whatif?b=…&b2=…`."""
        base, changed = gear.as_text(self.weapon, self.base), gear.as_text(self.changed_weapon, self.changed)
        parameters = {"b": base, "b2": changed if changed != base else "", "e": self.edits,
                "f": "" if self.focus is None else str(self.focus)}  # fmt: skip
        return "/whatif?" + urlencode({name: value for name, value in parameters.items() if value})


def parse_edits(text: str) -> tuple[Edit, ...]:
    """`12=0, 845=3.5, 7*2`: features set to a value, or scaled; InputError."""
    edits = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        match = _EDIT.fullmatch(part)
        if match is None:
            raise InputError(
                f"{part[:40]!r} is not an edit: write feature=value or feature*factor, as 12=0, 845=3.5, 7*2"
            )
        op = "set" if match["op"] == "=" else "scale"
        edits.append(Edit(int(match["feature"]), op, float(match["value"])))  # type: ignore[arg-type]
    if len(edits) > MOST_EDITS:
        raise InputError(f"at most {MOST_EDITS} features can be edited at once, not {len(edits)}")
    return tuple(edits)


def view_of(source: Source, parameters: dict[str, Any]) -> View:
    """The view that an address describes; InputError names the invalid parameter."""
    n_weapons = len(source.subject.contexts)
    if parameters.get("sample"):
        weapon, base = _of_sample(source, str(parameters["sample"]))
    else:
        weapon, base = gear.parse(str(parameters["b"]), n_weapons) if parameters.get("b") else (0, gear.NOTHING)
    changed_weapon, changed = gear.parse(str(parameters["b2"]), n_weapons) if parameters.get("b2") else (weapon, base)
    focus = str(parameters.get("f") or "")
    if focus and not (focus.isascii() and focus.isdigit() and int(focus[:9]) < source.about.n_features):
        raise InputError(f"f: feature {focus[:20]!r} does not exist; features are 0 to {source.about.n_features - 1:,}")
    edits = str(parameters.get("e") or "")
    parse_edits(edits)
    return View(weapon, base, changed_weapon, changed, edits, int(focus) if focus else None)


def _of_sample(source: Source, text: str) -> tuple[int, Build]:
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InputError(f"sample: {text[:20]!r} is not the number of a sample")
    sample = source.subject.database.sample(int(text))
    names = source.subject.vocabulary.names(sample.columns["ability_input_tokens"])
    return int(sample.columns["weapon_id"]), gear.of_rungs(highest_rungs(names))


def layout(source: Source, **parameters: Any) -> Any:
    """The page."""
    if not source.subject.has_model:
        text = f"No model available: {source.subject.no_model}."
        return html.Article([html.H1("What if"), html.P(text, className="quiet")])
    try:
        view = view_of(source, parameters)
    except InputError as error:
        return ui.alert("This build cannot be shown", str(error), ("Start with an empty build", "/whatif"))
    weapons = [{"value": str(item.id), "label": item.name} for item in source.subject.contexts.items]
    return html.Article(
        [
            html.H1("What if"),
            html.P("Edit the build or its features: the activations and predictions update.", className="quiet"),
            dmc.Group(
                [
                    dmc.Select(id="whatif-weapon", label="Weapon", data=weapons, value=str(view.changed_weapon),
                               searchable=True, limit=150, allowDeselect=False, w=260),
                    dmc.TextInput(id="whatif-edits", label="Feature edits", value=view.edits, debounce=300, w=260,
                                  placeholder="12=0, 845=3.5, 7*2"),
                    dmc.TextInput(id="whatif-focus", label="Focus feature", debounce=300, w=140, placeholder="the strongest",
                                  value="" if view.focus is None else str(view.focus)),
                ]
            ),
            html.Div([_piece(slot, worn) for slot, worn in zip(SLOTS, gear.slots(view.changed), strict=True)], className="gear"),
            html.Div(
                [
                    html.Span("Base:"),
                    html.Span(_base(source, view), id="whatif-base-build"),
                    html.Button("use the changed build as base", id="whatif-rebase", **ui.PLAIN),
                    html.Button("reset to the base", id="whatif-reset", **ui.PLAIN),
                ],
                className="ways base",
            ),
            dcc.Store(id="whatif-base", data=gear.as_text(view.weapon, view.base)),
            dcc.Store(id="whatif-address"),
            html.Div(id="whatif-answer", **_POLITE),
        ]
    )  # fmt: skip


def _piece(slot: str, worn: Sequence[str | None]) -> html.Fieldset:
    return html.Fieldset([html.Legend(slot), *(_slot(slot, at, name) for at, name in enumerate(worn))])


def _slot(slot: str, at: int, name: str | None) -> dmc.Select:
    data = [
        {"value": ability, "label": f"{in_words(ability)} ({code_of(ability)})"}
        for ability in gear.fitting(slot, at == 0)
    ]
    label = "main" if at == 0 else f"sub {at}"
    empty: dict[str, Any] = {"searchable": True, "clearable": True, "size": "xs", "placeholder": "empty"}
    return dmc.Select(id=f"whatif-{slot}-{at}", label=label, data=data, value=name, **empty)


def _base(source: Source, view: View) -> list[Any]:
    weapon = source.subject.contexts.items[view.weapon].name
    worn = gear.token_set(view.weapon, view.base, source.subject).tokens
    return [f"{weapon} ", cells.drawn([], [[cells.build(source.subject.vocabulary.names(worn))]])]


def _chosen(source: Source, weapon: Any, worn: Sequence[Any]) -> tuple[int, Build]:
    """Weapon and build from the slots of the page; InputError if an ability does not fit its slot."""
    size = 1 + gear.N_SUBS_EACH
    names = [value_of(str | None, name, "slot") or None for name in worn]
    pieces = [names[at : at + size] for at in range(0, len(names), size)]
    build = Build(*(Gear(piece[0], tuple(name for name in piece[1:] if name)) for piece in pieces))
    return gear.parse(gear.as_text(value_of(str, weapon, "weapon"), build), len(source.subject.contexts))


def answer_for(source: Source, view: View) -> Answer:
    """The result of model and SAE for a view, with the names of the features; SplatError."""
    base = gear.token_set(view.weapon, view.base, source.subject)
    changed = gear.token_set(view.changed_weapon, view.changed, source.subject)
    result = source.what_if(base, changed, parse_edits(view.edits), view.focus)
    names, tables = source.names(), list(result.tables)
    called = Column(name="called", description=meaning_of("called"))
    for at, table in enumerate(tables):
        if table.name == "features":
            rows = [[*row, names.get(int(row[0] or 0), "")] for row in table.rows]
            tables[at] = table.model_copy(update={"columns": [*table.columns, called], "rows": rows})
    return result.model_copy(update={"tables": tables})


def shown(result: Answer, view: View) -> html.Div:
    """The result: features and predictions side by side, then what drives one feature."""
    files = address.Files("/api/whatif", view.as_text().partition("?")[2])
    build = gear.as_text(view.changed_weapon, view.changed)

    def marked(feature: int) -> str:
        return address.feature_url(feature, b=build)

    tables = [ui.table(table, html.H2, links={"feature": marked}, files=files) for table in result.tables]
    features, predictions, *rest = tables
    return html.Div(
        [
            *(html.P(text) for text in result.findings),
            html.Div([features, predictions], className="halves"),
            *rest,
            *(ui.result_figure(one, html.H2) for one in result.figures),
        ]
    )


def register(app: Dash) -> None:
    """The result, the address, and the two buttons."""
    slots = [f"whatif-{slot}-{at}" for slot, at in _PLACES]

    @app.callback(
        Output("whatif-answer", "children"),
        Output("whatif-address", "data"),
        Input("whatif-base", "data"),
        Input("whatif-weapon", "value"),
        Input("whatif-edits", "value"),
        Input("whatif-focus", "value"),
        *(Input(slot, "value") for slot in slots),
    )
    async def answer(base: Any, weapon: Any, edits: Any, focus: Any, *worn: Any) -> tuple[Any, Any]:
        source = current_source()
        try:
            changed = gear.as_text(*_chosen(source, weapon, worn))
            e, f = ((value_of(str | None, value, "what if") or "").strip() for value in (edits, focus))
            view = view_of(source, {"b": value_of(str, base, "base"), "b2": changed, "e": e, "f": f})
            result = await asyncio.to_thread(answer_for, source, view)
        except SplatError as error:
            return ui.refusal(str(error)), no_update
        return shown(result, view), view.as_text()

    @app.callback(
        Output("whatif-base", "data"),
        Output("whatif-base-build", "children"),
        Input("whatif-rebase", "n_clicks"),
        State("whatif-weapon", "value"),
        *(State(slot, "value") for slot in slots),
        prevent_initial_call=True,
    )
    def rebase(_: Any, chosen: Any, *worn: Any) -> tuple[str, Any]:
        source = current_source()
        weapon, build = _chosen(source, chosen, worn)
        return gear.as_text(weapon, build), _base(source, View(weapon, build, weapon, build, "", None))

    @app.callback(
        Output("whatif-weapon", "value"),
        Output("whatif-edits", "value"),
        *(Output(slot, "value") for slot in slots),
        Input("whatif-reset", "n_clicks"),
        State("whatif-base", "data"),
        prevent_initial_call=True,
    )
    def reset(_: Any, base: Any) -> tuple[Any, ...]:
        weapon, build = gear.parse(value_of(str, base, "base"), len(current_source().subject.contexts))
        return (str(weapon), "", *(name for piece in gear.slots(build) for name in piece))

    ui.in_browser(
        app, "addressChanged", Output("whatif-address", "modified_timestamp"), Input("whatif-address", "data")
    )
