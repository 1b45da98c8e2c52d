"""Parameters, bodies and answers that several routes share, each described once.

The dependencies are `async` though it awaits nothing: FastAPI runs a plain function in one of forty threads of its own.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from splat_serving.database.sample_columns import checked_columns
from splat_serving.database.selection import MOST_ROWS, MOST_SEED, Order, Selection
from splat_serving.http.negotiation import JSON, SHORT_NAMES, TABLE_FORMS, Form, FormName, chosen_form
from splat_serving.http.problems import documented

MOST_CHARACTERS = 200
"""Of a name of a weapon, token or column."""

Accept = Annotated[list[str] | None, Header(include_in_schema=False)]
"""OpenAPI lists the forms with each answer and not as a parameter. Several headers are one list (RFC 9110, section 5.3)."""
Limit = Annotated[int | None, Query(ge=0, le=MOST_ROWS, description="Largest number of rows.")]
Offset = Annotated[int, Query(ge=0, le=MOST_ROWS, description="Number of rows to skip.")]
Sort = Annotated[
    str, Query(max_length=60, description="Column to sort by; prefix - for descending.", examples=["-n_active"])
]
Orient = Annotated[
    Literal["rows", "columns"], Query(description="For JSON: one object per row, or one array per column.")
]
FeatureId = Annotated[int, Path(description="0 to n_features - 1; see /version for the number.", examples=[1])]
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Documented = dict[int | str, dict[str, Any]]
"""Descriptions of responses by status, for the OpenAPI document."""


class Body(BaseModel):
    """The body of a request: known members only, of the types that they have."""

    model_config = ConfigDict(extra="forbid", strict=True)


def cached_router(tag: str) -> APIRouter:
    """Routes whose responses are of one version and have an ETag."""
    unchanged: Documented = {304: {"description": "Not modified."}}
    return APIRouter(tags=[tag], responses=documented(404) | unchanged, default_response_class=Response)


def json_answer(description: str) -> Documented:
    """A response of status 200 in JSON."""
    return {200: {"description": description, "content": {JSON: {}}}}


def table_answer(model: Any = None) -> Documented:
    """A table in every format. model: of the JSON one."""
    ok: dict[str, Any] = {"description": "The rows.", "content": {form: {} for form in TABLE_FORMS}}
    return {200: {**ok, "model": model} if model else ok}


async def selection(
    order: Annotated[Order, Query(description="index: by sample id. activation: strongest first.")] = "index",
    min_activation: Annotated[float | None, Query(description="Only values of at least this.")] = None,
    max_activation: Annotated[float | None, Query(description="Only values of at most this.")] = None,
    weapon: Annotated[
        list[Name] | None,
        Query(max_length=200, description="Only samples with this weapon (id, key or name; may be repeated)."),
    ] = None,
    token: Annotated[
        list[Name] | None,
        Query(max_length=50, description="Only samples with this token (id or name; repeated, with all of them)."),
    ] = None,
    sample_frac: Annotated[
        float | None, Query(description="A random share of the rows, above 0 and at most 1.")
    ] = None,
    seed: Annotated[int, Query(ge=0, le=MOST_SEED, description="Seed of the random share.")] = 0,
    offset: Offset = 0,
    limit: Limit = None,
) -> Selection:
    """Which activations, and in which order."""
    return Selection(
        order=order,
        min_activation=min_activation,
        max_activation=max_activation,
        weapon=tuple(weapon or ()),
        token=tuple(token or ()),
        sample_frac=sample_frac,
        seed=seed,
        offset=offset,
        limit=limit,
    )


async def column_names(
    columns: Annotated[
        str | None,
        Query(
            max_length=500,
            description="Comma-separated: global_index, activation, weapon_id, weapon_name, ability_input_tokens, abilities, "
            "split, kind, is_null, source_row, token_position.",
        ),
    ] = None,
    include_abilities: Annotated[bool, Query(description="false omits the tokens.")] = True,
) -> tuple[str, ...]:
    """Which columns."""
    named = None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    return checked_columns(named, include_abilities)


async def table_form(
    accept: Accept = None,
    format: Annotated[
        FormName | None, Query(description="Name of the format; overrides Accept.", examples=["arrow"])
    ] = None,
) -> Form:
    """The format of a table."""
    return Form(SHORT_NAMES[format], named=True) if format else chosen_form(", ".join(accept or ()), TABLE_FORMS)


Selected = Annotated[Selection, Depends(selection)]
Columns = Annotated[tuple[str, ...], Depends(column_names)]
TableForm = Annotated[Form, Depends(table_form)]


@dataclass(frozen=True, slots=True)
class PageOfAssociations:
    """Which rows of a table of associations, and in which order."""

    sort: str
    min_both: int
    offset: int
    limit: int | None


async def association_page(
    sort: Sort = "-phi",
    min_both: Annotated[
        int, Query(ge=1, le=MOST_ROWS, description="Only features that fire on at least this many samples of the set.")
    ] = 1,
    offset: Offset = 0,
    limit: Limit = 100,
) -> PageOfAssociations:
    """A page of associations."""
    return PageOfAssociations(sort, min_both, offset, limit)


AssociationPage = Annotated[PageOfAssociations, Depends(association_page)]
