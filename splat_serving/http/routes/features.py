"""Features: the table of all, the record of one, and co-activation."""

import operator
import re
from collections.abc import Callable
from typing import Annotated, Any

import orjson
import polars as pl
from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from splat_serving.database.errors import NotComputedError, ParameterError
from splat_serving.database.protocol import Associations
from splat_serving.database.sample_columns import check_each_once
from splat_serving.http.negotiation import JSON, Form
from splat_serving.http.replies import Body, Rows, encoded, json_reply, lane_of, reply
from splat_serving.http.routes.parameters import (
    AssociationPage,
    FeatureId,
    Limit,
    Offset,
    Orient,
    PageOfAssociations,
    Sort,
    TableForm,
    cached_router,
    json_answer,
    table_answer,
)
from splat_serving.http.state import FromServed, Served, ServerState, state_of
from splat_serving.http.workers import Lane
from splat_serving.labels.book import LabelBook, label_as_json
from splat_serving.labels.event import Event

router = cached_router("features")

_CONDITION = re.compile(r"([a-z0-9_]{1,40})\s*(>=|<=|!=|==|=|>|<)\s*(-?[0-9.eE+-]{1,40})")
_COMPARE = {">=": operator.ge, "<=": operator.le, "!=": operator.ne, "==": operator.eq, "=": operator.eq}
_COMPARE |= {">": operator.gt, "<": operator.lt}
Filters = Annotated[
    list[Annotated[str, Field(max_length=120)]] | None,
    Query(
        max_length=20,
        description="Condition, such as n_active>=100 (may be repeated; all must hold).",
        examples=["n_active>=100"],
    ),
]


@router.get("/features", summary="The table of all features", responses=table_answer())
async def features(
    request: Request,
    served: FromServed,
    form: TableForm,
    sort: Sort = "feature_id",
    filter: Filters = None,
    columns: Annotated[str | None, Query(max_length=1000, description="Comma-separated columns of the table.")] = None,
    offset: Offset = 0,
    limit: Limit = None,
    orient: Orient = "rows",
) -> Response:
    """The table of all features, filtered and sorted here. JSON without `limit` lists only their ids (the guide's shape)."""
    database = served.database

    def make() -> Any:
        ids_only = form.media_type == JSON and limit is None and columns is None
        if ids_only and sort == "feature_id" and not filter:
            total = database.reader.n_features
            table = pl.DataFrame({"feature_id": range(min(offset, total), total)}, {"feature_id": pl.UInt32})
        else:
            table, total = _selected(database.features(), sort, filter or [], columns, offset, limit)
        state_of(request).count_rows(request, table.height)
        head: dict[str, Any] = {"version": database.version, "total": total, "offset": offset, "n_rows": table.height}
        if "feature_id" in table.columns:
            head["feature_ids"] = table["feature_id"].to_list()
        if ids_only:
            return Body(iter([[memoryview(orjson.dumps(head))]])), {"X-Total-Count": str(total)}
        if form.media_type != JSON:
            head.pop("feature_ids", None)
        rows = Rows.of_frame(table, head)
        return encoded(rows, form, orient), {"X-Total-Count": str(total)}

    n_features = database.reader.n_features
    return await reply(
        request, served, form, make, lane=lane_of(n_features if limit is None else min(limit, n_features))
    )


def _selected(
    table: pl.DataFrame, sort: str, conditions: list[str], columns: str | None, offset: int, limit: int | None
) -> tuple[pl.DataFrame, int]:
    """The requested page of the table, and the number of rows that match."""
    for text in conditions:
        table = table.filter(_condition(text, table.columns))
    name = sort.removeprefix("-")
    _known("sort", name, table.columns)
    table = table.sort(name, descending=sort.startswith("-"), nulls_last=True, maintain_order=True)
    total = table.height
    if columns is not None:
        names = [one.strip() for one in columns.split(",") if one.strip()]
        for one in names:
            _known("columns", one, table.columns)
        check_each_once(names)
        table = table.select(names or table.columns)
    return table.slice(offset, limit), total


def _condition(text: str, names: list[str]) -> pl.Expr:
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise ParameterError(
            "filter", f"{text[:60]!r} is not a condition; write a column, >= <= > < = or !=, and a number"
        )
    name, sign, number = match.groups()
    _known("filter", name, names)
    try:
        value = float(number)
    except ValueError:
        raise ParameterError("filter", f"{number!r} is not a number") from None
    expression: pl.Expr = _COMPARE[sign](pl.col(name), value)
    return expression


def _known(parameter: str, name: str, names: list[str]) -> None:
    if name not in names:
        raise ParameterError(parameter, f"unknown column {name[:40]!r}; choose from {', '.join(names)}")


@router.get("/features/{feature_id}", summary="Everything about one feature", responses=json_answer("The record."))
async def feature(request: Request, served: FromServed, feature_id: FeatureId) -> Response:
    """Statistics, histogram, influences, neighbours, examples and label of one feature; null is "not computed"."""
    served.database.checked_feature(feature_id)
    label: Event | None = None

    def of_label() -> str:
        nonlocal label
        label = _label_of(state_of(request), served, feature_id)
        return orjson.dumps(label_as_json(label)).decode()

    def make() -> dict[str, Any]:
        summary = served.database.feature(feature_id)
        return {name: getattr(summary, name) for name in summary.__slots__} | {"label": label_as_json(label)}

    # A label changes while the version stays: it is part of the tag.
    return await json_reply(request, served, make, of_label)


def _label_of(state: ServerState, served: Served, feature_id: int) -> Event | None:
    try:
        log = state.labels(served)
    except NotComputedError:
        return None
    return LabelBook(log, served.database.reader.n_features).label(feature_id)


@router.get("/coactivation/{feature_id}", summary="Features that fire together with one", responses=table_answer())
async def coactivation(
    request: Request,
    served: FromServed,
    feature_id: FeatureId,
    form: TableForm,
    page: AssociationPage,
    orient: Orient = "rows",
) -> Response:
    """Co-activation of every other feature with this one: samples on which both fire, lift, correlation."""
    served.database.checked_feature(feature_id)
    return await association_reply(
        request, served, form, page, orient, "coactivation", served.database.coactivation, feature_id
    )


async def association_reply(
    request: Request,
    served: Served,
    form: Form,
    page: PageOfAssociations,
    orient: str,
    kind: str,
    compute: Callable[[Any], Associations],
    subject: Any,
) -> Response:
    """A page of the association table that compute returns for a subject (of this kind), cached by the server."""
    state, database = state_of(request), served.database
    key = (database.version, database.name, kind, subject)

    def make() -> Any:
        associations = state.cache.get_or_make(key, lambda: compute(subject), lambda one: int(one.table.nbytes))
        frame = pl.from_arrow(associations.table)
        assert isinstance(frame, pl.DataFrame)
        frame = frame.filter(pl.col("n_both") >= page.min_both)
        table, total = _selected(frame, page.sort, [], None, page.offset, page.limit)
        state.count_rows(request, table.height)
        head = {
            "version": associations.version,
            "of": associations.what,
            "n_set": associations.n_set,
            "n_samples": associations.n_samples,
            "total": total,
            "n_rows": table.height,
        }
        rows = Rows.of_frame(table, head)
        return encoded(rows, form, orient), {"X-Total-Count": str(total)}

    lane: Lane = "short" if state.cache.has(key) else "long"
    return await reply(request, served, form, make, lane=lane)
