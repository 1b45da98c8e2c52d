"""Access control of the dashboard: only its own pages on this machine; no pages of other sites in the same browser."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_NAMES = ("127.0.0.1", "localhost", "::1")


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
        named = urlsplit(f"//{host}").hostname in _NAMES
        return named and (origin is None or urlsplit(origin).netloc == host)
    except ValueError:
        return False
