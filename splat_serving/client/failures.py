"""What a failed request means: the error that a caller sees, and whether the request is sent again. No I/O here."""

import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx2
import orjson
import pyarrow as pa

from splat_assets.errors import InputError, SplatError
from splat_assets.store.errors import (
    CorruptStoreError,
    FeatureNotFoundError,
    FingerprintMismatchError,
    LayoutError,
    NotPublishedError,
    SampleNotFoundError,
)
from splat_serving.database.errors import (
    LabelConflictError,
    NotAllowedError,
    NotComputedError,
    ParameterError,
    ServerError,
    UnknownNameError,
)

STREAM_FAULTS = (httpx2.TransportError, pa.ArrowException, OSError)
_PROBLEM = "application/problem+json"
_MOST_DIGITS = 100  # of an id in a problem
_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 10.0
_BY_CODE: Mapping[str, type[SplatError]] = {
    kind.code: kind
    for kind in (
        CorruptStoreError,
        FeatureNotFoundError,
        FingerprintMismatchError,
        InputError,
        LabelConflictError,
        LayoutError,
        NotAllowedError,
        NotComputedError,
        NotPublishedError,
        ParameterError,
        SampleNotFoundError,
        UnknownNameError,
    )
}
"""The errors that the databases of this machine raise, too; any other answer is a ServerError."""


def error_of_response(response: httpx2.Response, where: str) -> SplatError:
    """What a local database raises, by the `code` of the response's problem (RFC 9457); a ServerError where it has none."""
    problem = _problem_in(response)
    status, detail = response.status_code, str(problem.get("detail", ""))
    kind = _BY_CODE.get(str(problem.get("code")))
    if kind is not None:
        values = problem.get("values")
        with suppress(TypeError, ValueError):  # of another release than this client
            return kind(**_checked(values)) if isinstance(values, dict) else kind(detail)
    if (status, problem.get("code")) == (404, None) and problem:
        return ServerError(f"{where}: {detail}; the server is of another release than this client", 404)
    return ServerError(f"{where} answered {status}: {detail or 'no explanation'}", status)


def error_without_response(error: httpx2.RequestError | httpx2.InvalidURL, url: str) -> ServerError:
    """What it means that a request got no answer."""
    why = str(error) or type(error).__name__
    if isinstance(error, httpx2.InvalidURL):
        return ServerError(f"this cannot be sent to {url}: {why}")
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return ServerError(
            f"no activation server answers at {url} ({why}): start one with `splat serve`, or name the URL of one"
        )
    if isinstance(error, httpx2.TimeoutException):
        return ServerError(
            f"the activation server at {url} did not answer in time ({why}): ask for less, or allow a longer timeout"
        )
    return ServerError(f"the connection to the activation server at {url} broke ({why}): see the server's log")


def broken_stream(error: Exception, url: str) -> ServerError:
    """The error for a stream that ended before its end, or is not one."""
    return ServerError(f"the answer of {url} breaks off or is not an Arrow stream ({error}): see the server's log")


def seconds_before_retry(failure: httpx2.Response | Exception, attempt: int) -> float | None:
    """How long to wait before a request is sent again; None where that would not help, or the server wants too long a wait."""
    backoff = _FIRST_BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1)
    if isinstance(failure, Exception):
        is_slow = isinstance(failure, httpx2.TimeoutException) and not isinstance(failure, httpx2.ConnectTimeout)
        return backoff if isinstance(failure, httpx2.TransportError) and not is_slow else None
    if failure.status_code not in (429, 503):
        return None
    stated = failure.headers.get("retry-after", "")
    seconds = float(stated) if stated.isascii() and stated.isdigit() else backoff
    return seconds if seconds <= _LONGEST_WAIT_SECONDS else None


def _problem_in(response: httpx2.Response) -> Mapping[str, Any]:
    if response.headers.get("content-type", "").startswith(_PROBLEM):
        with suppress(orjson.JSONDecodeError):
            problem = orjson.loads(response.content)
            return problem if isinstance(problem, dict) else {}
    return {}


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a problem as the errors take them: numbers (beyond 64 bits they come as text) and texts. ValueError."""
    checked: dict[str, Any] = {}
    for name, value in values.items():
        is_number = name.endswith("_id") or name.startswith("n_")
        if (
            not isinstance(value, str | int)
            or isinstance(value, bool)
            or len(str(value)) > (_MOST_DIGITS if is_number else 10_000)
        ):
            raise ValueError(f"{name}: {type(value).__name__}")
        checked[name] = int(value) if is_number else str(value)
    return checked
