"""Time the activation server over loopback: `python -m benchmarks.serving`. Median and p99 of one feature, warm.

A store of the reference size is served by `splat serve` in a separate process, over one persistent connection. In the same
run, in turn with it: a bare socket that sends the same bytes (the limit of any server), and the guide's way without any
server (zarr in chunks of 1 x 10,000, join on the metadata, `to_dicts`, `json.dumps`). Ratios are comparable between
machines, milliseconds are not.
"""

import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import polars as pl
import zarr

from benchmarks.reference_store import COUNTED, make_reference_store
from splat_assets.store import open_store
from splat_assets.store.published.version import Store
from splat_assets.text.numerals import whole

_GUIDE_CHUNK = 10_000
_PAIRS = "columns=global_index,activation"
CASES = {
    "Arrow, pairs": f"/activations/{{}}?{_PAIRS}&format=arrow",
    "Arrow, weapon and abilities": "/activations/{}/arrow",
    "JSON, pairs as two arrays": f"/activations/{{}}?{_PAIRS}&orient=columns",
    "JSON, pairs as rows": f"/activations/{{}}?{_PAIRS}",
    "JSON, rows with weapon and abilities": "/activations/{}",
    "Parquet, weapon and abilities": "/activations/{}?format=parquet",
}


class Connection:
    """One kept connection that reads answers as cheaply as Python can: into one buffer, no parsing but of the head."""

    def __init__(self, host: str, port: int, buffer_bytes: int = 2**26) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(buffer_bytes)

    def get(self, path: str) -> memoryview:
        """The body of the answer; RuntimeError when it is not 200."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        have = self._more(0)
        while (end := self._buffer.find(b"\r\n\r\n", 0, have)) < 0:
            have = self._more(have)
        head = bytes(self._buffer[:end]).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(bytes(self._buffer[:have]).decode(errors="replace"))
        start = end + 4
        length = re.search(rb"content-length: (\d+)", head)
        if length is not None:
            stop = start + int(length[1])
            while have < stop:
                have = self._more(have)
            return memoryview(self._buffer)[start:stop]
        return self._chunks(start, have)

    def _chunks(self, start: int, have: int) -> memoryview:
        """The chunks moved together in the buffer."""
        body, at = start, start
        while True:
            while (line := self._buffer.find(b"\r\n", at, have)) < 0:
                have = self._more(have)
            size, at = int(self._buffer[at:line], 16), line + 2
            while have < at + size + 2:
                have = self._more(have)
            if size == 0:
                return memoryview(self._buffer)[start:body]
            view = memoryview(self._buffer)
            view[body : body + size] = view[at : at + size]
            body, at = body + size, at + size + 2

    def _more(self, have: int) -> int:
        if have == len(self._buffer):
            raise RuntimeError("the answer is larger than the buffer of this benchmark")
        got = self._socket.recv_into(memoryview(self._buffer)[have:])
        if not got:
            raise RuntimeError("the server closed the connection")
        return have + got


class BareServer:
    """Sends given bytes with a Content-Length for whatever it is asked: what loopback itself costs."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.body: bytes = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            found, _ = self._listening.accept()
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with found:
                while found.recv(65_536):
                    found.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.body)}\r\n\r\n".encode())
                    found.sendall(self.body)


def _bare_process() -> None:
    """Run a bare server whose body is read from standard input, length first; prints its port."""
    server = BareServer()
    print(server.port, flush=True)
    while line := sys.stdin.buffer.readline():
        server.body = sys.stdin.buffer.read(int(line))
        print("ready", flush=True)


@contextmanager
def bare_server() -> Iterator[tuple[Connection, Callable[[bytes], None]]]:
    """A connection to a bare server in a process of its own, and a function that sets what it sends."""
    command = [sys.executable, "-c", "from benchmarks.serving import _bare_process; _bare_process()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout
    connection = Connection("127.0.0.1", int(stdout.readline()))

    def load(body: bytes) -> None:
        stdin.write(f"{len(body)}\n".encode() + body)
        stdin.flush()
        stdout.readline()

    try:
        yield connection, load
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class RunningServer:
    """A `splat serve` in a process of its own. seconds_to_first_answer: from its start to the answer about a feature."""

    port: int
    process: subprocess.Popen[str]
    seconds_to_first_answer: float

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of the process, and the part of it that is not mapped files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {
            name: int(re.search(rf"{key}:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
            for name, key in (("resident", "VmRSS"), ("of its own", "RssAnon"))
        }


@contextmanager
def running_server(store: Path) -> Iterator[RunningServer]:
    """Start the server, ask it until it answers about a feature, and end it afterwards."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "splat_assets.cli", "serve", str(store), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    stderr = process.stderr
    port = None
    while port is None:
        line = stderr.readline()
        if not line:
            raise RuntimeError("the server ended before it listened")
        found = re.search(r"http://127.0.0.1:(\d+)", line)
        port = int(found[1]) if found else None
    threading.Thread(target=stderr.read, daemon=True).start()
    Connection("127.0.0.1", port).get("/activations/0?limit=10")
    try:
        yield RunningServer(port, process, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()


class GuideWay:
    """What the guide's server computes for one answer, without its HTTP."""

    def __init__(self, store: Store, feature_ids: list[int], folder: Path) -> None:
        blosc = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4)
        shape, chunks = (len(feature_ids), store.n_samples), (1, _GUIDE_CHUNK)
        self._array = zarr.create_array(folder, shape=shape, chunks=chunks, dtype="float32", compressors=[blosc])
        for at, feature_id in enumerate(feature_ids):
            found = store.feature(feature_id)
            row = np.zeros(store.n_samples, dtype=np.float32)
            row[found.sample_ids] = found.values
            self._array[at, :] = row
        self._metadata = store.samples.select(
            "global_index",
            pl.col("weapon_id_token").cast(pl.Int64).alias("weapon_id"),
            pl.col("tokens").alias("ability_input_tokens"),
        )

    def answer(self, at: int) -> bytes:
        """Read a feature through zarr, join it with the metadata, and write JSON rows."""
        row = np.asarray(self._array[at, :])
        ids = np.flatnonzero(row)
        frame = pl.DataFrame({"global_index": ids, "activation": row[ids]}).join(self._metadata, on="global_index")
        rows = frame.select("activation", "weapon_id", "ability_input_tokens").to_dicts()
        return json.dumps({"feature_id": at, "n_rows": len(rows), "data": rows}).encode()


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def quantiles(times: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(times), float(np.quantile(times, 0.99))


def report(connection: Connection, guide: GuideWay, sizes: dict[int, list[int]], rounds: int, slow_rounds: int) -> None:
    """The table: for each size and form, the server, the same bytes over a bare socket, and the guide's way."""
    with bare_server() as (bare, load):
        for size, feature_ids in sizes.items():
            baseline, _ = quantiles(
                [timed(lambda i=i: guide.answer(i)) for _ in range(slow_rounds) for i in feature_ids]  # type: ignore[misc]
            )
            click.echo(f"\n{size:,} activations; the guide's way, without HTTP: {baseline:,.0f} ms\n")
            click.echo(
                "| form | MB | median ms | p99 ms | bare socket ms | times the bare socket | guide's way / this |"
            )
            click.echo("|---|---|---|---|---|---|---|")
            for name, path in CASES.items():
                load(bytes(connection.get(path.format(feature_ids[0]))))
                own, limit, n_bytes = [], [], 0
                for i in range(rounds):
                    url = path.format(feature_ids[i % len(feature_ids)])
                    own.append(timed(lambda url=url: connection.get(url)))  # type: ignore[misc]
                    limit.append(timed(lambda: bare.get("/")))
                n_bytes = len(connection.get(path.format(feature_ids[0])))
                (median, p99), (floor, _) = quantiles(own), quantiles(limit)
                click.echo(
                    f"| {name} | {n_bytes / 1e6:.1f} | {median:.2f} | {p99:.2f} | {floor:.2f} | {median / floor:.1f} | "
                    f"{baseline / median:.0f} |"
                )


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder of the store. If not given: a temporary folder."
)
@click.option("--rounds", default=60, type=whole(), show_default=True, help="Answers timed for each form and size.")
@click.option(
    "--slow-rounds",
    default=1,
    type=whole(),
    show_default=True,
    help="Answers timed of the guide's way, for each of four features.",
)
def main(folder: Path | None, rounds: int, slow_rounds: int) -> None:
    """Print start-up time, memory at rest, and a table of answer times with ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        path = make_reference_store(folder or Path(scratch) / "reference")
        store = open_store(path)
        sizes = {size: [i for i, own in enumerate(COUNTED) if own == size] for size in dict.fromkeys(COUNTED)}
        guide = GuideWay(store, list(range(len(COUNTED))), Path(scratch) / "guide.zarr")
        with running_server(path) as server:
            time.sleep(2)
            memory = ", ".join(f"{name} {value:.0f} MB" for name, value in server.memory_mb().items())
            click.echo(
                f"{store.n_samples:,} samples x {store.n_features:,} features, {store.manifest.nnz:,} activations"
            )
            click.echo(f"start to first answer {server.seconds_to_first_answer:.2f} s; memory after it: {memory}")
            report(Connection("127.0.0.1", server.port), guide, sizes, rounds, slow_rounds)
            memory = ", ".join(f"{name} {value:.0f} MB" for name, value in server.memory_mb().items())
            click.echo(f"\nmemory after all answers: {memory}")


if __name__ == "__main__":
    main()
