"""The dashboard as an application: `create_app` assembles shell, pages and callbacks."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import dash
import dash_mantine_components as dmc
import polars as pl
from dash import Dash, Input, Output, State, dcc, html, set_props
from dash.backends import get_backend
from dash.exceptions import DependencyException
from fastapi import Request, Response
from starlette.middleware.gzip import GZipMiddleware

from splat_assets.errors import InputError, SplatError
from splat_assets.store.documents import explained
from splat_assets.wording import counted
from splat_dash import api, ui
from splat_dash.guard import OnlyOwnPages
from splat_dash.pages import (
    about,
    compare,
    experiments,
    feature,
    feature_map,
    features,
    find,
    home,
    labelling,
    labels,
    runs,
    tokens,
    whatif,
)
from splat_dash.query import ListQuery, MapQuery, RowsRequest
from splat_dash.sent import OnlyKnownCallbacks, value_of
from splat_dash.shown import CurrentSource, VersionStatus, answer_from, current_source
from splat_dash.source import Source
from splat_serving.labels.book import one_read

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 20
_WITHOUT_SOCKETS = type("WithoutSockets", (get_backend("fastapi"),), {"websocket_capability": False})
"""No callback here uses a WebSocket, so none is open."""
_HERE = Path(__file__).parent
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
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


def _title_of_feature(fid: Any = "", **_: Any) -> str:
    return f"F{fid[:12]}" if isinstance(fid, str) and fid.isdigit() else "Feature"


_PAGES: tuple[tuple[str, str, Any, Callable[..., Any]], ...] = (
    ("home", "/", "Splat", home.layout),
    ("features", "/features", "Features", features.layout),
    ("feature", "/f/<fid>", _title_of_feature, feature.layout),
    ("map", "/map", "Map", feature_map.layout),
    ("compare", "/compare", "Compare", compare.layout),
    ("find", "/find", "Find", find.layout),
    ("tokens", "/tokens", "Tokens", tokens.layout),
    ("token", "/tokens/<token>", "Token", find.of_token),
    ("weapon", "/weapons/<weapon>", "Weapon", find.of_weapon),
    ("whatif", "/whatif", "What if", whatif.layout),
    ("labels", "/labels", "Labels", labels.layout),
    ("runs", "/runs", "Runs", runs.layout),
    ("about", "/about", "About", about.layout),
)


def create_app(source: Source) -> Dash:
    """The dashboard of a source, and of each version of it that is published later. Serve `app.server`, a FastAPI application,
    with uvicorn."""
    shown = CurrentSource(source)
    app = Dash(
        "splat_dash",
        backend=_WITHOUT_SOCKETS,
        use_pages=True,
        pages_folder="",
        include_pages_meta=False,
        assets_folder=str(_HERE / "assets"),
        title="Features",
        update_title="",
        serve_locally=True,
        on_error=_say_error,
        suppress_callback_exceptions=True,
    )
    _register()
    app.index_string = app.index_string.replace("<html>", '<html lang="en">')
    app.layout = _shell
    _callbacks(app, shown)
    api.mount(app.server)
    _serve_politely(app, shown)
    with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop of its own
        thread.submit(lambda: asyncio.run(_warm_up(app))).result()
    return app


async def _warm_up(app: Dash) -> None:
    """Send one internal request: Dash assembles its pages at the first one, whose answer lacks a script."""
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/", "raw_path": b"/",
             "root_path": "", "query_string": b"", "headers": [(b"host", b"127.0.0.1")], "server": ("127.0.0.1", 80),
             "client": ("127.0.0.1", 1)}  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        """Discard the answer."""

    await app.server(scope, receive, send)


def _register() -> None:
    """Register the pages, which every application of this process shares."""
    for name, path, title, layout in _PAGES:
        where: dict[str, Any] = {"path_template": path} if "<" in path else {"path": path}
        dash.register_page(name, title=title, layout=partial(_page, path, layout), **where)
    dash.register_page(
        "not_found_404", layout=lambda **parameters: ui.alert("Page not found", "No page has this address.")
    )


def _page(template: str, layout: Callable[..., Any], **parameters: Any) -> Any:
    """A page, or one sentence on why it cannot be shown; an internal error has a number that is also in the log."""
    try:
        for name, value in parameters.items():
            if not isinstance(value, str):
                raise InputError(f"{name}: repeated in the address; write it once")
        parameters.pop("source", None)
        return layout(current_source(), **{**parameters, **_variable(template)})
    except SplatError as error:
        return ui.alert("This cannot be shown", str(error))
    except Exception as error:
        if isinstance(error, OSError) and (sentence := explained(error)):
            return ui.alert("This cannot be shown", sentence)
        number = uuid.uuid4().hex[:8]
        _log.exception("fault %s", number)
        return ui.alert("Internal error of the dashboard", f"Details are in its log under {number}.")


def _variable(template: str) -> dict[str, str]:
    """The variable of the path template; a URL parameter of that name does not replace it."""
    prefix, _, name = template.partition("<")
    if not name:
        return {}
    path = str(dash.ctx.inputs["_pages_location.pathname"])
    return {name.rstrip(">"): unquote(path.removeprefix(prefix)).rstrip("/")}


def _say_error(error: Exception) -> None:
    """Report the error of a callback and leave the page as it is."""
    number = uuid.uuid4().hex[:8]
    sentence = explained(error) if isinstance(error, OSError) else None
    text = sentence or (
        str(error)
        if isinstance(error, SplatError)
        else f"Internal error of the dashboard; details are in its log under {number}."
    )
    if not isinstance(error, SplatError) and not sentence:
        _log.error("fault %s", number, exc_info=error)
    set_props("faults", {"children": html.P(text, role="alert", className="alert")})


def _shell() -> dmc.MantineProvider:
    about_it = current_source().about
    links = [dcc.Link(words, href=address, className="nav") for words, address in _NAVIGATION]
    header = html.Header(
        [
            dcc.Link(html.Strong("Splat"), href="/", className="nav"),
            html.Nav(links, **ui.named("Pages")),
            html.Span(id="pinned"),
            html.Span(f"{about_it.name or 'store'} · version {about_it.version}", className="quiet where"),
            html.Button(["copy link", html.Kbd("c")], id="copy-link", className="plain-button", type="button"),
            html.Button("keys ?", id="help-button", className="plain-button", type="button"),
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


def _callbacks(app: Dash, shown: CurrentSource) -> None:
    experiments.callbacks(app)
    feature.callbacks(app)
    whatif.callbacks(app)
    labelling.callbacks(app)

    @app.callback(
        Output("features-grid", "getRowsResponse"),
        Output("features-count", "children"),
        Input("features-grid", "getRowsRequest"),
        State("features-q", "value"),
        State("features-state", "value"),
        State("features-sort", "data"),
    )
    def rows(request: Any, q: Any, state: Any, sort: Any) -> tuple[Any, Any]:
        if request is None:
            raise dash.exceptions.PreventUpdate
        block = value_of(RowsRequest, request, "getRowsRequest")
        words, which, order = (value_of(str | None, value, "search") for value in (q, state, sort))
        source = current_source()
        features_ = source.rows(ListQuery(words or "", which or "", block.sort(order)))
        page = features_.slice(block.startRow, max(block.endRow - block.startRow, 0))
        n_all = source.about.n_features
        caption = (
            f"{features_.height:,} of {counted(n_all, 'features')}" if features_.height else features.nothing(n_all)
        )
        named = page.with_columns(pl.col("feature_id").cast(pl.String).alias("id"))  # row ids are strings
        return {"rowData": named.to_dicts(), "rowCount": features_.height}, caption

    @app.callback(
        Output("newer", "children"), Input("watch", "n_intervals"), State("loaded", "data"), prevent_initial_call=True
    )
    async def watch(_: Any, loaded: Any) -> Any:
        return version_notice(await asyncio.to_thread(shown.follow), value_of(str, loaded, "loaded"))

    for name, figure in (("openBar", "feature-histogram"), ("openOnMap", "map"), ("openPoint", "home-spread")):
        app.clientside_callback(
            dash.ClientsideFunction("splat", name),
            Output(figure, "className"),
            Input(figure, "clickData"),
            prevent_initial_call=True,
        )

    @app.callback(
        Output("map-chosen", "children"),
        Input("map-box", "data"),
        State("map-query", "data"),
        prevent_initial_call=True,
    )
    def in_box(box: Any, query: Any) -> Any:
        if box is None:
            raise dash.exceptions.PreventUpdate
        drawn = MapQuery.parse({**dict(parse_qsl(value_of(str, query, "map-query"))), "box": value_of(str, box, "box")})
        return feature_map.chosen(current_source().on_map(drawn), drawn)

    app.clientside_callback(
        dash.ClientsideFunction("splat", "boxDrawn"),
        Output("map-box", "data"),
        Input("map", "selectedData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        dash.ClientsideFunction("splat", "listChanged"),
        Output("features-q", "className"),
        Input("features-q", "value"),
        Input("features-state", "value"),
        prevent_initial_call=True,
    )


def version_notice(news: VersionStatus, loaded: str) -> Any:
    """The notice on a page loaded from an older version, or when the store or server does not answer."""
    if news.trouble:
        return html.P(f"The data source of this page does not answer: {news.trouble}", className="alert")
    if news.version == loaded:
        return None
    again = html.Button("Reload", type="button", className="plain-button reload")
    text = f"Version {news.version} is available; this page shows {loaded}. "
    return html.P([text, again, " Unsaved label text is kept."], className="alert")


def _serve_politely(app: Dash, shown: CurrentSource) -> None:
    """Compression, Server-Timing and security headers. A page load gets the newest version."""

    async def no_such_file(_: Request, error: Exception) -> Response:
        return Response("file not found\n", 404, media_type="text/plain")

    async def headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        if request.url.path == "/_dash-layout":
            await asyncio.to_thread(shown.follow)  # the page itself reports a source that does not answer
        answer_from(shown.source)
        with one_read():
            answer = await call_next(request)
        answer.headers["Server-Timing"] = f"total;dur={1000 * (time.perf_counter() - began):.2f}"
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    app.server.add_exception_handler(DependencyException, no_such_file)
    app.server.add_middleware(OnlyKnownCallbacks, callbacks=lambda: app.callback_map)
    app.server.middleware("http")(headers)
    app.server.add_middleware(GZipMiddleware, minimum_size=1_000)
    app.server.add_middleware(OnlyOwnPages)
