"""The dashboard as an application: `create_app` puts pages, callbacks, downloads and access control together."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dash
from dash import Dash, html, set_props
from dash.backends import get_backend
from dash.exceptions import DependencyException
from fastapi import Request, Response
from starlette.middleware.gzip import GZipMiddleware

from splat_assets.errors import InputError, SplatError
from splat_assets.store.documents import explained
from splat_dash import api, frame, ui
from splat_dash.pages import (
    Page,
    compare,
    feature,
    feature_map,
    features,
    find,
    home,
    labels,
    runs,
    tokens,
    whatif,
)
from splat_dash.sent import OnlyKnownCallbacks, OnlyOwnPages
from splat_dash.shown import CurrentSource, answer_from, current_source
from splat_dash.source import Source
from splat_serving.labels.book import one_read

_log = logging.getLogger(__name__)
_WITHOUT_SOCKETS = type("WithoutSockets", (get_backend("fastapi"),), {"websocket_capability": False})
"""No callback here uses a WebSocket, so none is open."""
_HERE = Path(__file__).parent
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


def _title_of_feature(fid: Any = "", **_: Any) -> str:
    return f"F{fid[:12]}" if isinstance(fid, str) and fid.isdigit() else "Feature"


_PAGES = (
    Page("home", "/", "Splat", home.layout, home.register),
    Page("features", "/features", "Features", features.layout, features.register),
    Page("feature", "/f/<fid>", _title_of_feature, feature.layout, feature.register),
    Page("map", "/map", "Map", feature_map.layout, feature_map.register),
    Page("compare", "/compare", "Compare", compare.layout),
    Page("find", "/find", "Find", find.layout),
    Page("tokens", "/tokens", "Tokens", tokens.layout),
    Page("token", "/tokens/<token>", "Token", find.of_token),
    Page("weapon", "/weapons/<weapon>", "Weapon", find.of_weapon),
    Page("whatif", "/whatif", "What if", whatif.layout, whatif.register),
    Page("labels", "/labels", "Labels", labels.layout),
    Page("runs", "/runs", "Runs", runs.layout),
    Page("about", "/about", "About", home.about),
)


def create_app(source: Source) -> Dash:
    """The dashboard of a source, and of each version of it that is published later.

    Args:
        source: Its subject stays open while the application answers; the caller closes it.

    Returns:
        A Dash application; several may live in one process. Serve its `server`, an ASGI application of FastAPI, with uvicorn on
        127.0.0.1: it refuses requests to other host names, and those from pages of other origins.

    Examples:
        >>> app = create_app(Source(subject))  # subject: `open_subject("small")`
        >>> type(app.server).__name__
        'FastAPI'
    """
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
    _register(app)
    app.index_string = app.index_string.replace("<html>", '<html lang="en">')
    app.layout = frame.layout
    frame.register(app, shown)
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


def _register(app: Dash) -> None:
    """Register the pages, which every application of this process shares, and their callbacks."""
    for page in _PAGES:
        where: dict[str, Any] = {"path_template" if "<" in page.path else "path": page.path}
        dash.register_page(page.name, title=page.title, layout=partial(_page, page), **where)
        if page.register is not None:
            page.register(app)
    dash.register_page(
        "not_found_404", layout=lambda **parameters: ui.alert("Page not found", "No page has this address.")
    )


def _page(page: Page, **parameters: Any) -> Any:
    """A page, or one sentence on why it cannot be shown."""
    try:
        for name, value in parameters.items():
            if not isinstance(value, str):
                raise InputError(f"{name}: repeated in the address; write it once")
        parameters.pop("source", None)
        return page.layout(current_source(), **{**parameters, **_variable(page.path)})
    except Exception as error:
        return ui.alert(*_explained(error))


def _explained(error: Exception) -> tuple[str, str]:
    """A title and a sentence for people. An internal error has a number that is also in the log."""
    sentence = explained(error) if isinstance(error, OSError) else str(error) if isinstance(error, SplatError) else None
    if sentence:
        return "This cannot be shown", sentence
    number = uuid.uuid4().hex[:8]
    _log.error("fault %s", number, exc_info=error)
    return "Internal error of the dashboard", f"Details are in its log under {number}."


def _variable(template: str) -> dict[str, str]:
    """The variable of the path template; a URL parameter of that name does not replace it."""
    prefix, _, name = template.partition("<")
    if not name:
        return {}
    path = str(dash.ctx.inputs["_pages_location.pathname"])
    return {name.rstrip(">"): unquote(path.removeprefix(prefix)).rstrip("/")}


def _say_error(error: Exception) -> None:
    """Report the error of a callback and leave the page as it is."""
    title, sentence = _explained(error)
    text = f"{title}. {sentence}" if title.startswith("Internal") else sentence
    set_props("faults", {"children": html.P(text, role="alert", className="alert")})


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
