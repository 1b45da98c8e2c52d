"""Errors as `application/problem+json` (RFC 9457): one table says which error is which status."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from splat_assets.errors import InputError, SplatError
from splat_assets.store.documents import explained
from splat_assets.store.errors import (
    CorruptStoreError,
    FeatureNotFoundError,
    FingerprintMismatchError,
    LayoutError,
    NotPublishedError,
    SampleNotFoundError,
)
from splat_serving.database.errors import (
    BusyError,
    LabelConflictError,
    NotAllowedError,
    NotComputedError,
    ParameterError,
    TooLargeError,
    UnknownNameError,
)
from splat_serving.http.negotiation import NotAcceptableError

PROBLEM = "application/problem+json"

_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (FeatureNotFoundError, 404, "no such feature"),
    (SampleNotFoundError, 404, "no such sample"),
    (UnknownNameError, 404, "no such name"),
    (NotComputedError, 404, "not computed"),
    (NotPublishedError, 503, "no version is published"),
    (CorruptStoreError, 500, "the store is damaged"),
    (FingerprintMismatchError, 500, "made from something else"),
    (LayoutError, 404, "not there"),
    (NotAllowedError, 403, "not allowed"),
    (LabelConflictError, 409, "somebody else was faster"),
    (TooLargeError, 413, "too large"),
    (BusyError, 429, "too many requests"),
    (ParameterError, 422, "a parameter means nothing"),
    (InputError, 422, "the input breaks a rule"),
    (NotAcceptableError, 406, "no acceptable form"),
    (SplatError, 500, "this cannot be done here"),
)


class Problem(BaseModel):
    """What went wrong."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str | None = None
    """The kind of error; it stays as it is when texts change. None where only the status says it."""
    values: dict[str, Any] | None = None
    """What the detail speaks of, by name."""
    parameter: str | None = None


_TITLES = {
    400: "this cannot be read",
    401: "a token is needed",
    403: "not allowed",
    404: "not there",
    405: "another method",
    406: "no acceptable form",
    408: "too slow",
    409: "somebody else was faster",
    413: "too large",
    414: "the URL is too long",
    421: "another host",
    422: "a parameter means nothing",
    429: "too many requests",
    431: "the head is too large",
    500: "the store is damaged, or the server has a fault",
    503: "no version is published",
}
_ALWAYS_POSSIBLE = (400, 401, 414, 421, 429, 431, 500)
_OF_A_BODY = (408, 413)
_OF_A_VERSION = (422, 503)
_MOST_DETAIL = 2_000


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A problem as a response; `more` are further members. Of a detail without end only the beginning is sent."""
    shown = detail if len(detail) <= _MOST_DETAIL else f"{detail[:_MOST_DETAIL]}…"
    body = {"type": "about:blank", "title": title, "status": status, "detail": shown, **more}
    kept = {"Cache-Control": "no-store", **(headers or {})}
    return Response(_encoded(body), status, kept, media_type=PROBLEM)


def _encoded(body: dict[str, Any]) -> bytes:
    """JSON, also of texts with halves of surrogate pairs, which JSON can write and UTF-8 cannot."""
    return orjson.dumps(_writable(body))


def _writable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _writable(one) for key, one in value.items()}
    if isinstance(value, str):
        return value[: _MOST_DETAIL + 1].encode(errors="replace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # as text: beyond what readers of JSON hold
        return str(value)
    return value


def of_error(error: Exception) -> Response:
    """The response to an error of the table; any other error is raised again."""
    for kind, status, title in _STATUS:
        if isinstance(error, kind):
            more: dict[str, Any] = {"code": error.code} if isinstance(error, SplatError) else {}
            if isinstance(error, SplatError) and error.values:
                more["values"] = error.values
            if isinstance(error, ParameterError):
                more["parameter"] = error.parameter
            if isinstance(error, NotAcceptableError):
                more["types"] = list(error.forms)
            headers = {503: {"Retry-After": "5"}, 429: {"Retry-After": "1"}}.get(status)
            return problem(status, title, str(error), headers, **more)
    raise error


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for the OpenAPI document, and those that any question about a version can be answered with."""
    return always_documented(*_OF_A_VERSION, 406, *statuses)


def always_documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for the OpenAPI document, and those that every path can answer."""
    schema = {"$ref": "#/components/schemas/Problem"}
    every = sorted({*_ALWAYS_POSSIBLE, *_OF_A_BODY, *statuses})
    return {status: {"description": _TITLES[status], "content": {PROBLEM: {"schema": schema}}} for status in every}


def _of_the_body(why: str) -> Response:
    values = {"parameter": "body", "why": why}
    return problem(422, _TITLES[422], why, code=ParameterError.code, values=values, parameter="body")


def install(app: FastAPI) -> None:
    """Answer every error of this project and of the framework as a problem."""

    async def of_project(_: Request, error: Exception) -> Response:
        return of_error(error)

    async def of_validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem(400, _TITLES[400], f"the body is no JSON: {first['ctx']['error']}")
        said = first["msg"].removeprefix("Value error, ")
        if first["loc"] == ("body",) and first["type"] == "value_error":  # of the body as a whole, which is an object
            return _of_the_body(said)
        if first["loc"] == ("body",):
            wanted = "the body must be a JSON object, sent with Content-Type: application/json"
            return _of_the_body(wanted)
        parameter = ".".join(str(part) for part in first["loc"][1:])[:200] or "body"
        return of_error(ParameterError(parameter, said))

    async def of_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        details = {404: "there is no such path; /docs lists them", 405: "this path takes another method (see Allow)"}
        title = _TITLES.get(error.status_code, "not possible")
        return problem(error.status_code, title, details.get(error.status_code, str(error.detail)), error.headers)

    async def of_fault(request: Request, error: Exception) -> Response:
        if isinstance(error, OSError) and (sentence := explained(error)) is not None:
            return problem(500, "a file cannot be read here", sentence)
        detail = f"this is a fault of the server: {type(error).__name__}; its log has the rest"
        return problem(500, "a fault of the server", detail)

    app.add_exception_handler(Exception, of_fault)
    app.add_exception_handler(SplatError, of_project)
    app.add_exception_handler(PermissionError, of_fault)  # not every OSError: one is that the client has gone
    app.add_exception_handler(NotAcceptableError, of_project)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)
