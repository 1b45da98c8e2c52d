"""The small menu of a panel: link, downloads, image."""

from collections.abc import Mapping
from typing import Any

from dash import html

from splat_dash.address import FORMS, Files

ANCHOR = "panel-"
"""Prefix of a panel's name, in its id and after the # of its link."""


def files_of(files: Files, table: str) -> dict[str, str]:
    """Download addresses of a table by the name of the format."""
    return {called: files.of(table, form) for form, called in FORMS.items()}


def menu(title: str, name: str, files: Mapping[str, str] | None = None, picture: bool = False) -> html.Details:
    """The menu of the panel `name`, whose id is ANCHOR and that name. files: addresses by their text.

    picture: whether it has a plot that the browser can save.
    """
    button: dict[str, Any] = {"type": "button", "className": "plain-button"}
    entries: list[Any] = [html.Button("copy link", **button, **_data(link=ANCHOR + name))]
    entries += [html.A(called, href=href) for called, href in (files or {}).items()]
    if picture:
        entries += [html.Button(form.upper(), **button, **_data(picture=form)) for form in ("png", "svg")]
    labelled: dict[str, Any] = {"aria-label": f"Link and downloads: {title}"}
    return html.Details([html.Summary("⋯", **labelled), html.Div(entries)], className="menu")


def headed(heading: Any, menu_: html.Details) -> html.Div:
    """A heading with the menu of its panel."""
    return html.Div([heading, menu_], className="headed")


def _data(**named: str) -> Any:
    return {f"data-{name}": value for name, value in named.items()}
