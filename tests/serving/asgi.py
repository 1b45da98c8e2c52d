"""Requests to an application in the same event loop, without a socket."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import Message, Scope

from splat_serving.http.app import ActivationServer


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def ask(
    app: ActivationServer, path: str, body: bytes = b"", on_piece: Callable[[int], None] | None = None
) -> Answer:
    """The answer to a GET, or to a POST of a JSON body. on_piece: called with the size of each piece when it is sent."""
    path, _, query = path.partition("?")
    scope: Scope = {
        "type": "http", "method": "POST" if body else "GET", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "http_version": "1.1", "scheme": "http", "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))
        ],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    answer = Answer()

    async def receive() -> Message:
        if answer.status:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["body"]:
            answer.body += message["body"]
            if on_piece is not None:
                on_piece(len(message["body"]))

    await app(scope, receive, send)
    return answer
