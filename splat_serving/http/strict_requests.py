"""Strict requests: known parameters only, no repetition, plain numbers, no duplicate members in a body.

FastAPI takes the last of several values, Python's JSON the last of several members, and pydantic `true` and `1_0` as numbers.
Each of these would silently answer another request than the one that was meant.
"""

import json
from collections import Counter
from typing import Any

from fastapi import Request

from splat_assets.text.numerals import is_number, is_whole
from splat_serving.database.errors import ParameterError

_LEAST, _MOST = -(2**63), 2**64 - 1
"""Range of whole numbers in JSON."""


async def check_as_written(request: Request) -> None:
    """Raise ParameterError for a request with a part that would be ignored or misread."""
    path = request.scope["route"].path_format  # without the prefix of a run or a version
    operation = request.app.openapi()["paths"][path][request.method.lower()]
    declared = {(one["in"], one["name"]): one["schema"] for one in operation.get("parameters", [])}
    for name, value in request.path_params.items():
        _check_number(name, value, declared.get(("path", name), {}))
    known = [name for place, name in declared if place == "query"]
    for name in request.query_params:
        if name not in known:
            takes = f"parameters are {', '.join(known)}" if known else "it takes none"
            raise ParameterError(name[:60], f"unknown parameter of {path}; {takes}")
        values = request.query_params.getlist(name)
        schema = declared["query", name]
        if len(values) > 1 and "array" not in _kinds(schema):
            raise ParameterError(name, f"appears {len(values)} times in the address; write it once")
        _check_number(name, values[0], schema)
    if "requestBody" in operation:
        _check_body(await request.body())


def _check_number(name: str, text: str, schema: dict[str, Any]) -> None:
    kinds = _kinds(schema)
    if "integer" in kinds and not is_whole(text):
        raise ParameterError(name, f"must be a whole number, such as 12, not {text!r:.60}")
    if "number" in kinds and not is_number(text):
        raise ParameterError(name, f"must be a finite number, such as 0.5, not {text!r:.60}")


def _kinds(schema: dict[str, Any]) -> set[str]:
    return {str(one.get("type")) for one in schema.get("anyOf", [schema])}


def _check_body(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_once, parse_int=_held, parse_constant=_finite)
    except (ValueError, RecursionError):  # invalid JSON, which FastAPI reports
        return


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        name, times = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ParameterError("body", f"{name[:60]!r} appears {times} times in one object; write it once")
    return members


def _held(text: str) -> int:
    if len(text) > 20 or not _LEAST <= int(text) <= _MOST:
        raise ParameterError("body", f"{text[:40]} does not fit into 64 bits")
    return int(text)


def _finite(text: str) -> float:
    raise ParameterError("body", f"{text} is not a JSON number")
