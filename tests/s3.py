"""An S3 server on this machine, which remembers what it was asked and can be told to fail."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Environment = dict[str, Any]
BUCKET = "lab"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. range: as the header has it, empty without one."""

    method: str
    path: str
    range: str
    query: str


@dataclass
class S3:
    """The server. before: called with each request; what it raises, the client gets as a broken answer. loses_answer: whether the
    answer to a request, which is done all the same, does not reach the client."""

    asked: list[Asked] = field(default_factory=list)
    before: Callable[[Asked], None] | None = None
    loses_answer: Callable[[Asked], bool] | None = None
    url: str = ""

    def start(self) -> Callable[[], None]:
        """Serve in a thread; returns what stops it."""
        app, writing = DomainDispatcherApplication(create_backend_app), threading.Lock()

        def remembering(environment: Environment, start_response: Any) -> Iterable[bytes]:
            one = Asked(
                environment["REQUEST_METHOD"],
                environment["PATH_INFO"],
                environment.get("HTTP_RANGE", ""),
                environment.get("QUERY_STRING", ""),
            )
            self.asked.append(one)
            if self.before is not None:
                try:
                    self.before(one)
                except ConnectionError:
                    start_response("403 Forbidden", [("Content-Type", "text/plain")])
                    return [b"refused"]
            if self.loses_answer is not None and self.loses_answer(one):
                list(app(environment, lambda *_: lambda _: None))
                start_response("503 Slow Down", [("Content-Type", "text/plain")])
                return [b"lost"]
            if one.method in ("GET", "HEAD"):
                reply: Iterable[bytes] = app(environment, start_response)
                return reply
            with writing:  # a write with a condition is one step in S3; moto looks, and then writes
                reply = app(environment, start_response)
            return reply

        server = make_server("127.0.0.1", 0, remembering, threaded=True, request_handler=_Silent)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        return stop

    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """Say nothing."""
