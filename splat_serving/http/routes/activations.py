"""The guide's two routes, `/activations/{feature_id}` and `…/arrow`, and many features in one answer."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from splat_assets.store.activations import Activations
from splat_serving.database.arrow_arrays import arrow_of
from splat_serving.database.local import LocalDatabase
from splat_serving.database.sample_columns import OF_ACTIVATIONS, checked_columns
from splat_serving.database.selection import MOST_ROWS, MOST_SEED, Order, Selection
from splat_serving.http.arrow_stream import FILE, STREAM
from splat_serving.http.negotiation import JSON, Form, chosen_form
from splat_serving.http.replies import Rows, encoded, lane_of, reply
from splat_serving.http.routes.parameters import (
    Accept,
    Body,
    Columns,
    FeatureId,
    Name,
    Orient,
    Selected,
    TableForm,
    cached_router,
    table_answer,
)
from splat_serving.http.state import FromServed, Served, state_of

_BLOCK_ROWS = 65_536
"""Rows with columns of samples: some megabytes."""
_BLOCK_PAIRS = 1_048_576
_BYTES_A_PAIR = 8
"""Of a sample id and a value in memory."""
_READ_AS_FAST_AS_ONE_ROW = 64
"""Activations that can be read and skipped in the time of one row of a response."""
_MOST_FEATURES = 1_024

router = cached_router("activations")


class FeatureActivationsBody(BaseModel):
    """Activations of one feature as rows (the guide's shape, and more)."""

    model_config = ConfigDict(title="FeatureActivations")

    feature_id: int
    version: str
    n_active: int = Field(description="Number of activations of the feature.")
    n_matching: int = Field(description="Number of activations that match the filters.")
    n_rows: int = Field(description="Number of rows in this response.")
    columns: list[str]
    load_time_ms: float = Field(description="Time to read and select.")
    data: list[dict[str, Any]]


class FeatureColumnsBody(BaseModel):
    """The same with `orient=columns`: one array for each column."""

    model_config = ConfigDict(title="FeatureActivationsByColumn")

    feature_id: int
    version: str
    n_active: int
    n_matching: int
    n_rows: int
    load_time_ms: float
    columns: dict[str, list[Any]]


@router.get(
    "/activations/{feature_id}",
    summary="Activations of one feature",
    responses=table_answer(FeatureActivationsBody | FeatureColumnsBody),
)
async def activations(
    request: Request,
    served: FromServed,
    feature_id: FeatureId,
    chosen: Selected,
    columns: Columns,
    form: TableForm,
    orient: Orient = "rows",
) -> Response:
    """Activations of one feature, as JSON rows unless `Accept` or `format` selects Arrow, Parquet or CSV."""
    return await _of_feature(request, served, feature_id, chosen, columns, form, orient)


@router.get(
    "/activations/{feature_id}/arrow",
    summary="Activations of one feature, as an Arrow stream",
    responses={200: {"description": "An Arrow IPC stream.", "content": {STREAM: {}, FILE: {}}}},
)
async def activations_as_arrow(
    request: Request,
    served: FromServed,
    feature_id: FeatureId,
    chosen: Selected,
    columns: Columns,
    accept: Accept = None,
) -> Response:
    """Activations of one feature as an Arrow IPC stream; feature, version and totals are in the metadata of its schema.

    For a client that names no type, the stream ends with the footer of an Arrow file, so that file readers can read it as well.
    """
    form = chosen_form(", ".join(accept or ()), (STREAM, FILE))
    return await _of_feature(request, served, feature_id, chosen, columns, form, "rows", also_a_file=not form.named)


async def _of_feature(
    request: Request,
    served: Served,
    feature_id: int,
    chosen: Selection,
    columns: tuple[str, ...],
    form: Form,
    orient: str,
    also_a_file: bool = False,
) -> Response:
    database = served.database
    database.checked_feature(feature_id)
    state = state_of(request)

    def make() -> Any:
        began = time.perf_counter()
        matching, n_active, n_matching = database.select(feature_id, chosen)
        seconds = time.perf_counter() - began
        state.timings(request).add("read", seconds)
        state.count_rows(request, matching.n_active)
        head: dict[str, Any] = {
            "feature_id": feature_id,
            "version": database.version,
            "n_active": n_active,
            "n_matching": n_matching,
            "n_rows": matching.n_active,
            "columns": list(columns),
        }
        if form.media_type == JSON:
            head["load_time_ms"] = round(seconds * 1000, 3)
        rows = _rows(database, [(None, matching)], columns, head)
        headers = {
            "X-Feature-Id": str(feature_id),
            "X-Num-Rows": str(matching.n_active),
            "X-Total-Count": str(n_matching),
            "X-Load-Time-Ms": f"{seconds * 1000:.3f}",
        }
        return encoded(rows, form, orient, also_a_file), headers

    n_rows = database.most_rows(feature_id, chosen)
    held_bytes, lane = _BYTES_A_PAIR * n_rows, lane_of(n_rows)
    return await reply(request, served, form, make, timed=form.media_type == JSON, held_bytes=held_bytes, lane=lane)


class ManyFeatures(Body):
    """Which features, and which of their activations. Fields as the parameters of `/activations/{feature_id}`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"feature_ids": [1, 2], "order": "activation", "limit": 10}]}
    )

    feature_ids: Annotated[list[int], Field(min_length=1, max_length=_MOST_FEATURES)]
    order: Order = "index"
    min_activation: float | None = None
    max_activation: float | None = None
    weapon: Annotated[list[Name], Field(max_length=200)] = []
    token: Annotated[list[Name], Field(max_length=50)] = []
    sample_frac: float | None = None
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0
    offset: Annotated[int, Field(ge=0, le=MOST_ROWS)] = 0
    limit: Annotated[int | None, Field(ge=0, le=MOST_ROWS)] = None
    columns: list[Name] | None = Field(None, max_length=20)

    def selection(self) -> Selection:
        """The selection of activations."""
        chosen = self.model_dump(exclude={"feature_ids", "columns"})
        return Selection(**chosen | {"weapon": tuple(self.weapon), "token": tuple(self.token)})


@router.post("/activations", summary="Activations of many features", responses=table_answer())
async def activations_of_many(
    request: Request, served: FromServed, body: ManyFeatures, form: TableForm, orient: Orient = "rows"
) -> Response:
    """Activations of many features in one table with a column `feature_id`, feature after feature in the order of the request."""
    database, state = served.database, state_of(request)
    columns = checked_columns(body.columns)
    chosen = body.selection()
    feature_ids = [database.checked_feature(feature_id) for feature_id in dict.fromkeys(body.feature_ids)]

    def make() -> Any:
        parts: list[tuple[int | None, Activations]] = []
        facts = []
        n_rows = 0
        for feature_id in feature_ids:
            matching, n_active, n_matching = database.select(feature_id, chosen)
            n_rows += matching.n_active
            state.check_rows(n_rows)  # before more is read
            parts.append((feature_id, matching))
            counts = {"n_active": n_active, "n_matching": n_matching, "n_rows": matching.n_active}
            facts.append({"feature_id": feature_id, **counts})
        head = {
            "version": database.version,
            "n_rows": n_rows,
            "columns": ["feature_id", *columns],
            "features": facts,
        }
        state.count_rows(request, n_rows)
        return encoded(_rows(database, parts, columns, head), form, orient), {"X-Num-Rows": str(n_rows)}

    n_rows = sum(database.most_rows(feature_id, chosen) for feature_id in feature_ids)
    n_read = sum(database.most_rows(feature_id, Selection()) for feature_id in feature_ids)
    held_bytes = _BYTES_A_PAIR * min(n_rows, state.settings.max_rows)
    lane = lane_of(max(n_rows, n_read // _READ_AS_FAST_AS_ONE_ROW))
    return await reply(request, served, form, make, held_bytes=held_bytes, lane=lane)


def _rows(
    database: LocalDatabase, parts: list[tuple[int | None, Activations]], columns: tuple[str, ...], head: dict[str, Any]
) -> Rows:
    """Rows of activations, block by block; with a leading column of the feature where parts name one."""
    block = _BLOCK_PAIRS if set(columns) <= set(OF_ACTIVATIONS) else _BLOCK_ROWS

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        for feature_id, chunk in parts:
            for at in range(0, chunk.n_active, block):
                yield _batch(database, feature_id, _slice(chunk, at, at + block), names)

    first_id, first = parts[0]
    names = [*(() if first_id is None else ("feature_id",)), *columns]
    empty = _batch(database, first_id, _slice(first, 0, 0), names)
    held = sum(chunk.sample_ids.nbytes + chunk.values.nbytes for _, chunk in parts)
    return Rows(empty.schema, batches, head, held)


def _slice(rows: Activations, start: int, stop: int) -> Activations:
    return Activations(rows.sample_ids[start:stop], rows.values[start:stop])


def _batch(database: LocalDatabase, feature_id: int | None, rows: Activations, names: Sequence[str]) -> pa.RecordBatch:
    """Activations with the columns of these names, of which `feature_id` may be one."""
    batch = database.batch([name for name in names if name != "feature_id"], rows.sample_ids, rows.values)
    if "feature_id" not in names:
        return batch
    ids = arrow_of(np.full(rows.n_active, feature_id, dtype=np.uint32))
    return pa.RecordBatch.from_arrays([ids, *batch.columns], names=["feature_id", *batch.schema.names])
