"""The features that are associated with a rule, a token or a weapon."""

from typing import Any
from urllib.parse import urlencode

from dash import dcc, html

from splat_assets.domain.abilities import ability_of
from splat_assets.domain.concepts import WeaponIs, Wears
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.errors import InputError
from splat_dash import address, ui
from splat_dash.source import Source
from splat_serving.database.errors import NotComputedError, UnknownNameError

_EXAMPLE = "swim_speed_up>=21 and ninja_squid"


def layout(source: Source, rule: str = "", against: str = "", **_: Any) -> Any:
    """The page of a rule, with its form. against: rule of the builds to contrast with; default: all other builds."""
    parts = [html.H1("Find features by a rule"), _box(rule, against)]
    if not rule:
        text = f"A rule combines abilities with an AP threshold and the weapon's class, sub, special or name, as {_EXAMPLE}."
        return html.Article([*parts, html.P(text, className="quiet")])
    try:
        result = source.contrast(rule, against) if against else source.features_for_rule(rule)
    except InputError as error:
        return html.Article([*parts, ui.refusal(str(error))])
    return html.Article([html.H1(result.title), parts[1], *ui.result_parts(result, _files(rule, against))])


def _box(rule: str, against: str) -> html.Form:
    parts: list[Any] = []
    for name, label, value, empty in (
        ("rule", "Rule on builds", rule, _EXAMPLE),
        ("against", "against", against, "all other builds"),
    ):
        box = dcc.Input(id=name, name=name, value=value, placeholder=empty, type="text", className="rule-box")
        parts += [html.Label(label, htmlFor=name), box]
    find = html.Button("Find", type="submit", className="plain-button")
    return html.Form([*parts, find], action="/find", method="get", className="rule")


def _files(rule: str, against: str) -> address.Files:
    return address.Files("/api/find", urlencode({"rule": rule, "against": against} if against else {"rule": rule}))


def of_token(source: Source, token: str = "", **_: Any) -> Any:
    """The page of a token: builds that reach it."""
    by_name = source.subject.vocabulary.by_name
    known = by_name.get(token) or by_name.get(ability_of(token))
    if known is None or known.group not in source.subject.builds.group_numbers:
        return ui.alert(f"Unknown token {token[:60]!r}", "The Tokens page lists all.", ("All tokens", "/tokens"))
    rule = rule_as_text(Wears(known.group, known.level) if known.level else Wears(known.group))
    result = source.features_for_rule(rule)
    return html.Article(
        [
            html.H1(result.title),
            _box(rule, ""),
            html.H2("Features that fire on it"),
            *ui.result_parts(result, _files(rule, "")),
            html.H2("Features that promote or suppress it"),
            *_effect_tables(source, known.name),
        ]
    )


def _effect_tables(source: Source, token: str) -> list[Any]:
    try:
        tables = source.features_by_effect_on(token)
    except (NotComputedError, UnknownNameError) as error:
        return [html.P(str(error), className="quiet")]
    files = address.Files(f"/api{address.of_token(token)}")
    return [html.Div([ui.table(table, files=files) for table in tables], className="halves")]


def of_weapon(source: Source, weapon: str = "", **_: Any) -> Any:
    """The page of a weapon, by its key."""
    for item in source.subject.contexts.items:
        if weapon in (item.key, item.name):
            return layout(source, rule=rule_as_text(WeaponIs("name", (item.name,))))
    return ui.alert(f"Unknown weapon {weapon[:60]!r}", "The Tokens page lists all weapons.", ("All tokens", "/tokens"))
