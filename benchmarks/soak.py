"""Many clients at once: `python -m benchmarks.soak`. 64 of them, mixed questions, one slow reader, a version published half-way.

Every answer is compared with the store of the version that it names: all of it must be of that version. A separate process
requests `/health` throughout. Prints counts, errors, latencies, and the server's memory over time.
"""

import collections
import contextlib
import json
import multiprocessing
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from benchmarks.reference_store import ReferenceRows, make_reference_store, staged_parts
from benchmarks.serving import Connection, RunningServer, quantiles, running_server
from splat_assets.store import open_store
from splat_assets.store.published.publishing import publish
from splat_assets.store.published.version import Store
from splat_assets.text.numerals import number, whole

_BUFFER_BYTES = 2**24
_COUNTED = (50_000,) * 4


@dataclass
class Tally:
    """Counts and latencies of the clients' answers."""

    answers: collections.Counter[str] = field(default_factory=collections.Counter)
    versions: collections.Counter[str] = field(default_factory=collections.Counter)
    times: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    wrong: list[str] = field(default_factory=list)


class Expectations:
    """The expected answers of each version."""

    def __init__(self, stores: list[Store]) -> None:
        self._stores = {store.version: store for store in stores}

    def activations(self, version: str, feature_id: int, ids: np.ndarray, values: np.ndarray) -> bool:
        """Whether these are the first activations of the feature in that version."""
        found = self._stores[version].feature(feature_id)
        n = ids.size
        return bool((found.sample_ids[:n] == ids).all() and (found.values[:n] == values.astype(np.float32)).all())

    def examples(self, version: str, feature_id: int, firing: dict[int, float]) -> bool:
        """Whether the feature fires so on these samples in that version."""
        found = self._stores[version].feature(feature_id)
        at = np.searchsorted(found.sample_ids, list(firing))
        return bool((found.values[at] == np.array(list(firing.values()), dtype=np.float32)).all())

    def sample(self, version: str, sample_id: int, feature_ids: list[int]) -> bool:
        """Whether these features fire on the sample in that version."""
        return sorted(feature_ids) == self._stores[version].sample(sample_id).feature_ids.tolist()


def _ask(
    connection: Connection, kind: str, rng: random.Random, expected: Expectations, n: tuple[int, int]
) -> str | None:
    """Ask one question; the version that answered, or None when the answer is not wholly of it."""
    n_samples, n_features = n
    if kind == "Arrow pairs":
        feature_id = rng.randrange(len(_COUNTED))
        table = pa.ipc.open_stream(
            connection.get(f"/activations/{feature_id}?columns=global_index,activation&format=arrow")
        )
        rows = table.read_all()
        version = (table.schema.metadata or {})[b"splat.version"].decode()
        same = expected.activations(version, feature_id, *(np.asarray(rows[name]) for name in rows.column_names))
        return version if same and rows.num_rows == _COUNTED[feature_id] else None
    if kind == "JSON rows":
        feature_id = rng.randrange(n_features)
        body = json.loads(bytes(connection.get(f"/activations/{feature_id}?limit=500")))
        ids = np.array([row["global_index"] for row in body["data"]], dtype=np.int64)
        values = np.array([row["activation"] for row in body["data"]])
        return body["version"] if expected.activations(body["version"], feature_id, ids, values) else None
    if kind == "sample":
        sample_id = rng.randrange(n_samples)
        body = json.loads(bytes(connection.get(f"/samples/{sample_id}")))
        return body["version"] if expected.sample(body["version"], sample_id, body["features"]["feature_id"]) else None
    if kind == "feature":
        feature_id = rng.randrange(n_features)
        body = json.loads(bytes(connection.get(f"/features/{feature_id}")))
        firing = {row["global_index"]: row["activation"] for row in body["examples"].get("top", [])}
        return body["version"] if expected.examples(body["version"], feature_id, firing) else None
    path = {
        "table": f"/features?limit=50&sort=-max&columns=feature_id,max&offset={rng.randrange(1000)}",
        "token": f"/tokens/{rng.randrange(100)}/features?limit=20",
        "abilities": f"/activations/{rng.randrange(len(_COUNTED))}?limit=5000&order=activation",
    }[kind]
    body = json.loads(bytes(connection.get(path)))
    version: str = body["version"]
    return version if body["n_rows"] == len(body["data"]) else None


_MIX = (
    ("JSON rows",) * 6
    + ("Arrow pairs",) * 3
    + ("sample",) * 5
    + ("feature",) * 4
    + ("table",) * 2
    + ("abilities",) * 2
    + ("token",)
)


def _client(number: int, port: int, until: float, expected: Expectations, n: tuple[int, int], tally: Tally) -> None:
    rng = random.Random(number)
    connection = Connection("127.0.0.1", port, _BUFFER_BYTES)
    while time.monotonic() < until:
        kind = rng.choice(_MIX)
        began = time.perf_counter()
        try:
            version = _ask(connection, kind, rng, expected, n)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            tally.wrong.append(f"{kind}: {type(error).__name__} {error}"[:300])
            connection = Connection("127.0.0.1", port, _BUFFER_BYTES)
            continue
        tally.times[kind].append((time.perf_counter() - began) * 1e3)
        tally.answers[kind] += 1
        if version is None:
            tally.wrong.append(f"{kind}: an answer that is not of one version")
        else:
            tally.versions[version] += 1


def _slow_reader(port: int, until: float) -> None:
    import socket

    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port)) as found:
            found.sendall(b"GET /activations/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            while time.monotonic() < until and found.recv(16_384):
                time.sleep(0.05)


def _health_times(port: int, seconds: float, times: "multiprocessing.Queue[list[float]]") -> None:
    connection, taken, until = Connection("127.0.0.1", port, 2**16), [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.get("/health")
        taken.append((time.perf_counter() - began) * 1e3)
        time.sleep(0.02)
    times.put(taken)


def soak(server: RunningServer, run: Path, second: dict[str, Path], n_clients: int, seconds: float) -> Tally:
    """Send requests for that many seconds, publish the second version half-way, and report."""
    first = open_store(run)
    n = (first.n_samples, first.n_features)
    # The second version is published aside first, to know what it will hold.
    with tempfile.TemporaryDirectory(dir=run) as aside:
        known = Store(Path(aside) / "versions" / publish(aside, second, {"made_by": "soak"}))
        expected, tally = Expectations([first, known]), Tally()
        queue: multiprocessing.Queue[list[float]] = multiprocessing.get_context("spawn").Queue()
        prober = multiprocessing.get_context("spawn").Process(
            target=_health_times, args=(server.port, seconds, queue), daemon=True
        )
        prober.start()
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=_client, args=(i, server.port, until, expected, n, tally)) for i in range(n_clients)
        ]
        threads.append(threading.Thread(target=_slow_reader, args=(server.port, until)))
        for thread in threads:
            thread.start()
        memory, published = [], False
        while time.monotonic() < until:
            time.sleep(seconds / 12)
            memory.append(server.memory_mb()["of its own"])
            if not published and time.monotonic() > until - seconds / 2:
                publish(run / "store", second, {"made_by": "soak"})
                published = True
        for thread in threads:
            thread.join()
        health = queue.get(timeout=30)
    _report(tally, health, memory, seconds)
    return tally


def _report(tally: Tally, health: list[float], memory: list[float], seconds: float) -> None:
    total = sum(tally.answers.values())
    click.echo(f"{total:,} answers in {seconds:.0f} s ({total / seconds:.0f}/s), {len(tally.wrong)} wrong or failed")
    for text, times in collections.Counter(tally.wrong).most_common(5):
        click.echo(f"  {times} x {text}")
    click.echo("by version: " + ", ".join(f"{version} {count:,}" for version, count in tally.versions.items()))
    click.echo("\n| question | answers | median ms | p99 ms |\n|---|---|---|---|")
    for kind, times in sorted(tally.times.items()):
        median, p99 = quantiles(times)
        click.echo(f"| {kind} | {len(times):,} | {median:.1f} | {p99:.1f} |")
    median, p99 = quantiles(health)
    click.echo(f"| /health | {len(health):,} | {median:.1f} | {p99:.1f} |")
    click.echo("\nmemory of the server's own, MB: " + " ".join(f"{value:.0f}" for value in memory))


@click.command()
@click.option("--clients", default=64, type=whole(), show_default=True)
@click.option("--seconds", default=60.0, type=number(), show_default=True)
@click.option("--n-samples", default=200_000, type=whole(), show_default=True)
@click.option("--n-features", default=4_096, type=whole(), show_default=True)
def main(clients: int, seconds: float, n_samples: int, n_features: int) -> None:
    """Ask a server of a store of this size; exit with 1 when any answer was wrong."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        run = Path(folder)
        make_reference_store(run, n_samples, n_features, counted=_COUNTED)
        second = staged_parts(run / "second", ReferenceRows(n_samples, n_features, 48, _COUNTED, seed=7))
        server = stack.enter_context(running_server(run / "store"))
        tally = soak(server, run, second, clients, seconds)
    raise SystemExit(1 if tally.wrong else 0)


if __name__ == "__main__":
    main()
