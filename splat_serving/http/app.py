"""The activation server as an application: `create_app` assembles routes, guard and state. Importing it opens nothing."""

import logging
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from splat_assets.distribution import installed_version
from splat_assets.errors import SplatError
from splat_serving.database.catalogue import Catalogue
from splat_serving.http import problems
from splat_serving.http.guard import AccessLog, Guard
from splat_serving.http.routes import (
    activations,
    context,
    features,
    labels,
    live,
    model,
    operations,
    reference,
    samples,
)
from splat_serving.http.settings import ServerSettings, settings_from_environment
from splat_serving.http.state import ServerState
from splat_serving.http.strict_requests import check_as_written

_log = logging.getLogger(__name__)

_PREFIXES = ("", "/v/{version}", "/runs/{run}", "/runs/{run}/v/{version}")
_DESCRIPTION = """Activations of the features of a sparse autoencoder, by feature and by build.

The same paths exist four times: plain (the default run, its current version), below `/v/{version}` (one version, always the
same bytes), below `/runs/{run}`, and below `/runs/{run}/v/{version}`; only the plain ones are listed. Tables come as JSON,
Arrow stream or file, Parquet or CSV, by the `Accept` header or `?format=`. Errors are `application/problem+json`."""


class ActivationServer:
    """The ASGI application: the guard, and behind it the routes."""

    def __init__(self, api: FastAPI, guarded: ASGIApp, state: ServerState) -> None:
        self.api = api
        self.state = state
        self._guarded = guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        await self._guarded(scope, receive, send)


def create_app(catalogue: Catalogue, settings: ServerSettings | None = None) -> ActivationServer:
    """An application that serves the catalogue; nothing is opened before it is started.

    Args:
        catalogue: The runs to serve.
        settings: Those of the environment if left out.

    Returns:
        An ASGI application, for uvicorn with one worker process: limits, cache and loaded models are of this application.

    Raises:
        InputError: When the token file of the settings cannot be used.

    Examples:
        >>> from pathlib import Path
        >>> from splat_assets.store.layout import DataRoot
        >>> from splat_serving.database.catalogue import Catalogue, Target
        >>> from splat_serving.http.app import create_app
        >>> app = create_app(Catalogue(Target.of("demo", DataRoot(Path("data")))))
        >>> sorted(app.api.openapi()["paths"])[:2]
        ['/activations', '/activations/{feature_id}']
    """
    settings = settings or settings_from_environment()
    state = ServerState(catalogue, settings)
    api = FastAPI(
        title="Activation server",
        description=_DESCRIPTION,
        lifespan=_lifespan,
        separate_input_output_schemas=False,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    api.state.server = state
    problems.install(api)
    api.include_router(operations.router)
    api.include_router(reference.router)
    for prefix in _PREFIXES:
        for module in (activations, features, samples, context, live, model, labels):
            api.include_router(
                module.router,
                prefix=prefix,
                dependencies=[Depends(check_as_written)],
                include_in_schema=not prefix,
            )
    api.openapi = lambda: _document(api)  # type: ignore[method-assign]
    guarded = AccessLog(Guard(api, settings, settings.token), state)
    return ActivationServer(api, guarded, state)


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    """Open the default run in the background, so that the server accepts requests at once."""
    state: ServerState = api.state.server
    api.openapi()  # FastAPI builds its routes on first use: done here, before there are threads

    def prepare() -> None:
        try:
            state.catalogue.run().current()
        except SplatError as error:
            _log.warning("%s", error)

    threading.Thread(target=prepare, name="prepare", daemon=True).start()
    yield


def _document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the schema of problems and without unused schemas."""
    if api.openapi_schema is None:
        document = get_openapi(
            title=api.title, version=installed_version(), description=api.description, routes=api.routes
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = problems.Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        api.openapi_schema = document
    return api.openapi_schema


def _operation_id(route: APIRoute) -> str:
    """The method and the path in one word, such as get_activations_feature_id_arrow."""
    words = re.findall(r"\w+", route.path_format)
    return "_".join([*sorted(method.lower() for method in route.methods or ()), *words])
