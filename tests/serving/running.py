"""Servers that listen on a socket of this machine for as long as a test needs them, and clients that wait."""

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


@contextmanager
def running(app: Any, port: int = 0) -> Iterator[str]:
    """The URL of a server of the application, on a port of its own or, started once more, on one that it had before."""
    listening = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class Awaited:
    """Something with awaitable methods as something with plain ones: each call waits for its result."""

    def __init__(self, asynchronous: Any) -> None:
        self._asynchronous = asynchronous
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._asynchronous, name)

        def waiting(*args: Any, **kwargs: Any) -> Any:
            found = method(*args, **kwargs)
            if inspect.isasyncgen(found):
                return iter(self._result(_collected(found)))
            return self._result(found)

        return waiting

    def close(self) -> None:
        self._result(self._asynchronous.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _result(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _collected(generator: Any) -> list[Any]:
    return [item async for item in generator]
