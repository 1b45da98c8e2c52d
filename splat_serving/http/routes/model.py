"""The model run on many builds by id, for programs: activations of named features, probabilities, effects with controls, traces.

`/live/features` and `/live/intervene` are for people; these routes serve `ModelRunner`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StrictInt
from starlette.responses import Response

from splat_serving.database.selection import MOST_SEED
from splat_serving.http.problems import documented
from splat_serving.http.replies import whole_reply
from splat_serving.http.routes.parameters import Body
from splat_serving.http.state import FromServed, Served, state_of
from splat_serving.model.answers import Edit, Operation
from splat_serving.model.runner import (
    MOST_BUILDS,
    MOST_DIRECTIONS,
    MOST_EDITS,
    MOST_EFFECT_BUILDS,
    MOST_TOKENS,
    ModelRunner,
    TokenSet,
)

if TYPE_CHECKING:
    from splat_serving.model.live import LiveModel

router = APIRouter(tags=["live"], responses=documented(404))
_Id = Annotated[StrictInt, Field(ge=0, lt=2**31)]
Row = list[float]


class TokenSetBody(Body):
    """A build by ids of the model's vocabularies; no token is the empty build."""

    weapon_id: _Id
    tokens: Annotated[list[_Id], Field(max_length=MOST_TOKENS)] = []

    def token_set(self) -> TokenSet:
        """The build."""
        return TokenSet(self.weapon_id, tuple(self.tokens))


Builds = Annotated[list[TokenSetBody], Field(min_length=1, max_length=MOST_BUILDS)]


class ActivationsBody(Body):
    """Builds and the requested features."""

    builds: Builds
    features: Annotated[list[_Id], Field(min_length=1, max_length=MOST_EDITS)]
    positions: Annotated[list[_Id], Field(max_length=MOST_BUILDS)] | None = Field(
        None, description="For a hook per token: the token position in each build."
    )


class EditBody(Body):
    """`set` a feature to a value, `scale` it by one, or `ablate` it."""

    feature: _Id
    op: Operation
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None

    def edit(self) -> Edit:
        """The edit; ParameterError."""
        return Edit(self.feature, self.op, self.value)


class ProbabilitiesBody(Body):
    """Builds and feature edits; the reconstruction error of the SAE is kept."""

    builds: Builds
    edits: Annotated[list[EditBody], Field(max_length=MOST_EDITS)] = []


class EffectsBody(Body):
    """Builds, an edit, and its controls: random directions and those of matched features, with the same step size."""

    builds: Annotated[list[TokenSetBody], Field(min_length=1, max_length=MOST_EFFECT_BUILDS)]
    edit: EditBody
    n_random: Annotated[int, Field(ge=0, le=MOST_DIRECTIONS)] = 20
    matched: Annotated[list[_Id], Field(max_length=MOST_DIRECTIONS)] = []
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0


class TraceBody(Body):
    """A build, and the number of features to list."""

    build: TokenSetBody
    top_k: Annotated[int, Field(ge=0, le=1_000)] = 20


class ActivationsAnswer(BaseModel):
    """One row per build, one number per feature."""

    version: str
    activations: list[Row]


class ProbabilitiesAnswer(BaseModel):
    """One row per build, one number per token of the vocabulary."""

    version: str
    probabilities: list[Row]


class EffectsAnswer(BaseModel):
    """See `splat_serving.model.runner.Effects`."""

    version: str
    size: Row
    mean_abs: list[Row]
    kl: list[Row]
    own: list[Row]
    kinds: list[str]
    ids: list[int]


class TraceAnswer(BaseModel):
    """See `splat_serving.model.runner.Trace`."""

    version: str
    features: list[int]
    activations: Row
    token_positions: list[int] | None
    contributions: list[Row]
    bias: Row
    rest: Row
    logits: Row
    exact: bool


@router.post("/live/activations", summary="Features on many builds", response_model=ActivationsAnswer)
async def activations(request: Request, served: FromServed, body: ActivationsBody) -> Response:
    """Activations of named features on many builds."""
    builds = _sets(body.builds)
    return await _answer(
        request,
        served,
        lambda model: {"activations": model.activations(builds, body.features, body.positions)},
    )


@router.post("/live/probabilities", summary="Predictions of many builds", response_model=ProbabilitiesAnswer)
async def probabilities(request: Request, served: FromServed, body: ProbabilitiesBody) -> Response:
    """The probability of every token on many builds, with optional feature edits."""
    builds, edits = _sets(body.builds), [one.edit() for one in body.edits]
    return await _answer(request, served, lambda model: {"probabilities": model.probabilities(builds, edits)})


@router.post("/live/effects", summary="Effect of editing a feature", response_model=EffectsAnswer)
async def effects(request: Request, served: FromServed, body: EffectsBody) -> Response:
    """Effect of a feature edit on the predictions, with random directions and matched features as controls."""
    builds, edit = _sets(body.builds), body.edit.edit()
    return await _answer(
        request,
        served,
        lambda model: _fields(model.effects(builds, edit, body.n_random, body.matched, body.seed)),
    )


@router.post("/live/trace", summary="Contribution of each feature to each prediction", response_model=TraceAnswer)
async def trace(request: Request, served: FromServed, body: TraceBody) -> Response:
    """Contribution of each feature that fires on a build to the logit of every token."""
    build = body.build.token_set()
    return await _answer(request, served, lambda model: _fields(model.trace(build, body.top_k)))


def _sets(builds: list[TokenSetBody]) -> list[TokenSet]:
    return [build.token_set() for build in builds]


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}


async def _answer(request: Request, served: Served, ask: Callable[[ModelRunner], dict[str, Any]]) -> Response:
    database = served.database

    def work(model: "LiveModel") -> bytes:
        from splat_serving.model.local_runner import LiveRunner

        answer = {"version": database.version, **ask(LiveRunner(lambda: model))}
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)

    home, provenance = await state_of(request).workers.run(served.model_source)
    body = await state_of(request).live.run(home, database.version, provenance, work)
    return whole_reply(request, body, database.version)
