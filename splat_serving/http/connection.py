"""HTTP connections with limits: time for request headers and responses, number of open connections and queued requests.

Checks that need a whole request (its size, its sender) are in `guard`, which works with any protocol class.
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
"""Limit for incomplete request headers; `guard` has a lower limit for complete ones. The same limit applies to the framing
of a chunked body: chunk sizes, extensions and trailers."""
_MOST_WAITING = 64
"""Pipelined requests per connection."""


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with timeouts for receiving request headers and for sending the response."""

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
        """Start the timeout of the first request."""
        super().connection_made(transport)
        self._start_clock()
        if len(self.connections) > self.max_connections:
            self._refuse(503, f"{self.max_connections} connections are open; retry later", "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeouts."""
        self._stop_clock()
        self.resume_writing()
        self._signal_disconnect()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, with a limit on the size of headers; ignore everything after a malformed request."""
        if self._ended:
            return
        n_heads, n_body, was_in_head = self._n_heads, self._body_bytes, self._in_head
        super().data_received(data)
        if self._n_heads != n_heads:
            return
        if not was_in_head:
            self._framing_bytes += len(data) - (self._body_bytes - n_body)
            if self._framing_bytes > _MOST_HEAD_BYTES:
                self._refuse(413, f"the chunk framing of a request body is limited to {_MOST_HEAD_BYTES:,} bytes")
        elif self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self._refuse(431, f"request line and headers are limited to {_MOST_HEAD_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        """Start the timeout of the next request on this connection."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._framing_bytes = True, 0, 0
        self._n_heads += 1
        self._start_clock()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a request header. Trailers of a chunked body are ignored, but their bytes count."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the timeout. A client that pipelines too many requests is disconnected."""
        self._stop_clock()
        self._in_head = False
        if not self.url.startswith(b"/"):
            self._name_host_of_target()
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_WAITING:
            self._ended = True
            self._abort()

    def on_body(self, body: bytes) -> None:
        """Count the bytes of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on to the next request, and start its timeout."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif self.cycle.response_complete:
            self._start_clock()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        self._close()

    def pause_writing(self) -> None:
        """Start the timeout of a client that does not read the response."""
        super().pause_writing()
        if self._write_clock is None:
            self._write_clock = self.loop.call_later(self.write_seconds, self._leave)

    def resume_writing(self) -> None:
        """Stop the write timeout."""
        super().resume_writing()
        if self._write_clock is not None:
            self._write_clock.cancel()
            self._write_clock = None

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed or oversized request."""
        if len(self.url) > MOST_URL_BYTES:
            self._refuse(414, f"the URL is limited to {MOST_URL_BYTES:,} bytes")
            return
        self._refuse(400, "this is not a valid HTTP request")

    def _unsupported_upgrade_warning(self) -> None:
        """Upgrades to other protocols are not supported: answer the request, then close the connection."""
        self.cycle.keep_alive = False
        self._ended = True

    def _name_host_of_target(self) -> None:
        """The host of an absolute target such as http://host/path replaces the Host header (RFC 9112, section 3.2.2)."""
        target = httptools.parse_url(self.url)
        if target.host is not None:
            port = b"" if target.port is None else b":%d" % target.port
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", target.host + port))

    def _refuse(self, status: int, detail: str, title: str = "") -> None:
        """Send a problem and close the connection, but let a response in progress finish."""
        self._ended = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            broken_body = cycle.more_body and not cycle.response_started and not self.pipeline
            if not broken_body:
                cycle.keep_alive = False
                return
        answer = problem(status, detail, {"Connection": "close"}, title=title)
        headers = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        self.transport.write(STATUS_LINE[status] + headers + b"\r\n" + bytes(answer.body))
        self._close()

    def _close(self) -> None:
        """Close the connection when all data is sent, at the latest after write_seconds."""
        self.transport.close()
        self._stop_clock()
        self._clock = self.loop.call_later(self.write_seconds, self._abort)

    def _leave(self) -> None:
        self._write_clock = None
        _log.warning("disconnected a client that did not read its response within %g s", self.write_seconds)
        self._abort()

    def _abort(self) -> None:
        """Abort the connection; nothing more is written."""
        self._signal_disconnect()
        self.transport.abort()

    def _signal_disconnect(self) -> None:
        """Signal the running request that the client is gone. uvicorn signals only the request that came last."""
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
    """The protocol class for uvicorn with the limits of the settings."""

    class Configured(TimedProtocol):
        head_seconds = settings.read_timeout_seconds
        write_seconds = settings.write_timeout_seconds
        max_connections = settings.max_connections

    return Configured
