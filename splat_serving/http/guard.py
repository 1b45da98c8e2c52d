"""Middleware before every route: authentication, limits on size and concurrency, and the access log.

Plain ASGI, because it must see every byte of a request and its response.
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import time
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from splat_assets.text.wording import counted
from splat_serving.http.problems import problem
from splat_serving.http.settings import ServerSettings
from splat_serving.http.state import ServerState
from splat_serving.http.workers import Timings

_access = logging.getLogger("splat_serving.access")
_log = logging.getLogger(__name__)
_OPEN_PATHS = ("/health",)
_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH")
_MOST_LOGGED = 1_000
MOST_URL_BYTES = 2**14
_MOST_HEADER_BYTES = 2**16
_MOST_HEADERS = 100
_LINGER_SECONDS = 2.0
_OF_PROXIES = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")
_ON_EVERY_ANSWER = ((b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin"))


class AccessLog:
    """Times every request, counts it by route, and writes one JSON line for it to the log `splat_serving.access`."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        timings, began = Timings(), time.perf_counter()
        inner = {**scope, "state": {**scope.get("state", {}), "timings": timings}}
        head_only = scope["method"] == "HEAD"
        if head_only:  # the server below sends no body to a HEAD
            inner["method"] = "GET"
        status, sent = 0, 0

        async def receiving() -> Message:
            if head_only and status:  # only the headers are needed: the route may stop producing the body
                return {"type": "http.disconnect"}
            return await receive()

        async def observed(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                timing = (b"server-timing", timings.header().encode())
                message["headers"] = [*message.get("headers", []), *_ON_EVERY_ANSWER, timing]
            elif not head_only:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(inner, receiving, observed)
        finally:
            self._record(inner, scope["method"], status, sent, time.perf_counter() - began)

    def _record(self, scope: Scope, method: str, status: int, sent: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "(none)")
        metrics = self._state.metrics
        metrics.requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        metrics.bytes.labels(route).inc(sent)
        if _access.isEnabledFor(logging.INFO):
            line = {
                "method": method[:20],
                "path": scope["path"][:_MOST_LOGGED],
                "query": scope["query_string"][:_MOST_LOGGED].decode("latin-1"),
                "status": status,
                "bytes": sent,
                "ms": round(seconds * 1000, 2),
                "client": (scope.get("client") or ("",))[0],
            }
            _access.info("%s", json.dumps(line))  # ASCII only: no character of a request ends or disguises a line


class Guard:
    """Rejects requests for other hosts, without a valid token, too many at once, or too large."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, token: bytes | None) -> None:
        self._app = app
        self._settings = settings
        self._token = token
        self._hosts = {"localhost", *(name.lower() for name in settings.allowed_hosts)}
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "WebSocket is not supported"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["is_known"] = self._token is None or _has_valid_token(scope, self._token)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._with_body(scope, receive, send)
        finally:
            self._in_flight -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        """The response to a rejected request; None for an accepted one."""
        refused = _oversized(scope) or self._check_host(scope) or self._check_auth(scope)
        if refused is None and scope["path"] not in _OPEN_PATHS and self._in_flight >= self._settings.max_in_flight:
            busy = f"{counted(self._in_flight, 'requests', 'are')} in progress; retry later"
            return problem(429, busy, {"Retry-After": "1"})
        return refused

    def _check_host(self, scope: Scope) -> Response | None:
        """Reject foreign host names: a DNS rebinding page still sends its own host name."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1:
            return problem(400, f"a request needs exactly one Host header, this one has {len(hosts)}")
        host = hosts[0].decode("latin-1")
        name = _without_port(host.lower())
        here = (scope.get("server") or ("",))[0]
        if "*" in self._hosts or name in self._hosts or _is_loopback(name) or (name and name == here):
            return None
        return problem(421, f"this server does not answer for {host[:100]!r}; --allowed-host NAME adds a name")

    def _check_auth(self, scope: Scope) -> Response | None:
        if self._token is not None:
            if scope["path"] in _OPEN_PATHS or _has_valid_token(scope, self._token):
                return None
            return _unauthorised("send the server's token: Authorization: Bearer TOKEN")
        if self._settings.insecure or _from_this_machine(scope):
            return None
        return _unauthorised(
            "without a token this server only answers this machine: start it with --token-file, or --insecure"
        )

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the whole body of a request, within the limits of size and time, before the route runs."""
        limit = self._settings.max_body_bytes
        lengths = _values(scope, b"content-length")
        if any(not one.isdigit() or len(one) > 18 or int(one) > limit for one in lengths):
            await _too_large(limit, scope, receive, send)
            return
        body, more = bytearray(), bool(lengths) or bool(_values(scope, b"transfer-encoding"))
        try:
            async with asyncio.timeout(self._settings.read_timeout_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > limit:
                        break
        except TimeoutError:
            late = problem(408, "the request did not arrive in time", {"Connection": "close"})
            await late(scope, receive, send)
            return
        if len(body) > limit:
            await _too_large(limit, scope, receive, send)
            return
        await self._answered(scope, bytes(body), receive, send)

    async def _answered(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        is_replayed = False

        async def replay() -> Message:
            nonlocal is_replayed
            if is_replayed:
                return await receive()
            is_replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        started = finished = False

        async def sending(message: Message) -> None:
            nonlocal started, finished
            started = True
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, replay, sending)
        except Exception as error:
            if started and isinstance(error, TimeoutError):  # the response is incomplete: the connection is closed
                _log.warning(
                    "disconnected a client that did not read its response in time: %s", ascii(scope["path"][:200])
                )
                return
            _log.exception("%s %s", scope["method"], ascii(scope["path"][:200]))
            if not finished:  # the response has begun and cannot be completed: the connection is closed
                raise


def _oversized(scope: Scope) -> Response | None:
    url = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    if url > MOST_URL_BYTES:
        return problem(414, f"the URL has {url:,} bytes; the limit is {MOST_URL_BYTES:,}")
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if size > _MOST_HEADER_BYTES or len(headers) > _MOST_HEADERS:
        return problem(
            431,
            f"{len(headers)} headers of {size:,} bytes; the limits are {_MOST_HEADERS} and {_MOST_HEADER_BYTES:,} bytes",
        )
    return None


async def _too_large(limit: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 413 and close the connection, but first read incoming bytes for a moment.

    A connection that is closed over unread bytes is reset, and the client may never see the answer.
    """
    answer = problem(413, f"the request body is limited to {limit:,} bytes", {"Connection": "close"})
    await send({"type": "http.response.start", "status": 413, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": bytes(answer.body), "more_body": True})
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _unauthorised(detail: str) -> Response:
    return problem(401, detail, {"WWW-Authenticate": 'Bearer realm="splat"'})


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for header, value in scope["headers"] if header.lower() == name]


def _has_valid_token(scope: Scope, token: bytes) -> bool:
    """Whether the request has the valid token, compared in constant time."""
    scheme, _, credentials = b"".join(_values(scope, b"authorization")).partition(b" ")
    return hmac.compare_digest(credentials.strip(), token) and scheme.lower() == b"bearer"


def _without_port(host: str) -> str:
    """The host of `host`, `host:port`, `[address]` or `[address]:port`; "" for anything else."""
    name, port = host, ""
    if host.startswith("["):
        name, closed, port = host[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return ""
        port = port[1:]
    elif ":" in host:
        name, _, port = host.partition(":")
    return name if not port or (port.isascii() and port.isdigit()) else ""


def _from_this_machine(scope: Scope) -> bool:
    """Whether the request comes from this machine, and not from another one through a local proxy that adds headers.

    A proxy that adds no header is indistinguishable from this machine. A socket without an address (Unix socket) is local.
    """
    if any(_values(scope, name) for name in _OF_PROXIES):
        return False
    client: Any = scope.get("client")
    return client is None or not client[0] or _is_loopback(client[0])


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
