"""The real server in a process of its own on a free port of this machine, and raw bytes to and from it."""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from splat_assets.store.layout import DataRoot

_STARTS_WITHIN = 60.0
_PATIENCE = 30.0


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes
    ended: bool
    """The server said that it closes the connection, and did."""


class Connection:
    """A connection on which bytes are sent as they are, and answers read one by one."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._read = self.socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """ConnectionError when the server is gone."""
        self.socket.sendall(data)

    def answer(self, method: str = "GET") -> RawAnswer:
        """The next answer; ConnectionError when the connection ends without a whole one."""
        status = int(self._line().split(b" ")[1])
        headers = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = b"" if method == "HEAD" or status in (100, 204, 304) else self._body(headers)
        return RawAnswer(status, headers, body, ended=headers.get("connection") == "close" and self.gone())

    def gone(self) -> bool:
        """Whether the server closes the connection; waits for it."""
        try:
            return self._read.read(1) == b""
        except ConnectionResetError:
            return True

    def rest(self) -> bytes:
        """All bytes until the server closes the connection."""
        return self._read.read()

    def reset(self) -> None:
        """Leave as a client does that crashes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._read.close()
        self.socket.close()

    def _line(self) -> bytes:
        line = self._read.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"the connection ended after {line!r}")
        return line[:-2]

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self._exactly(int(headers["content-length"]))
        chunks = []
        while size := int(self._line(), 16):
            chunks.append(self._exactly(size))
            self._line()
        self._line()
        return b"".join(chunks)

    def _exactly(self, n_bytes: int) -> bytes:
        found = self._read.read(n_bytes)
        if len(found) < n_bytes:
            raise ConnectionError(f"the connection ended after {len(found):,} of {n_bytes:,} bytes")
        return found


@dataclass(frozen=True)
class RunningServer:
    """A server that runs. log: the file of its standard error."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> Connection:
        return Connection(self.port)

    def send(self, *parts: bytes, method: str = "GET") -> RawAnswer:
        """The answer to raw bytes; they need not be HTTP. ConnectionError when there is none."""
        with self.connect() as connection:
            try:
                for part in parts:
                    connection.send(part)
            except ConnectionError:
                pass  # the server has answered and left already
            return connection.answer(method)

    def ask(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> RawAnswer:
        """The answer to a request. path, headers: sent as they are."""
        return self.send(request(path, *headers, method=method, body=body), method=method)

    def n_sockets(self) -> int:
        """How many sockets the server has open: that it listens on, its own, and one for each connection."""
        found = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                found += os.readlink(descriptor).startswith("socket:")
        return found

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Its exit code, after the signal."""
        self.process.send_signal(with_signal)
        return self.process.wait(_PATIENCE)


def request(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """The bytes of a request to this machine."""
    length = (f"Content-Length: {len(body)}",) if body else ()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, *length, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """Return when it holds; AssertionError when it does not within a long time."""
    until = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < until, f"never happened: {what}"
        time.sleep(0.02)


@contextmanager
def running(
    folder: Path, root: DataRoot, *options: str, environment: dict[str, str] | None = None
) -> Iterator[RunningServer]:
    """A server of a data root, which has answered once; killed at the end. folder: where its log goes."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "splat_assets.cli", "serve", "--port", "0", *options]
    with log.open("wb") as written:
        process = subprocess.Popen(command, stderr=written, env=environment_of(root, environment or {}))
    try:
        yield RunningServer(process, _port(process, log), log)
    finally:
        process.kill()
        process.wait()


def environment_of(root: DataRoot, more: dict[str, str]) -> dict[str, str]:
    """The variables of a server's process: none of a server that runs here already."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACTIVATION_")}
    return {**inherited, "SPLAT_DATA": str(root.path), **more}


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"activation server: http://\S+:(\d+) ", log.read_text(errors="replace")):
            port = int(found[1])
            with Connection(port) as connection:
                connection.send(request("/ready", "Connection: close"))
                connection.answer()
            return port
        time.sleep(0.02)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')}")
