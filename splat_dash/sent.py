"""Requests of browsers: only from this dashboard's own pages on this machine, and with values of the expected types.

Dash parses a request without validating its shape, and calls callbacks with any value; these checks run first.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from splat_assets.errors import InputError

PATH = "/_dash-update-component"
_HOSTS = ("127.0.0.1", "localhost", "::1")
_MOST_BYTES = 1_000_000
_DEEPEST = 32
_ROUTER = "_pages_location"
"""The component whose path and search Dash's router reads."""


def value_of(kind: Any, sent: Any, name: str) -> Any:
    """The argument of a callback, validated as its type; InputError if it does not fit."""
    try:
        return _adapter(kind).validate_python(sent)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([name, *map(str, first["loc"])])
        raise InputError(f"invalid request from the page: {place}: {first['msg']}; reload the page") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class OnlyOwnPages:
    """Rejects requests and connections to a foreign host name, and those from pages of another origin.

    The dashboard listens on the loopback interface, but a browser on this machine also shows other sites; without this check one
    of them could write labels, or read everything by DNS rebinding.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or close the connection, for any other origin."""
        if scope["type"] not in ("http", "websocket") or _is_own(Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            text = "This dashboard only answers its own pages on this machine: open http://127.0.0.1 with its port.\n"
            await PlainTextResponse(text, 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


def _is_own(headers: Headers) -> bool:
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        named = urlsplit(f"//{host}").hostname in _HOSTS
        return named and (origin is None or urlsplit(origin).netloc == host)
    except ValueError:
        return False


class OnlyKnownCallbacks:
    """Rejects callback requests that no page of this dashboard sends: wrong shape, unknown callback, invalid JSON."""

    def __init__(self, app: ASGIApp, callbacks: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        """callbacks: those registered with Dash, by the name of their outputs."""
        self._app = app
        self._callbacks = callbacks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 or 413 in one line, or pass the request on."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        raw = await _read(receive)
        if raw is None:
            await PlainTextResponse(f"request too large: at most {_MOST_BYTES:,} bytes\n", 413)(scope, receive, send)
            return
        body = None
        if Headers(scope=scope).get("content-type", "").startswith("application/json"):
            with suppress(orjson.JSONDecodeError):
                body = orjson.loads(raw)
        if not _is_known(body, self._callbacks()):
            text = "not a request of this dashboard's pages; reload the page\n"
            await PlainTextResponse(text, 400)(scope, receive, send)
            return
        rest = [{"type": "http.request", "body": orjson.dumps(body), "more_body": False}]

        async def again() -> Message:
            return rest.pop() if rest else await receive()

        await self._app(scope, again, send)


async def _read(receive: Receive) -> bytes | None:
    """The body of a request; None for one that is too long."""
    raw, more = bytearray(), True
    while more and len(raw) <= _MOST_BYTES:
        message = await receive()
        raw += message.get("body", b"")
        more = message.get("more_body", False)
    return None if more or len(raw) > _MOST_BYTES else bytes(raw)


def _is_flat(value: Any, depth: int = _DEEPEST) -> bool:
    """Whether the nesting is at most as deep as in values of a page: Dash walks them recursively."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_flat(part, depth - 1) for part in parts)


def _is_known(body: Any, callbacks: Mapping[str, Mapping[str, Any]]) -> bool:
    if not isinstance(body, dict) or not isinstance(body.get("output"), str) or not _is_flat(body):
        return False
    callback = callbacks.get(body["output"], {})
    if "callback" not in callback:  # those of the browser alone have none
        return False
    outputs = callback["output"] if isinstance(callback["output"], Sequence) else [callback["output"]]
    sent = body.get("outputs")
    changed = body.get("changedPropIds", [])
    return (
        _names(sent if isinstance(sent, list) else [sent])
        == [(one.component_id, one.component_property) for one in outputs]
        and isinstance(sent, list) == isinstance(callback["output"], Sequence)
        and _names(body.get("inputs")) == _names(callback["inputs"])
        and _names(body.get("state", [])) == _names(callback["state"])
        and isinstance(changed, list)
        and all(isinstance(one, str) for one in changed)
        and all(_is_address(one) for one in body["inputs"] if one["id"] == _ROUTER)
    )


def _names(parts: Any) -> list[tuple[Any, str]] | None:
    """Component and property of each part of a request; None where one has none."""
    if not isinstance(parts, list) or not all(isinstance(one, dict) for one in parts):
        return None
    return [(one.get("id"), str(one.get("property")).partition("@")[0]) for one in parts]


def _is_address(part: Mapping[str, Any]) -> bool:
    value = part.get("value")
    if part["property"] == "pathname":
        return isinstance(value, str) and value.startswith("/")
    return value is None or isinstance(value, str)
