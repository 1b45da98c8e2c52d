"""HTTP connections that nobody can hold for ever: heads, waiting answers and open connections have bounds of time and number.

What can be judged once a whole request is there (its size, who sent it) is judged in `guard`, which works below any protocol.
"""

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from splat_serving.http.guard import MOST_URL_BYTES
from splat_serving.http.problems import problem
from splat_serving.http.settings import ServerSettings

_log = logging.getLogger(__name__)
_MOST_HEAD_BYTES = 2**17
"""Of a head that is still incomplete; `guard` draws the line for complete ones, and lower. As much again may stand around the
chunks of a body: their sizes, what is written beside those, and what follows the last one."""
_MOST_WAITING = 64
"""Requests that a client may send ahead on one connection while an earlier one is answered."""


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with a clock for whoever sends a head, and one for whoever takes an answer, too slowly."""

    head_seconds = 20.0
    write_seconds = 120.0
    max_connections = 768

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self._clock: asyncio.TimerHandle | None = None
        self._write_clock: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._in_head = False
        self._n_heads = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._framing_bytes = 0
        self._ended = False

    def connection_made(self, transport: Any) -> None:
        """Start the clock of the first head."""
        super().connection_made(transport)
        self._start_clock()
        if len(self.connections) > self.max_connections:
            self._refuse(503, "too many connections", f"{self.max_connections} connections are open; come again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_clock()
        self.resume_writing()
        self._tell_running()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, but do not gather a head without end, and read nothing after something that was no HTTP."""
        if self._ended:
            return
        n_heads, n_body, was_in_head = self._n_heads, self._body_bytes, self._in_head
        super().data_received(data)
        if self._n_heads != n_heads:
            return
        if not was_in_head:
            self._framing_bytes += len(data) - (self._body_bytes - n_body)
            if self._framing_bytes > _MOST_HEAD_BYTES:
                self._refuse(413, "too large", f"a request body may have {_MOST_HEAD_BYTES:,} bytes around its chunks")
        elif self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self._refuse(
                    431, "the head is too large", f"a request may have {_MOST_HEAD_BYTES:,} bytes before its body"
                )

    def on_message_begin(self) -> None:
        """Start the clock for the next head on this connection."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._framing_bytes = True, 0, 0
        self._n_heads += 1
        self._start_clock()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head. What follows the last chunk of a body is none: nothing reads it, and its bytes count."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the clock. A client that sends far ahead of its answers is left."""
        self._stop_clock()
        self._in_head = False
        if not self.url.startswith(b"/"):
            self._name_host_of_target()
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_WAITING:
            self._ended = True
            self._abort()

    def on_body(self, body: bytes) -> None:
        """Count what is the body itself."""
        self._body_bytes += len(body)
        super().on_body(body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on to the next request: what is still to be sent, or the next head, has its time."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif self.cycle.response_complete:
            self._start_clock()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing more was asked."""
        self._close()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not take what was sent."""
        super().pause_writing()
        if self._write_clock is None:
            self._write_clock = self.loop.call_later(self.write_seconds, self._leave)

    def resume_writing(self) -> None:
        """Stop it."""
        super().resume_writing()
        if self._write_clock is not None:
            self._write_clock.cancel()
            self._write_clock = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too long for the parser."""
        if len(self.url) > MOST_URL_BYTES:
            self._refuse(414, "the URL is too long", f"{MOST_URL_BYTES:,} bytes of it are read")
            return
        self._refuse(400, "no HTTP", "this cannot be read as an HTTP request")

    def _unsupported_upgrade_warning(self) -> None:
        """A wish to go on in another protocol is not followed: the request is answered as it is, and then all is said."""
        self.cycle.keep_alive = False
        self._ended = True

    def _name_host_of_target(self) -> None:
        """The host that a target such as http://host/path names replaces that of the header (RFC 9112, section 3.2.2)."""
        target = httptools.parse_url(self.url)
        if target.host is not None:
            port = b"" if target.port is None else b":%d" % target.port
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", target.host + port))

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Answer without any request, and end the connection; but let an answer that is under way be finished."""
        self._ended = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            broken_body = cycle.more_body and not cycle.response_started and not self.pipeline
            if not broken_body:
                cycle.keep_alive = False
                return
        answer = problem(status, title, detail, {"Connection": "close"})
        headers = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        self.transport.write(STATUS_LINE[status] + headers + b"\r\n" + bytes(answer.body))
        self._close()

    def _close(self) -> None:
        """End the connection when what was sent has been taken, and at any rate after write_seconds."""
        self.transport.close()
        self._stop_clock()
        self._clock = self.loop.call_later(self.write_seconds, self._abort)

    def _leave(self) -> None:
        self._write_clock = None
        _log.warning("a client did not take its answer within %g s and was left", self.write_seconds)
        self._abort()

    def _abort(self) -> None:
        """End the connection now; nothing may be written any more."""
        self._tell_running()
        self.transport.abort()

    def _tell_running(self) -> None:
        """Whoever makes an answer learns that the client is gone. uvicorn tells the request that came last, and no other."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(self.head_seconds, self._close)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


def protocol_of(settings: ServerSettings) -> type[TimedProtocol]:
    """The connection with the bounds of the settings, as uvicorn takes it."""

    class Configured(TimedProtocol):
        head_seconds = settings.read_timeout_seconds
        write_seconds = settings.write_timeout_seconds
        max_connections = settings.max_connections

    return Configured
