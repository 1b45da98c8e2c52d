"""All tokens and weapons, with links to the features that are associated with each."""

from typing import Any

from dash import dcc, html

from splat_dash import address, cells, ui
from splat_dash.abilities import in_words
from splat_dash.source import Source


def layout(source: Source, **_: Any) -> html.Article:
    """The page: abilities by rung, and weapons by class."""
    abilities = []
    for name in source.subject.builds.group_numbers:
        tokens = source.subject.vocabulary.groups[name]
        links = [dcc.Link(_badge(name, token.level), href=address.of_token(token.name)) for token in tokens]
        abilities.append(html.Tr([html.Th(in_words(name), scope="row"), html.Td(links)]))
    classes: dict[str, list[Any]] = {}
    for item in source.subject.contexts.items:
        link = dcc.Link(item.name, href=address.of_weapon(item.key))
        classes.setdefault(item.attributes.get("class", "weapons"), []).append(html.Li(link))
    text = (
        "Each link opens the features that are associated with it; for a token, also those that promote or suppress it."
    )
    return html.Article(
        [
            html.H1("Tokens and weapons"),
            html.P(text, className="quiet"),
            html.Div(html.Table(html.Tbody(abilities)), className="scrolled", tabIndex="0"),
            *(
                part
                for name, items in classes.items()
                for part in (html.H2(in_words(name)), html.Ul(items, className="columns"))
            ),
        ]
    )


def _badge(ability: str, ap: int | None) -> html.Span:
    """An ability with its AP, `SSU 21`; the full name for a pointer and for screen readers."""
    text, name, kind, share = cells.badge(ability, ap)
    style = None if share is None else {"--ap": f"{share:.3f}"}
    parts = [html.Span(text, **ui.HIDDEN), html.Span(name, className="unseen")]
    return html.Span(parts, className=f"badge {kind}", title=name, style=style)
