"""Shared state of the routes of a server, and the version that a request is served from."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from prometheus_client import CollectorRegistry, Counter, Histogram

from splat_assets.wording import counted
from splat_serving.database.catalogue import Catalogue, Run
from splat_serving.database.errors import TooLargeError
from splat_serving.database.home import Home
from splat_serving.database.local import LocalDatabase
from splat_serving.http.live_models import LiveModels
from splat_serving.http.memory import Memory
from splat_serving.http.settings import ServerSettings
from splat_serving.http.workers import Cache, Timings, Workers
from splat_serving.labels.log import LabelLog
from splat_serving.labels.opening import labels_of
from splat_serving.labels.shared import SharedLabelLog

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class ServerState:
    """One server: settings, runs, threads, metrics. Nothing is global."""

    def __init__(self, catalogue: Catalogue, settings: ServerSettings) -> None:
        self.catalogue = catalogue
        self.settings = settings
        self.workers = Workers(settings.workers)
        self.cache = Cache(settings.cache_bytes)
        self.live = LiveModels()
        self.memory = Memory(settings.max_sending_bytes, max(1, settings.max_in_flight * 3 // 4))
        self._logs: dict[tuple[str, str], LabelLog | SharedLabelLog] = {}
        self.began = time.monotonic()

    @cached_property
    def metrics(self) -> "Metrics":
        """The metrics of this server."""
        return Metrics(self.cache)

    def check_rows(self, n_rows: int) -> None:
        """Raise TooLargeError for more rows than the limit."""
        if n_rows > self.settings.max_rows:
            raise TooLargeError(
                f"a response is limited to {counted(self.settings.max_rows, 'rows')}; lower `limit`, or start the server "
                "with a larger --max-rows"
            )

    def count_rows(self, request: Request, n_rows: int) -> None:
        """Count the rows of an answer; raises as `check_rows`."""
        self.check_rows(n_rows)
        self.metrics.rows.labels(request.scope["route"].path).inc(n_rows)

    def labels(self, served: "Served") -> LabelLog | SharedLabelLog:
        """The labels of the SAE of a version; errors as `labels_of`. Reads: for workers."""
        key = (served.run.name if served.run else "", str(served.database.about().provenance.get("sae")))
        if key not in self._logs:
            self._logs.setdefault(key, labels_of(served.run, served.database))
        return self._logs[key]

    @staticmethod
    def timings(request: Request) -> Timings:
        """The timings of a request."""
        timings_: Timings = request.state.timings
        return timings_


class Metrics:
    """Prometheus metrics, by route template and never by feature."""

    def __init__(self, cache: Cache) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "splat_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "splat_request_seconds",
            "From the first byte of a request to the last byte of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.bytes = Counter("splat_sent_bytes", "Bytes of bodies sent.", ["route"], registry=self.registry)
        self.rows = Counter(
            "splat_sent_rows", "Activations and table rows in responses.", ["route"], registry=self.registry
        )
        hits = Counter("splat_cache", "Look-ups of cached results.", ["outcome"], registry=self.registry)
        hits.labels("hit")
        hits.labels("miss")
        self._cache, self._hits = cache, hits
        self._counted = [0, 0]

    def update(self) -> None:
        """Bring the counts of the cache up to date."""
        for i, (outcome, now) in enumerate((("hit", self._cache.hits), ("miss", self._cache.misses))):
            self._hits.labels(outcome).inc(now - self._counted[i])
            self._counted[i] = now


def state_of(request: Request) -> ServerState:
    """The state of the server that got the request."""
    state: ServerState = request.app.state.server
    return state


@dataclass(frozen=True, slots=True)
class Served:
    """The version that a request is answered from, from its first byte to its last.

    pinned: the URL names the version. run: its run, None where that no longer matters.
    """

    database: LocalDatabase
    pinned: bool
    run: Run | None = None

    @property
    def home(self) -> Home | None:
        """Where labels, scorecard and model are; None for a store or folder by itself. Reads: for workers."""
        return self.run.home if self.run else None

    def model_source(self) -> tuple[Home | None, Mapping[str, Any]]:
        """Where the model is (None without a home), and the provenance of the version. Reads: for workers."""
        return self.home, self.database.about().provenance


RunName = Annotated[str, Path(description="Name of a run, as /runs lists them.")]
VersionId = Annotated[str, Path(description="Id of a version: 16 hexadecimal digits.")]


async def of_default(request: Request) -> None:
    """Serve from the current version of the default run."""
    await _serve(request, None, None)


async def of_run(request: Request, run: RunName) -> None:
    """Serve from the current version of a run."""
    await _serve(request, run, None)


async def of_version(request: Request, version: VersionId) -> None:
    """Serve from one version of the default run."""
    await _serve(request, None, version)


async def of_run_version(request: Request, run: RunName, version: VersionId) -> None:
    """Serve from one version of a run."""
    await _serve(request, run, version)


async def _serve(request: Request, name: str | None, version: str | None) -> None:
    state = state_of(request)

    def ready() -> tuple[Run, LocalDatabase | None]:
        run = state.catalogue.run(name)
        return run, run.ready if version is None else run.ready_version(version)

    run, database = await state.workers.run(ready)
    if database is None:
        opened = run.current if version is None else partial(run.version, version)
        database = await state.workers.run(opened, "opening")
    request.state.served = Served(database, version is not None, run)


def served_by(request: Request) -> Served:
    """The version that this request is answered from."""
    served: Served = request.state.served
    return served


async def _served(request: Request) -> Served:
    return served_by(request)


FromServed = Annotated[Served, Depends(_served)]
