"""Who may ask the dashboard: pages of its own, on this machine. Another site's page in the same browser may not."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_NAMES = ("127.0.0.1", "localhost", "::1")


class OnlyOwnPages:
    """Refuses requests and connections to another name than this machine's, and those that a page from elsewhere makes.

    The dashboard listens on the loopback interface, but a browser on this machine also shows pages of others; without this one of
    them could write labels, or read everything under a name that it made point here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or close the connection, where somebody else asks."""
        if scope["type"] not in ("http", "websocket") or _is_own(Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            text = "This dashboard answers its own pages on this machine alone: open http://127.0.0.1 with its port.\n"
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
