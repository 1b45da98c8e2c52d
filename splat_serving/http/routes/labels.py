"""Labels of features: current labels, histories, and label events. Writing needs `--allow-labels`."""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from splat_serving.database.errors import NotAllowedError
from splat_serving.http.problems import documented
from splat_serving.http.replies import whole_reply
from splat_serving.http.routes.parameters import FeatureId
from splat_serving.http.state import FromServed, Served, state_of
from splat_serving.labels.book import LabelBook, label_as_json
from splat_serving.labels.event import Event, NewEvent
from splat_serving.labels.log import LabelLog
from splat_serving.labels.shared import SharedLabelLog

router = APIRouter(tags=["labels"], responses=documented(404))
Log = LabelLog | SharedLabelLog


class Labels(BaseModel):
    """The current label of each feature that has one, by feature id; suggestions are at /suggestions."""

    version: str
    sae: str
    labels: dict[str, dict[str, Any]]


class LabelHistory(BaseModel):
    """The label of a feature, null if it has none, and its history."""

    version: str
    feature_id: int
    label: dict[str, Any] | None
    history: list[Event]


class LabelEvents(BaseModel):
    """All label events, oldest first. damaged_lines: numbers of the unreadable lines of the file."""

    version: str
    sae: str
    damaged_lines: list[int]
    events: list[Event]


class LabelEvent(BaseModel):
    """The added event."""

    version: str
    event: Event


@router.get("/labels", summary="Current labels", response_model=Labels)
async def labels(request: Request, served: FromServed) -> Response:
    """The current label of each feature that has one."""

    def ask(book: LabelBook, log: Log) -> Any:
        current = {str(feature): label_as_json(event) for feature, event in book.current().items()}
        return {"sae": log.sae, "labels": current}

    return await _answer(request, served, ask)


@router.get("/labels/{feature_id}", summary="One feature's label", response_model=LabelHistory)
async def label(request: Request, served: FromServed, feature_id: FeatureId) -> Response:
    """The label of a feature, and its history."""
    served.database.checked_feature(feature_id)

    def ask(book: LabelBook, log: Log) -> Any:
        history = [event.model_dump(mode="json") for event in book.history(feature_id)]
        return {"feature_id": feature_id, "label": label_as_json(book.label(feature_id)), "history": history}

    return await _answer(request, served, ask)


@router.get("/label-events", summary="All label events", response_model=LabelEvents)
async def events(request: Request, served: FromServed) -> Response:
    """Every label, skip and queue entry, oldest first; clients derive all else from it."""

    def ask(book: LabelBook, log: Log) -> Any:
        events = [event.model_dump(mode="json") for event in log.events()]
        return {"sae": log.sae, "damaged_lines": log.damaged_lines(), "events": events}

    return await _answer(request, served, ask)


@router.post(
    "/label-events", summary="Add a label event", response_model=LabelEvent, responses=documented(404, 403, 409)
)
async def add(request: Request, served: FromServed, new_event: NewEvent) -> Response:
    """Add a label, a skip or a queue entry; answers once it is on disk. 403 unless the server was started with --allow-labels."""
    state = state_of(request)
    if not state.settings.allow_labels:
        raise NotAllowedError("labels are read-only on this server: start it with --allow-labels")
    served.database.checked_feature(new_event.feature_id)
    return await _answer(request, served, lambda book, log: {"event": log.append(new_event).model_dump(mode="json")})


async def _answer(request: Request, served: Served, ask: Callable[[LabelBook, Log], Any]) -> Response:
    state, database = state_of(request), served.database

    def work() -> bytes:
        log = state.labels(served)
        return orjson.dumps({"version": database.version, **ask(LabelBook(log, database.reader.n_features), log)})

    body = await state.workers.run(work)
    return whole_reply(request, body, database.version)
