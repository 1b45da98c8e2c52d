"""Samples, tokens and weapons: one build and its features, features of a token or weapon, and queries on several features."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from fastapi import Path, Query, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from splat_assets.domain.concepts import parse_rule
from splat_serving.database import protocol as db
from splat_serving.database.local import LocalDatabase
from splat_serving.database.sample_columns import OF_SAMPLES, checked_sample_columns
from splat_serving.database.selection import MOST_ROWS
from splat_serving.http.replies import Rows, encoded, json_reply, lane_of, reply
from splat_serving.http.routes.features import association_reply
from splat_serving.http.routes.parameters import (
    AssociationPage,
    Body,
    Limit,
    Name,
    Offset,
    Orient,
    TableForm,
    cached_router,
    json_answer,
    table_answer,
)
from splat_serving.http.state import FromServed, state_of

_BLOCK_SAMPLES = 65_536

router = cached_router("samples")


@router.get("/samples/{sample_id}", summary="One build and its features", responses=json_answer("The build."))
async def sample(
    request: Request,
    served: FromServed,
    sample_id: Annotated[int, Path(description="0 to n_samples - 1; see /version for the number.", examples=[1])],
    order: Annotated[Literal["feature", "activation"], Query(description="Order of the features.")] = "activation",
    limit: Limit = None,
) -> Response:
    """One build as the model read it, and the features that fire on it."""
    database = served.database

    def make() -> Any:
        record = database.sample(sample_id)
        ids, values = record.features.feature_ids, record.features.values
        at = np.argsort(-values, kind="stable") if order == "activation" else np.arange(values.size)
        at = at[:limit]
        return {
            "sample_id": sample_id,
            "version": record.version,
            **record.columns,
            "n_active": int(values.size),
            "features": {"feature_id": ids[at].astype(np.int64), "activation": values[at]},
        }

    return await json_reply(request, served, make)


@router.get("/samples", summary="All builds", responses=table_answer())
async def samples(
    request: Request,
    served: FromServed,
    form: TableForm,
    columns: Annotated[
        str | None, Query(max_length=500, description=f"Comma-separated: {', '.join(OF_SAMPLES)}.")
    ] = None,
    offset: Offset = 0,
    limit: Limit = None,
    orient: Orient = "rows",
) -> Response:
    """Every sample as the model read it, in the order of their ids: row number = sample id."""
    named = checked_sample_columns(None if columns is None else [name.strip() for name in columns.split(",")])
    database = served.database
    n_samples = database.reader.n_samples
    first = min(offset, n_samples)
    stop = n_samples if limit is None else min(first + limit, n_samples)

    def make() -> Any:
        state_of(request).count_rows(request, stop - first)
        empty = next(database.sample_batches(named, 0, 0))
        head = {"version": database.version, "n_samples": n_samples, "n_rows": stop - first}
        rows = Rows(empty.schema, lambda names: database.sample_batches(names, first, stop, _BLOCK_SAMPLES), head)
        return encoded(rows, form, orient), {"X-Total-Count": str(n_samples)}

    return await reply(request, served, form, make, lane=lane_of(stop - first))


async def _frame_reply(
    request: Request, served: FromServed, form: Any, orient: str, frame: Callable[[], pl.DataFrame]
) -> Response:
    def make() -> Any:
        table = frame()
        state_of(request).count_rows(request, table.height)
        head = {"version": served.database.version, "n_rows": table.height}
        return encoded(Rows.of_frame(table, head), form, orient), {}

    return await reply(request, served, form, make, lane=lane_of(served.database.reader.n_features))


def _add_table(path: str, summary: str, description: str, table_of: Callable[[LocalDatabase], pl.DataFrame]) -> None:
    """A route for a whole table of the database."""

    async def table(request: Request, served: FromServed, form: TableForm, orient: Orient = "rows") -> Response:
        return await _frame_reply(request, served, form, orient, partial(table_of, served.database))

    router.get(path, summary=summary, description=description, responses=table_answer())(table)


_add_table(
    "/tokens",
    "The vocabulary",
    "The vocabulary, with the number of builds that have each token.",
    LocalDatabase.tokens,
)
_add_table(
    "/suggestions",
    "The best rule for each feature",
    "The rule on builds that describes each feature best, with its scores on held-out builds.",
    LocalDatabase.suggestions,
)
_add_table(
    "/feature-map",
    "Features in two dimensions",
    "Position and cluster of each feature, by decoder direction and by co-activation; null without neighbours.",
    LocalDatabase.feature_map,
)
_add_table("/weapons", "The weapons", "The weapons, with class, sub and special.", LocalDatabase.weapons)


@router.get("/tokens/{token}/features", summary="Features of a token", responses=table_answer())
async def features_of_token(
    request: Request,
    served: FromServed,
    token: Annotated[Name, Path(description="Id or name, as /tokens lists them.", examples=["3"])],
    form: TableForm,
    page: AssociationPage,
    orient: Orient = "rows",
) -> Response:
    """Association of every feature with a token (by id or name): most correlated first."""
    compute = served.database.features_of_token
    return await association_reply(request, served, form, page, orient, "token", compute, token)


@router.get("/tokens/{token}/influences", summary="Influences on a token", responses=table_answer())
async def influences_on(
    request: Request,
    served: FromServed,
    token: Annotated[Name, Path(description="Id or name, as /tokens lists them.", examples=["3"])],
    form: TableForm,
    orient: Orient = "rows",
) -> Response:
    """Change of the token's logit per unit of every feature (`W_dec @ W_out^T`), in the order of features."""
    return await _frame_reply(request, served, form, orient, partial(served.database.influences_on, token))


@router.get("/weapons/{weapon}/features", summary="Features of a weapon", responses=table_answer())
async def features_of_weapon(
    request: Request,
    served: FromServed,
    weapon: Annotated[Name, Path(description="Id, key or name, as /weapons lists them.", examples=["3"])],
    form: TableForm,
    page: AssociationPage,
    orient: Orient = "rows",
) -> Response:
    """Association of every feature with a weapon (by id, key or name): most correlated first."""
    compute = served.database.features_of_weapon
    return await association_reply(request, served, form, page, orient, "weapon", compute, weapon)


class RuleBody(Body):
    """A rule on builds: `{"ability": "ninja_squid"}`, `{"ability": "swim_speed_up", "at_least": 21}`,
    `{"weapon": "class", "is": ["roller"]}`, or `all`, `any`, `not` of rules."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rule": {"ability": "swim_speed_up", "at_least": 3}}]})
    rule: dict[str, Any]


@router.post("/rules/features", summary="Features of a rule", responses=table_answer())
async def features_of_rule(
    request: Request,
    served: FromServed,
    body: RuleBody,
    form: TableForm,
    page: AssociationPage,
    orient: Orient = "rows",
) -> Response:
    """Association of every feature with the builds on which a rule holds: most correlated first."""
    rule, compute = parse_rule(body.rule), served.database.features_of_rule
    return await association_reply(request, served, form, page, orient, "rule", compute, rule)


class ConditionBody(Body):
    """A feature that fires with a value from min (above 0 if left out) to max."""

    feature: int
    min: float | None = None
    max: float | None = None


Conditions = Annotated[list[ConditionBody], Field(max_length=64)]


class QueryBody(Body):
    """Samples on which all of `all`, at least one of `any` and none of `none` hold."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"all": [{"feature": 1, "min": 0.5}, {"feature": 2}], "none": [{"feature": 3}], "limit": 10}]
        },
    )
    all: Conditions = []
    any: Conditions = []
    none: Conditions = []
    weapon: Annotated[list[Name], Field(max_length=200)] = []
    token: Annotated[list[Name], Field(max_length=50)] = []
    offset: Annotated[int, Field(ge=0, le=MOST_ROWS)] = 0
    limit: Annotated[int, Field(ge=0, le=1_000_000)] = 100

    def query(self) -> db.Query:
        """The query."""
        parts: dict[str, Any] = {
            name: tuple(db.Condition(one.feature, one.min, one.max) for one in getattr(self, name))
            for name in ("all", "any", "none")
        }
        parts |= {"weapon": tuple(self.weapon), "token": tuple(self.token)}
        return db.Query(**parts, offset=self.offset, limit=self.limit)


@router.post("/query", summary="Samples by firing features", responses=table_answer())
async def query(
    request: Request, served: FromServed, body: QueryBody, form: TableForm, orient: Orient = "rows"
) -> Response:
    """Samples by firing features: `{"all": [{"feature": 1, "min": 0.5}, {"feature": 2}], "none": [{"feature": 3}]}`."""
    database, conditions = served.database, body.query()
    for feature_id in conditions.features:
        database.checked_feature(feature_id)

    def make() -> Any:
        result = database.query(conditions)
        state_of(request).count_rows(request, result.table.num_rows)
        head = {"version": result.version, "n_matching": result.n_matching, "n_rows": result.table.num_rows}
        return encoded(Rows.of_table(result.table, head), form, orient), {"X-Total-Count": str(result.n_matching)}

    return await reply(request, served, form, make, lane="long")  # reads every feature that it names
