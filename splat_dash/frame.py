"""What all pages share: header, keys, messages, and the notice of a newer version."""

import asyncio
from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html

from splat_dash import ui
from splat_dash.sent import value_of
from splat_dash.shown import CurrentSource, VersionStatus, current_source

_WATCH_SECONDS = 20
_KEYS = (
    ("/", "search"),
    ("j, k", "next, previous feature of the list"),
    ("r", "random feature of the list"),
    ("[, ]", "previous, next tab"),
    ("1 … 9", "group of examples"),
    ("e", "edit the label"),
    ("Ctrl Enter", "save it"),
    ("p", "pin for comparison with another feature"),
    ("c", "copy the link of this view"),
    ("g", "then h, f, m, w, t, l, u, a: go to a page"),
    ("?", "show these keys"),
    ("Esc", "close, or leave the text field"),
)
_NAVIGATION = (
    ("Features", "/features"),
    ("Map", "/map"),
    ("Find", "/find"),
    ("Compare", "/compare"),
    ("Tokens", "/tokens"),
    ("What if", "/whatif"),
    ("Labels", "/labels"),
    ("Runs", "/runs"),
    ("About", "/about"),
)


def layout() -> dmc.MantineProvider:
    """The frame around every page, for the version shown."""
    about_it = current_source().about
    links = [dcc.Link(words, href=address, className="nav") for words, address in _NAVIGATION]
    header = html.Header(
        [
            dcc.Link(html.Strong("Splat"), href="/", className="nav"),
            html.Nav(links, **ui.named("Pages")),
            html.Span(id="pinned"),
            html.Span(f"{about_it.name or 'store'} · version {about_it.version}", className="quiet where"),
            html.Button(["copy link", html.Kbd("c")], id="copy-link", **ui.PLAIN),
            html.Button("keys ?", id="help-button", **ui.PLAIN),
            dmc.ColorSchemeToggle(lightIcon="☀", darkIcon="☾", **ui.named("Light or dark")),
        ],
        className="shell",
    )
    sheet = html.Dialog(
        [html.H2("Keys"), html.Dl([part for key, does in _KEYS for part in (html.Dt(html.Kbd(key)), html.Dd(does))])],
        id="help-sheet",
    )
    return dmc.MantineProvider(
        [
            html.A("Skip to content", href="#content", className="skip"),
            header,
            html.Div(id="connection", role="status"),
            html.Div(id="faults"),
            html.Div(id="newer", role="status"),
            dcc.Store(id="loaded", data=about_it.version),
            dcc.Interval(id="watch", interval=_WATCH_SECONDS * 1_000),
            html.Div(id="message", role="status", className="message"),
            html.Main(dash.page_container, id="content", tabIndex="-1"),
            sheet,
        ],
        defaultColorScheme="auto",
    )


def register(app: Dash, shown: CurrentSource) -> None:
    """The notice, from time to time."""

    @app.callback(
        Output("newer", "children"), Input("watch", "n_intervals"), State("loaded", "data"), prevent_initial_call=True
    )
    async def watch(_: Any, loaded: Any) -> Any:
        return version_notice(await asyncio.to_thread(shown.follow), value_of(str, loaded, "loaded"))


def version_notice(news: VersionStatus, loaded: str) -> Any:
    """The notice on a page loaded from an older version, or when the store or server does not answer."""
    if news.trouble:
        return html.P(f"The data source of this page does not answer: {news.trouble}", className="alert")
    if news.version == loaded:
        return None
    again = html.Button("Reload", type="button", className="plain-button reload")
    text = f"Version {news.version} is available; this page shows {loaded}. "
    return html.P([text, again, " Unsaved label text is kept."], className="alert")
