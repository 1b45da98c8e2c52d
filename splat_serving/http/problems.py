"""Errors as `application/problem+json` (RFC 9457): one table maps errors to statuses."""

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
    (FeatureNotFoundError, 404, "feature not found"),
    (SampleNotFoundError, 404, "sample not found"),
    (UnknownNameError, 404, "unknown name"),
    (NotComputedError, 404, "not computed"),
    (NotPublishedError, 503, "no published version"),
    (CorruptStoreError, 500, "corrupt store"),
    (FingerprintMismatchError, 500, "fingerprint mismatch"),
    (LayoutError, 404, "not found"),
    (NotAllowedError, 403, "not allowed"),
    (LabelConflictError, 409, "conflict"),
    (TooLargeError, 413, "content too large"),
    (BusyError, 429, "too many requests"),
    (ParameterError, 422, "invalid parameter"),
    (InputError, 422, "invalid input"),
    (NotAcceptableError, 406, "not acceptable"),
    (SplatError, 500, "request failed"),
)


class Problem(BaseModel):
    """A problem (RFC 9457)."""

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
    400: "malformed request",
    401: "authentication required",
    403: "not allowed",
    404: "not found",
    405: "method not allowed",
    406: "not acceptable",
    408: "request timeout",
    409: "conflict",
    413: "content too large",
    414: "URI too long",
    421: "misdirected request",
    422: "invalid parameter",
    429: "too many requests",
    431: "request header fields too large",
    500: "corrupt store or internal server error",
    503: "no published version",
}
_ALWAYS_POSSIBLE = (400, 401, 414, 421, 429, 431, 500)
_OF_A_BODY = (408, 413)
_OF_A_VERSION = (422, 503)
_MOST_DETAIL = 2_000


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, *, title: str = "", **more: Any
) -> Response:
    """A problem as a response, with the status's own title if none is passed; `more` are further members.

    A long detail is truncated.
    """
    shown = detail if len(detail) <= _MOST_DETAIL else f"{detail[:_MOST_DETAIL]}…"
    body = {"type": "about:blank", "title": title or _TITLES[status], "status": status, "detail": shown, **more}
    kept = {"Cache-Control": "no-store", **(headers or {})}
    return Response(orjson.dumps(_writable(body)), status, kept, media_type=PROBLEM)


def _writable(value: Any) -> Any:
    """For JSON, also texts with halves of surrogate pairs, which JSON can write and UTF-8 cannot."""
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
            return problem(status, str(error), headers, title=title, **more)
    raise error


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for the OpenAPI document, and those of every request about a version."""
    return always_documented(*_OF_A_VERSION, 406, *statuses)


def always_documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for the OpenAPI document, and those of every path."""
    schema = {"$ref": "#/components/schemas/Problem"}
    every = sorted({*_ALWAYS_POSSIBLE, *_OF_A_BODY, *statuses})
    return {status: {"description": _TITLES[status], "content": {PROBLEM: {"schema": schema}}} for status in every}


def install(app: FastAPI) -> None:
    """Answer every error of this project and of the framework as a problem."""

    async def of_project(_: Request, error: Exception) -> Response:
        return of_error(error)

    async def of_validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem(400, f"the body is not JSON: {first['ctx']['error']}")
        message = first["msg"].removeprefix("Value error, ")
        if first["loc"] == ("body",):
            if first["type"] != "value_error":  # one is of the body as a whole, which is an object
                message = "the body must be a JSON object, sent with Content-Type: application/json"
            values = {"parameter": "body", "why": message}
            return problem(422, message, code=ParameterError.code, values=values, parameter="body")
        parameter = ".".join(str(part) for part in first["loc"][1:])[:200] or "body"
        return of_error(ParameterError(parameter, message))

    async def of_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        details = {
            404: "this path does not exist; /docs lists all paths",
            405: "method not allowed here (see the Allow header)",
        }
        title = _TITLES.get(error.status_code, "request failed")
        return problem(error.status_code, details.get(error.status_code, str(error.detail)), error.headers, title=title)

    async def of_fault(request: Request, error: Exception) -> Response:
        if isinstance(error, OSError) and (sentence := explained(error)) is not None:
            return problem(500, sentence, title="unreadable file")
        detail = f"internal error: {type(error).__name__}; details are in the server's log"
        return problem(500, detail, title="internal server error")

    app.add_exception_handler(Exception, of_fault)
    app.add_exception_handler(SplatError, of_project)
    app.add_exception_handler(PermissionError, of_fault)  # not every OSError: some mean that the client disconnected
    app.add_exception_handler(NotAcceptableError, of_project)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)
