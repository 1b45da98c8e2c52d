"""The model run on builds from the request: features, predictions, and interventions on features."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import polars as pl
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from pydantic.config import JsonDict
from starlette.responses import Response

from splat_serving.database.errors import NotComputedError
from splat_serving.http.problems import documented
from splat_serving.http.replies import whole_reply
from splat_serving.http.routes.parameters import Body
from splat_serving.http.state import FromServed, Served, state_of
from splat_serving.model.answers import BuildFeatures, BuildIntervention, Edit, Operation
from splat_serving.model.typed_builds import TypedBuild

if TYPE_CHECKING:
    from splat_serving.model.live import LiveModel

router = APIRouter(tags=["live"], responses=documented(404))
_MOST_BUILDS = 256
_EXAMPLE: JsonDict = {"weapon": 0, "abilities": {"swim_speed_up": 12, "comeback": 10}}
_Name = Annotated[str, Field(max_length=200)]
_Id = Annotated[StrictInt, Field(ge=0, lt=2**31)]
_NPredictions = Annotated[int, Field(ge=0, le=1_000)]


class BuildBody(Body):
    """A weapon, and either `tokens` or `abilities`; an empty list or object is the empty build."""

    weapon: _Id | _Name = Field(description="Id, key or name.")
    tokens: Annotated[list[_Id | _Name], Field(max_length=1_000)] | None = Field(None, description="Ids or names.")
    abilities: Annotated[dict[_Name, StrictInt], Field(max_length=100)] | None = Field(
        None, description="AP per ability, 10 for a main-only one. Must be possible with gear."
    )

    def typed(self) -> TypedBuild:
        """The build."""
        return TypedBuild(self.weapon, None if self.tokens is None else tuple(self.tokens), self.abilities)


Builds = Annotated[list[BuildBody], Field(min_length=1, max_length=_MOST_BUILDS)]


class FeaturesBody(Body):
    """Builds to run through base model and SAE."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"builds": [_EXAMPLE]}]})
    builds: Builds
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        20, description="Number of features per build; null for all."
    )
    predictions: _NPredictions = 10


class EditBody(Body):
    """`set` a feature to a value, `scale` it by one, or `ablate` it."""

    feature: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    op: Operation
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None


class InterveneBody(Body):
    """Builds and feature edits. Without edits and without error: the effect of the SAE's reconstruction."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"builds": [_EXAMPLE], "edits": [{"feature": 0, "op": "set", "value": 1.5}]}]}
    )
    builds: Builds
    edits: Annotated[list[EditBody], Field(max_length=1_000)] = []
    keep_error: bool = Field(True, description="Keep the reconstruction error of the SAE.")
    predictions: _NPredictions = 20

    def checked_edits(self) -> tuple[Edit, ...]:
        """The edits; ParameterError."""
        return tuple(Edit(one.feature, one.op, one.value) for one in self.edits)


class FeaturesAnswer(BaseModel):
    """One entry per build, in their order."""

    version: str
    hook_target: str = Field(description="masked_mean: of the whole build. token_ff: of each of its tokens.")
    builds: list[BuildFeatures]


class InterveneAnswer(BaseModel):
    """One entry per build, in their order."""

    version: str
    hook_target: str
    builds: list[BuildIntervention]


@router.post("/live/features", summary="Features of your builds", response_model=FeaturesAnswer)
async def features(request: Request, served: FromServed, body: FeaturesBody) -> Response:
    """Features that fire on builds, strongest first, and predicted tokens with the sigmoid of their logits."""
    builds = [build.typed() for build in body.builds]
    unseen = await _unseen(request, served)
    return await _answer(request, served, lambda model: model.features(builds, body.top_k, body.predictions, unseen))


@router.post("/live/intervene", summary="Predictions with features changed", response_model=InterveneAnswer)
async def intervene(request: Request, served: FromServed, body: InterveneBody) -> Response:
    """Predictions of the base model for builds with features set, scaled or ablated, next to the unedited ones."""
    builds, edits = [build.typed() for build in body.builds], body.checked_edits()
    unseen = await _unseen(request, served)
    return await _answer(
        request, served, lambda model: model.intervene(builds, edits, body.keep_error, body.predictions, unseen)
    )


async def _unseen(request: Request, served: Served) -> frozenset[int] | None:
    """The tokens that never occur in the data, by id; None if that was not counted."""

    def look() -> frozenset[int] | None:
        try:
            tokens = served.database.tokens()
        except NotComputedError:  # a folder without a vocabulary
            return None
        return frozenset(tokens.filter(pl.col("doc_freq") == 0)["token_id"]) if "doc_freq" in tokens.columns else None

    return await state_of(request).workers.run(look)


async def _answer(request: Request, served: Served, ask: "Callable[[LiveModel], Any]") -> Response:
    database, state = served.database, state_of(request)
    waited = time.perf_counter()

    def work(model: "LiveModel") -> bytes:
        began = time.perf_counter()
        state.timings(request).add("wait", began - waited)
        body = orjson.dumps({"version": database.version, "hook_target": model.hook.target, "builds": ask(model)})
        state.timings(request).add("make", time.perf_counter() - began)
        return body

    home, provenance = await state_of(request).workers.run(served.model_source)
    body = await state.live.run(home, database.version, provenance, work)
    return whole_reply(request, body, database.version)
