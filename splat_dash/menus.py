"""The small menu of a panel: the link to it, its numbers as files, its picture."""

from collections.abc import Mapping
from typing import Any

from dash import html

from splat_dash.address import FORMS, Files

ANCHOR = "panel-"
"""Before the name of a panel, in its id and after the # of the link to it."""


def files_of(files: Files, table: str) -> dict[str, str]:
    """A table in each form: what it is called, and where it is."""
    return {called: files.of(table, form) for form, called in FORMS.items()}


def menu(title: str, name: str, files: Mapping[str, str] | None = None, picture: bool = False) -> html.Details:
    """The menu of the panel `name`, whose id is ANCHOR and that name. files: addresses by what they are called.

    picture: whether it has a plot, which the browser can save.
    """
    button: dict[str, Any] = {"type": "button", "className": "plain-button"}
    entries: list[Any] = [html.Button("copy link", **button, **_data(link=ANCHOR + name))]
    entries += [html.A(called, href=href) for called, href in (files or {}).items()]
    if picture:
        entries += [html.Button(form.upper(), **button, **_data(picture=form)) for form in ("png", "svg")]
    told: dict[str, Any] = {"aria-label": f"Link and files: {title}"}
    return html.Details([html.Summary("⋯", **told), html.Div(entries)], className="menu")


def headed(heading: Any, shown: html.Details) -> html.Div:
    """A heading with the menu of what stands below it."""
    return html.Div([heading, shown], className="headed")


def _data(**named: str) -> Any:
    return {f"data-{name}": value for name, value in named.items()}
