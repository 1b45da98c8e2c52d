"""Context of the numbers: vocabularies, scorecard, versions."""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from splat_assets.distribution import installed_version
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import scorecard_of
from splat_serving.database.runs import published_versions
from splat_serving.http.replies import json_reply
from splat_serving.http.routes.parameters import cached_router, json_answer
from splat_serving.http.state import FromServed, Served

router = cached_router("context")
_ANSWERS = json_answer("The facts.")


@router.get("/context/vocab", summary="Ids of tokens and weapons", responses=_ANSWERS)
async def vocab(request: Request, served: FromServed) -> Response:
    """`{vocab: {token: id}, weapon_vocab: {key: id}}`."""

    def make() -> Any:
        tokens, weapons = _names(served)
        return {
            "vocab": {name: at for at, name in enumerate(tokens)},
            "weapon_vocab": {key: at for at, key in enumerate(weapons)},
        }

    return await json_reply(request, served, make)


@router.get("/context/inv_vocab", summary="Tokens and weapons of ids", responses=_ANSWERS)
async def inv_vocab(request: Request, served: FromServed) -> Response:
    """`{inv_vocab: {id: token}, inv_weapon_vocab: {id: key}}`, with ids as text, as JSON has it."""

    def make() -> Any:
        tokens, weapons = _names(served)
        return {
            "inv_vocab": {str(at): name for at, name in enumerate(tokens)},
            "inv_weapon_vocab": {str(at): key for at, key in enumerate(weapons)},
        }

    return await json_reply(request, served, make)


def _names(served: Served) -> tuple[list[str], list[str]]:
    vocabulary, contexts = served.database.vocabulary, served.database.contexts
    if vocabulary is None or contexts is None:
        missing = "vocabulary" if vocabulary is None else "weapons"
        raise NotComputedError(
            f"this folder does not record its {missing}: start the server with --vocab-path and --weapon-vocab-path"
        )
    return [token.name for token in vocabulary.tokens], [item.key for item in contexts.items]


@router.get("/scorecard", summary="Quality of the SAE", responses=_ANSWERS)
async def scorecard(request: Request, served: FromServed) -> Response:
    """The metrics of the SAE's scorecard: fraction of variance unexplained, L0, dead and dense features, fidelity."""
    return await _revalidated_reply(request, served, lambda: scorecard_of(*served.model_source()))


@router.get("/published", summary="All versions of all runs of the data root", responses=_ANSWERS)
async def published(request: Request, served: FromServed) -> Response:
    """Every version of every run of the data root that this one is of, with its scorecard, by run and the newest first."""

    def look() -> dict[str, Any]:
        layout = served.run.layout if served.run else None
        if layout is None:
            raise NotComputedError("the served data is not a run of a data root: other runs cannot be listed")
        return {"published": [one.as_json() for one in published_versions(layout.data_root)]}

    return await _revalidated_reply(request, served, look)


@router.get("/version", summary="Served version and its fingerprints", responses=_ANSWERS)
async def version(request: Request, served: FromServed) -> Response:
    """Run, version and shape, and the fingerprints of the inputs of the version."""

    def make() -> Any:
        about = served.database.about()
        return {
            "run": about.name,
            "version": about.version,
            "layout": about.layout,
            "n_samples": about.n_samples,
            "n_features": about.n_features,
            "n_activations": about.n_activations,
            "provenance": about.provenance,
            "computed": about.computed,
            "software": installed_version(),
        }

    return await _revalidated_reply(request, served, make)


async def _revalidated_reply(request: Request, served: Served, make: Callable[[], dict[str, Any]]) -> Response:
    """A response that depends on more than the version: its tag covers the whole response, and caches must revalidate."""
    answer: dict[str, Any] = {}

    def beside() -> str:
        answer.update(make())
        return orjson.dumps(answer).decode()

    return await json_reply(request, served, lambda: answer, beside)
