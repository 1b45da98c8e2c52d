"""Requests to an activation server: which path, which parameters, which body. No I/O here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import orjson

from splat_assets.errors import InputError
from splat_serving.database.protocol import Query
from splat_serving.database.sample_columns import checked_columns
from splat_serving.database.selection import Selection

JSON = "application/json"
STREAM = "application/vnd.apache.arrow.stream"
ALL_ROWS = (("limit", str(2**31 - 1)),)
_LONGEST_PARAMETERS = 8_000  # of the 16 KiB that the server reads of a URL
_EVERYTHING = Selection()
_FIELDS = {
    "order": str,
    "min_activation": float,
    "max_activation": float,
    "weapon": list,
    "token": list,
    "sample_frac": float,
    "seed": int,
    "offset": int,
    "limit": int,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. streamed: the body of a good answer is left to be read piece by piece."""

    path: str
    method: str = "GET"
    params: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None
    accept: str = JSON
    streamed: bool = False

    @property
    def fits_a_url(self) -> bool:
        """Whether the server reads a URL with these parameters."""
        return len(urlencode(self.params)) <= _LONGEST_PARAMETERS

    def build(self, http: httpx2.Client) -> httpx2.Request:
        """The request as a client of httpx2 sends it."""
        headers = {"Accept": self.accept}
        if self.body is not None:
            headers["Content-Type"] = JSON
        content = None if self.body is None else orjson.dumps(self.body, option=orjson.OPT_SERIALIZE_NUMPY)
        return http.build_request(
            self.method, self.path, params=list(self.params) or None, content=content, headers=headers
        )


def connection(url: str, token: str | None, timeout: float) -> httpx2.Client:
    """A client of httpx2 for a server. InputError for an invalid URL or token.

    Proxies of the environment are for other machines: a server on this one is asked directly.
    """
    try:
        parsed = httpx2.URL(url)
        parsed.host.encode("idna")
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise InputError(f"{url!r} is not a URL: {error}") from error
    port = 80 if parsed.port is None else parsed.port
    if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < port < 2**16:
        raise InputError(f"{url!r} is not the URL of a server, such as http://127.0.0.1:8765 or https://example.org")
    headers = {"Accept-Encoding": "identity"}
    if token is not None:
        headers["Authorization"] = f"Bearer {_checked_token(token.strip())}"
    return httpx2.Client(base_url=url, headers=headers, timeout=timeout, trust_env=not _is_this_machine(parsed.host))


def for_feature(feature_id: int, selection: Selection | None, columns: Sequence[str] | None) -> Request:
    """The request for the activations of one feature."""
    params: list[tuple[str, str]] = []
    for name, value in selection_fields(selection).items():
        params += [(name, one) for one in value] if isinstance(value, list) else [(name, str(value))]
    if columns is not None:
        params.append(("columns", ",".join(checked_columns(columns))))
    return Request(f"/activations/{feature_id}", params=tuple(params), accept=STREAM)


def selection_fields(selection: Selection | None) -> dict[str, Any]:
    """What a selection says beyond the default, by parameter."""
    chosen = selection or _EVERYTHING
    values = {name: getattr(chosen, name) for name in _FIELDS}
    return {name: _FIELDS[name](value) for name, value in values.items() if value != getattr(_EVERYTHING, name)}


def query_fields(query: Query) -> dict[str, Any]:
    """The body of a query, without its page."""
    fields: dict[str, Any] = {"weapon": list(query.weapon), "token": list(query.token)}
    for name in ("all", "any", "none"):
        conditions = getattr(query, name)
        fields[name] = [{"feature": one.feature, "min": one.min, "max": one.max} for one in conditions]
    return fields


def segment(name: str) -> str:
    """A text as one part of a path, dots included: a path with `..` would be another one."""
    return quote(name, safe="").replace(".", "%2E")


def _checked_token(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError("the token must be ASCII characters without spaces, as in the server's --token-file")
    return token


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
