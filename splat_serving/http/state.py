"""Shared state of the routes of a server: its models, its metrics, and the version that a request is served from."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Counter, Histogram

from splat_assets.store.layout import RunLayout
from splat_assets.text.wording import counted
from splat_serving.database.catalogue import Catalogue, Run
from splat_serving.database.errors import NotComputedError, TooLargeError
from splat_serving.database.home import NO_HOME, Home
from splat_serving.database.local import LocalDatabase
from splat_serving.http.settings import ServerSettings
from splat_serving.http.workers import Cache, Memory, Timings, Workers
from splat_serving.labels.log import LabelLog
from splat_serving.labels.opening import labels_of
from splat_serving.labels.shared import SharedLabelLog
from splat_serving.model.runner import live_model_class

if TYPE_CHECKING:
    from splat_serving.model.live import LiveModel

Result = TypeVar("Result")
_MOST_LOADED = 2
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
        self.metrics = Metrics(self.cache)

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


class LiveModels:
    """Loads and runs models one after the other: a forward pass uses every core, and readers of stores keep their threads."""

    def __init__(self) -> None:
        self._worker = Workers(1)
        self._loaded: OrderedDict[tuple[Path, str], LiveModel] = OrderedDict()

    async def run(
        self,
        home: Home | None,
        version: str,
        provenance: Mapping[str, Any],
        work: "Callable[[LiveModel], Result]",
    ) -> Result:
        """The result of work on the model of a run's version, or of a folder that records its model.

        Raises NotComputedError where neither is served or torch is not installed, and what `LiveModel.of` raises.
        """
        if home is None:
            raise NotComputedError(f"the model cannot be run: {NO_HOME}")
        return await self._worker.run(lambda: work(self._model(home, version, provenance)))

    def _model(self, home: Home, version: str, provenance: Mapping[str, Any]) -> "LiveModel":
        key = (home.root if isinstance(home, RunLayout) else home.folder, version)
        if key not in self._loaded:
            while len(self._loaded) >= _MOST_LOADED:
                self._loaded.popitem(last=False)
            self._loaded[key] = live_model_class().of(home, provenance)
        self._loaded.move_to_end(key)
        return self._loaded[key]


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

    def model_source(self) -> tuple[Home | None, Mapping[str, Any]]:
        """Where the model is (None without a home), and the provenance of the version. Reads: for workers."""
        return self.run.home if self.run else None, self.database.about().provenance


async def served_by(request: Request) -> Served:
    """The version that this request is answered from: the one that the prefix of its path names, else the current one.

    A run or version that is not open yet is opened in a lane of its own.
    """
    state = state_of(request)
    name, version = (request.path_params.get(one) for one in ("run", "version"))

    def ready() -> tuple[Run, LocalDatabase | None]:
        run = state.catalogue.run(name)
        return run, run.ready if version is None else run.ready_version(version)

    run, database = await state.workers.run(ready)
    if database is None:
        opened = run.current if version is None else partial(run.version, version)
        database = await state.workers.run(opened, "opening")
    return Served(database, version is not None, run)


FromServed = Annotated[Served, Depends(served_by)]
