"""What stands before every route: who may ask, how much at once, how large; and what is written down of each request.

Plain ASGI, because it must see every byte of a request and of its answer.
"""

import asyncio
import hmac
import ipaddress
import logging
import time
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from splat_serving.problems import problem
from splat_serving.settings import LOOPBACK_HOSTS, ServerSettings
from splat_serving.state import ServerState
from splat_serving.workers import Timings

_access = logging.getLogger("splat_serving.access")
_log = logging.getLogger(__name__)
_OPEN_PATHS = ("/health",)


class Observed:
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
        if scope["method"] == "HEAD":  # the server below sends no body to a HEAD
            inner["method"] = "GET"
        status, sent = 0, 0

        async def observed(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"server-timing", timings.header().encode())]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(inner, receive, observed)
        finally:
            self._write_down(inner, scope["method"], status, sent, time.perf_counter() - began)

    def _write_down(self, scope: Scope, method: str, status: int, sent: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "(none)")
        metrics = self._state.metrics
        metrics.requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        metrics.bytes.labels(route).inc(sent)
        if _access.isEnabledFor(logging.INFO):
            line = {
                "method": method,
                "path": scope["path"],
                "query": scope["query_string"].decode("latin-1"),
                "status": status,
                "bytes": sent,
                "ms": round(seconds * 1000, 2),
                "client": (scope.get("client") or ("",))[0],
            }
            _access.info("%s", orjson.dumps(line).decode())


_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH")


class Guard:
    """Refuses what is not for this server: other hosts, strangers without the token, too many or too large requests."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, token: bytes | None) -> None:
        self._app = app
        self._settings = settings
        self._token = token
        self._hosts = {*LOOPBACK_HOSTS, *settings.allowed_hosts}
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._with_body(scope, headers, receive, send)
        finally:
            self._in_flight -= 1

    def _refusal(self, scope: Scope, headers: dict[str, bytes]) -> Any:
        host = headers.get("host", b"").decode("latin-1").lower()
        if "*" not in self._hosts and _without_port(host) not in self._hosts:
            return problem(421, "another host", f"this server is not {host[:100]!r}; --allowed-host names it so")
        if self._token is not None:
            given = headers.get("authorization", b"")
            if scope["path"] not in _OPEN_PATHS and not hmac.compare_digest(given, b"Bearer " + self._token):
                return problem(
                    401,
                    "a token is needed",
                    "send the server's token: Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": 'Bearer realm="splat"'},
                )
        elif not self._settings.insecure and not _is_loopback(scope.get("client")):
            return problem(
                401,
                "a token is needed",
                "without a token this server answers this machine only: start it with --token-file, or --insecure",
                {"WWW-Authenticate": 'Bearer realm="splat"'},
            )
        if self._in_flight >= self._settings.max_in_flight:
            return problem(
                429, "too many requests", f"{self._in_flight} requests are under way; ask again", {"Retry-After": "1"}
            )
        return None

    async def _with_body(self, scope: Scope, headers: dict[str, bytes], receive: Receive, send: Send) -> None:
        """Read the body of a request whole, within its bounds of size and time, before anything else happens."""
        limit = self._settings.max_body_bytes
        too_large = problem(413, "too large", f"a request body may have {limit:,} bytes", {"Connection": "close"})
        stated = headers.get("content-length", b"0")
        if stated.isdigit() and int(stated[:20]) > limit:
            await too_large(scope, receive, send)
            return
        body, more = bytearray(), "content-length" in headers or "transfer-encoding" in headers
        try:
            async with asyncio.timeout(self._settings.read_timeout_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > limit:
                        await too_large(scope, receive, send)
                        return
        except TimeoutError:
            await problem(408, "too slow", "the request did not arrive in time", {"Connection": "close"})(
                scope, receive, send
            )
            return
        await self._answered(scope, bytes(body), receive, send)

    async def _answered(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        finished = False

        async def sending(message: Message) -> None:
            nonlocal finished
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, replay, sending)
        except TimeoutError:
            _log.warning("a client did not take its answer in time and was left: %s", scope["path"][:200])
            raise
        except Exception:
            _log.exception("%s %s", scope["method"], scope["path"][:200])
            if not finished:  # the answer has begun and cannot be completed: the connection is closed
                raise


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _is_loopback(client: tuple[str, int] | None) -> bool:
    """Whether the other end is this machine; a socket without an address (a Unix socket, a test client) is."""
    if client is None or not client[0]:
        return True
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return client[0] == "testclient"
