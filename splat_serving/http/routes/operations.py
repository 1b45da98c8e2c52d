"""The server itself: health, readiness, runs, metrics."""

import time

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import Response

from splat_assets.errors import SplatError
from splat_serving.database.local import LocalDatabase
from splat_serving.http.problems import always_documented
from splat_serving.http.state import ServerState, state_of

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """Health of the server. The last three are null until a version is open; all but the status are null if a required token is
    missing."""

    status: str
    uptime_seconds: float | None
    model_type: str | None
    version: str | None
    n_features: int | None


class Ready(BaseModel):
    """A version is open, and one of its features was read and its checksum verified."""

    status: str
    version: str
    feature_verified: int | None


class RunEntry(BaseModel):
    """A run that is served. version: the current one, null if none is published or it is unknown."""

    name: str
    default: bool
    version: str | None


class Runs(BaseModel):
    """The runs that are served."""

    runs: list[RunEntry]


@router.get("/health", summary="Health check", responses=always_documented())
async def health(request: Request) -> Health:
    """Health check; reads nothing."""
    state = state_of(request)
    if not request.state.is_known:
        return Health(status="healthy", uptime_seconds=None, model_type=None, version=None, n_features=None)
    opened = state.catalogue.opened
    return Health(
        status="healthy",
        uptime_seconds=round(time.monotonic() - state.began, 3),
        model_type=opened.name if opened else None,
        version=opened.version if opened else None,
        n_features=opened.reader.n_features if opened else None,
    )


@router.get("/ready", summary="Readiness check", responses=always_documented(404, 503))
async def ready(request: Request) -> Ready:
    """Readiness of the default run: opens its version, reads and verifies one feature; 503 or 500 on failure."""
    state = state_of(request)

    def look() -> Ready:
        database = state.catalogue.run().current()
        return Ready(status="ready", version=database.version, feature_verified=_verified(database))

    return await state.workers.run(look)


def _verified(database: LocalDatabase) -> int | None:
    """The first feature that fires, after reading it; None when none does."""
    for feature_id in range(database.reader.n_features):
        if database.reader.read(feature_id).n_active:
            return feature_id
    return None


@router.get("/runs", summary="The runs that are served", responses=always_documented())
async def runs(request: Request) -> Runs:
    """The runs that are served, and the default one of the plain paths."""
    state = state_of(request)

    def look() -> Runs:
        catalogue = state.catalogue
        try:
            default = catalogue.run().name
        except SplatError:
            default = None
        entries = [
            RunEntry(name=name, default=name == default, version=_current(state, name)) for name in catalogue.names()
        ]
        return Runs(runs=entries)

    return await state.workers.run(look)


def _current(state: ServerState, name: str) -> str | None:
    try:
        return state.catalogue.run(name).current_id()
    except SplatError:
        return None


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    responses={**always_documented(), 200: {"description": "The metrics.", "content": {"text/plain": {}}}},
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Prometheus metrics, by route template."""
    counted = state_of(request).metrics
    counted.update()
    return Response(generate_latest(counted.registry), media_type=CONTENT_TYPE_LATEST)
