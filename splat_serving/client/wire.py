"""The activation server's protocol from the asking side: questions as requests, answers as values and errors. No I/O here.

A question is a generator. It yields what is to be done next, a `Request` to send or a `Pause` to wait, is sent what came back,
and returns the answer's value. A client drives it with its own kind of I/O, so every client asks, retries and fails alike.
"""

import random
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx2
import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from splat_assets.domain.concepts import Rule
from splat_assets.errors import InputError
from splat_assets.store.activations import SampleFeatures, checked_id, feature_id_dtype
from splat_assets.store.errors import (
    CorruptStoreError,
    FeatureNotFoundError,
    FingerprintMismatchError,
    LayoutError,
    NotPublishedError,
    SampleNotFoundError,
)
from splat_assets.wording import counted
from splat_serving.client.arrow_reading import BatchDecoder
from splat_serving.database.errors import (
    LabelConflictError,
    NotAllowedError,
    NotComputedError,
    ParameterError,
    ServerError,
    UnknownNameError,
)
from splat_serving.database.protocol import (
    About,
    Associations,
    FeatureActivations,
    FeatureSummary,
    Query,
    QueryResult,
    Sample,
)
from splat_serving.database.published_version import Published
from splat_serving.database.sample_columns import checked_columns, checked_sample_columns
from splat_serving.database.selection import Selection

JSON = "application/json"
STREAM = "application/vnd.apache.arrow.stream"
_PROBLEM = "application/problem+json"
_VERSION_HEADER = "x-store-version"
_QUERY_ROWS = 1_000_000  # the most that the server gives of one query
_MANY_FEATURES = 1_024  # the most that the server takes in one question
_ALL_ROWS = 2**31 - 1
_MOST_DIGITS = 100  # of an id in a problem
_LONGEST_PARAMETERS = 8_000  # of the 16 KiB that the server reads of a URL
_OTHER_SHAPE = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    pa.ArrowException,
    pl.exceptions.PolarsError,
)
STREAM_FAULTS = (httpx2.TransportError, pa.ArrowException, OSError)
_OF_FRAMES = {
    "/features": ("feature_id", "n_active"),
    "/suggestions": ("feature_id", "suggested"),
    "/feature-map": ("feature_id", "decoder_x", "decoder_y", "decoder_cluster", "coactivation_cluster"),
    "/tokens": ("token_id", "token"),
    "/weapons": ("weapon_id", "key", "name"),
}
_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0

Value = TypeVar("Value")
Params = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. streamed: the body of a good answer is left to be read piece by piece."""

    path: str
    method: str = "GET"
    params: Params = ()
    body: Mapping[str, Any] | None = None
    accept: str = JSON
    streamed: bool = False

    @property
    def n_characters(self) -> int:
        """Of the parameters, as they stand in a URL."""
        return len(urlencode(self.params))

    def arguments(self) -> dict[str, Any]:
        """The arguments of `build_request` of a client of httpx2."""
        headers = {"Accept": self.accept}
        if self.body is not None:
            headers["Content-Type"] = JSON
        return {
            "method": self.method,
            "url": self.path,
            "params": list(self.params) or None,
            "content": None if self.body is None else orjson.dumps(self.body, option=orjson.OPT_SERIALIZE_NUMPY),
            "headers": headers,
        }


@dataclass(frozen=True, slots=True)
class Pause:
    """How long to wait before going on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. headers: names in lower case. open_response: of a streamed request, the response whose body is unread."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    open_response: Any = field(default=None)


@dataclass(frozen=True, slots=True)
class Failure:
    """Nothing came back. error: why, as a caller is to see it. again: whether asking again may help."""

    error: ServerError
    again: bool


Steps = Generator[Request | Pause, Answer | Failure | None, Value]
Reading = Callable[[Mapping[str, Any]], Value]
"""Makes a value of the members of an answer. What it raises of Python's own errors means that the answer has another shape."""


def connection(url: str, token: str | None, timeout: float) -> dict[str, Any]:
    """The arguments of a client of httpx2. InputError for a URL or a token that is none.

    Proxies of the environment are for other machines: a server on this one is asked directly.
    """
    try:
        parsed = httpx2.URL(url)
        parsed.host.encode("idna")
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise InputError(f"{url!r} is no URL: {error}") from error
    if (
        parsed.scheme not in ("http", "https")
        or not parsed.host
        or not 0 < (80 if parsed.port is None else parsed.port) < 2**16
    ):
        raise InputError(
            f"{url!r} is no URL of a server; one begins with http:// or https://, as http://127.0.0.1:8765"
        )
    headers = {"Accept-Encoding": "identity"}
    if token is not None:
        headers["Authorization"] = f"Bearer {_checked_token(token.strip())}"
    return {"base_url": url, "headers": headers, "timeout": timeout, "trust_env": not _is_this_machine(parsed.host)}


def _checked_token(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            "the token is none: one is a text of ASCII characters without spaces, as in the server's --token-file"
        )
    return token


def answer_of(response: Any, streamed: bool) -> Answer:
    """The answer in a response of httpx2, whose body was read unless streamed."""
    return Answer(
        response.status_code,
        {name.lower(): value for name, value in response.headers.items()},
        b"" if streamed else response.content,
        response if streamed else None,
    )


def failure_of(error: httpx2.RequestError | httpx2.InvalidURL, url: str) -> Failure:
    """What it means that a request got no answer."""
    why = str(error) or type(error).__name__
    if isinstance(error, httpx2.InvalidURL):
        return Failure(ServerError(f"this cannot be asked of {url}: {why}"), again=False)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        text = f"no activation server answers at {url} ({why}): start one with `splat serve`, or name the URL of one"
        return Failure(ServerError(text), again=True)
    if isinstance(error, httpx2.TimeoutException):
        text = f"the activation server at {url} did not answer in time ({why}): ask for less, or allow a longer timeout"
        return Failure(ServerError(text), again=False)
    text = f"the connection to the activation server at {url} broke ({why}): see the server's log"
    return Failure(ServerError(text), again=isinstance(error, httpx2.TransportError))


def end_of_stream(decoder: BatchDecoder) -> None:
    """Raise pyarrow.ArrowInvalid unless the stream came to its end, with as many rows as its head says, of what it says."""
    decoder.finish()
    assert decoder.schema is not None
    _check_n_rows(decoder.schema, decoder.n_rows)
    missing = sorted({"version", "n_active", "n_matching"} - set(_facts_of(decoder.schema)[0]))
    if missing:
        raise pa.ArrowInvalid(f"its head does not say {', '.join(missing)}")


def broken_stream(error: Exception, url: str) -> ServerError:
    """The error for a stream that ended before its end, or is none."""
    return ServerError(f"the answer of {url} breaks off or is no Arrow stream ({error}): see the server's log")


class Questions:
    """The questions that one client asks, and what it knows of the server that answers them."""

    def __init__(
        self,
        url: str,
        run: str | None,
        version: str | None,
        expect: Mapping[str, str] | str | None,
        retries: int,
    ) -> None:
        """As `ActivationClient`."""
        for what, name in (("run", run), ("version", version)):
            if name is not None and not (name and name.isprintable()):
                raise InputError(f"{name!r} is no name of a {what}; leave it out for the server's own choice")
        self.url = url
        self._run = "" if run is None else f"/runs/{_segment(run)}"
        self._pinned = version
        self._expected = {"version": expect} if isinstance(expect, str) else dict(expect or {})
        self._retries = retries
        self._checked: str | None = None
        self._n_features: dict[str, int] = {}

    def about(self) -> Steps[About]:
        """See `ActivationDatabase.about`."""
        return (yield from self._ask(Request("/version"), _about))

    def activations(
        self, feature_id: int, selection: Selection | None, columns: Sequence[str] | None
    ) -> Steps[FeatureActivations]:
        """See `ActivationDatabase.activations`."""
        feature_id = checked_id("feature", feature_id)
        request = _of_feature(feature_id, selection, columns)
        if request.n_characters > _LONGEST_PARAMETERS:
            return (yield from self.activations_of_many([feature_id], selection, columns))[feature_id]

        def read(answer: Answer) -> FeatureActivations:
            table, facts = self._table(answer, checked_columns(columns))
            n_active, n_matching = int(facts["n_active"]), int(facts["n_matching"])
            return FeatureActivations(feature_id, facts["version"], n_active, n_matching, table)

        return (yield from self._ask(request, read))

    def stream(self, feature_id: int, selection: Selection | None, columns: Sequence[str] | None) -> Steps[Answer]:
        """The answer whose body is an Arrow stream of the activations, still to be read.

        With fingerprints to expect, the version is checked before and the stream pinned to it. ParameterError for more names of
        weapons and tokens than fit into a URL.
        """
        request = _of_feature(checked_id("feature", feature_id), selection, columns)
        if request.n_characters > _LONGEST_PARAMETERS:
            raise ParameterError(
                "weapon", "so many names cannot be asked for as a stream: ask `activations`, or for fewer"
            )
        if self._expected:
            yield from self._check(self._pinned)
        return (yield from self._sent(replace(request, streamed=True), self._checked))

    def activations_of_many(
        self, feature_ids: Sequence[int], selection: Selection | None, columns: Sequence[str] | None
    ) -> Steps[dict[int, FeatureActivations]]:
        """The activations of each feature, all of one version, in as few requests as the server's limits allow."""
        named = None if columns is None else list(checked_columns(columns))
        body = {**_fields(selection or Selection()), "columns": named}
        ids = list(dict.fromkeys(checked_id("feature", feature_id) for feature_id in feature_ids))
        yield from self._refuse_beyond(ids)
        groups = [ids[at : at + _MANY_FEATURES] for at in range(0, len(ids), _MANY_FEATURES)][::-1]
        found: dict[int, FeatureActivations] = {}
        version: str | None = None
        while groups:
            group = groups.pop()
            request = Request("/activations", "POST", body={**body, "feature_ids": group}, accept=STREAM)
            try:
                part = yield from self._ask(request, partial(self._of_features, group), version)
            except ServerError as error:
                if error.status != 413 or len(group) == 1:
                    raise
                groups += [group[len(group) // 2 :], group[: len(group) // 2]]
                continue
            version = part[group[0]].version
            found |= part
        return found

    def feature(self, feature_id: int) -> Steps[FeatureSummary]:
        """See `ActivationDatabase.feature`."""

        def read(answer: Answer) -> FeatureSummary:
            found = orjson.loads(answer.content)
            if found["feature_id"] != feature_id:
                raise ValueError(f"feature {found['feature_id']} instead of {feature_id}")
            return FeatureSummary(**{name: found[name] for name in FeatureSummary.__slots__})

        feature_id = checked_id("feature", feature_id)
        return (yield from self._ask(Request(f"/features/{feature_id}"), read))

    def features(self) -> Steps[pl.DataFrame]:
        """See `ActivationDatabase.features`."""
        return (yield from self._frame("/features"))

    def suggestions(self) -> Steps[pl.DataFrame]:
        """See `ActivationDatabase.suggestions`."""
        return (yield from self._frame("/suggestions"))

    def feature_map(self) -> Steps[pl.DataFrame]:
        """See `ActivationDatabase.feature_map`."""
        return (yield from self._frame("/feature-map"))

    def sample(self, sample_id: int) -> Steps[Sample]:
        """See `ActivationDatabase.sample`."""
        request = Request(f"/samples/{checked_id('sample', sample_id)}", params=(("order", "feature"),))
        found = yield from self._ask(request, partial(_sample, sample_id))
        if found.version not in self._n_features:
            about = yield from self._ask(Request("/version"), _about, found.version)
            self._n_features = {found.version: about.n_features}
        dtype = feature_id_dtype(self._n_features[found.version])
        ids: npt.NDArray[np.integer[Any]] = found.features.feature_ids.astype(dtype)
        return replace(found, features=SampleFeatures(ids, found.features.values))

    def samples(self, columns: Sequence[str] | None) -> Steps[pa.Table]:
        """See `ActivationDatabase.samples`."""
        named = ",".join(checked_sample_columns(columns))
        request = Request("/samples", params=(("columns", named),), accept=STREAM)
        return (yield from self._ask(request, lambda answer: self._table(answer, named.split(","))[0]))

    def tokens(self) -> Steps[pl.DataFrame]:
        """See `ActivationDatabase.tokens`."""
        return (yield from self._frame("/tokens"))

    def weapons(self) -> Steps[pl.DataFrame]:
        """See `ActivationDatabase.weapons`."""
        return (yield from self._frame("/weapons"))

    def features_of_token(self, token: str) -> Steps[Associations]:
        """See `ActivationDatabase.features_of_token`."""
        return (yield from self._of_name("tokens", token))

    def influences_on(self, token: str) -> Steps[pl.DataFrame]:
        """See `ActivationDatabase.influences_on`."""
        name = yield from self._named("tokens", token)
        return (yield from self._frame(f"/tokens/{_segment(name)}/influences", ("feature_id", "influence")))

    def features_of_weapon(self, weapon: str) -> Steps[Associations]:
        """See `ActivationDatabase.features_of_weapon`."""
        return (yield from self._of_name("weapons", weapon))

    def features_of_rule(self, rule: Rule) -> Steps[Associations]:
        """See `ActivationDatabase.features_of_rule`."""
        params = (("limit", str(_ALL_ROWS)),)
        request = Request("/rules/features", "POST", params=params, body={"rule": rule.as_json()}, accept=STREAM)
        return (yield from self._ask(request, self._associated))

    def coactivation(self, feature_id: int) -> Steps[Associations]:
        """See `ActivationDatabase.coactivation`."""
        return (yield from self._associations(f"/coactivation/{checked_id('feature', feature_id)}"))

    def query(self, query: Query) -> Steps[QueryResult]:
        """See `ActivationDatabase.query`. Pages of one version follow each other until all rows are there."""
        yield from self._refuse_beyond(query.features)
        body = _query_fields(query)
        pages: list[pa.Table] = []
        offset, left = query.offset, query.limit
        version: str | None = None
        while True:
            asked = _QUERY_ROWS if left is None else min(left, _QUERY_ROWS)
            request = Request("/query", "POST", body={**body, "offset": offset, "limit": asked}, accept=STREAM)
            page = yield from self._ask(request, partial(self._queried, query), version)
            pages.append(page.table)
            version, offset = page.version, offset + page.table.num_rows
            left = None if left is None else left - page.table.num_rows
            if page.table.num_rows < _QUERY_ROWS:
                return replace(page, table=pa.concat_tables(pages))

    def scorecard(self) -> Steps[dict[str, Any]]:
        """The figures of the SAE's scorecard."""
        return (yield from self._ask(Request("/scorecard"), lambda answer: dict(_members(answer))))

    def published(self) -> Steps[list[Published]]:
        """All versions of all runs beside the one that is asked."""
        request = Request("/published")
        return (
            yield from self._ask(
                request, lambda answer: [Published.of_json(row) for row in _members(answer)["published"]]
            )
        )

    def live(self, path: str, body: Mapping[str, Any], read: Reading[Value]) -> Steps[Value]:
        """What `read` makes of the answer of the model to a body at a path below /live."""
        return (
            yield from self._ask(Request(f"/live/{path}", "POST", body=body), lambda answer: read(_members(answer)))
        )

    def label_events(self, new: Mapping[str, Any] | None, read: Reading[Value]) -> Steps[Value]:
        """What `read` makes of all label events, or of the answer to a new one.

        A new one without an `event_id` gets one, so that sending it again adds nothing when only the answer was lost.
        """
        body = None if new is None else {**new, "event_id": new.get("event_id") or uuid4().hex}
        request = Request("/label-events", "GET" if body is None else "POST", body=body)
        return (yield from self._ask(request, lambda answer: read(_members(answer))))

    def _refuse_beyond(self, feature_ids: Sequence[int]) -> Steps[None]:
        """Raise FeatureNotFoundError for an id that JSON's readers cannot hold, as the server would for a smaller one."""
        for feature_id in feature_ids:
            if not -(2**63) <= feature_id < 2**63:
                found = yield from self.about()
                raise FeatureNotFoundError(feature_id, found.n_features, found.name or "this store")

    def _of_features(self, feature_ids: Sequence[int], answer: Answer) -> dict[int, FeatureActivations]:
        found = _by_feature(*self._table(answer))
        if list(found) != list(feature_ids):
            raise ValueError("other features than were asked for")
        return found

    def _of_name(self, kind: str, name: str) -> Steps[Associations]:
        name = yield from self._named(kind, name)
        return (yield from self._associations(f"/{kind}/{_segment(name)}/features"))

    def _named(self, kind: str, name: str) -> Steps[str]:
        """A token or weapon as a path can name it: by its id, where its name cannot be part of one."""
        if not name or "/" in name or not name.isprintable():
            known = yield from self._frame(f"/{kind}")
            texts = ("token",) if kind == "tokens" else ("key", "name")
            found = known.filter(pl.any_horizontal(pl.col(column) == name for column in texts))
            if found.is_empty():
                raise UnknownNameError(f"there is no {kind[:-1]} {name[:60]!r}; /{kind} lists all")
            return str(found[0, 0])
        return name

    def _associations(self, path: str) -> Steps[Associations]:
        request = Request(path, params=(("limit", str(_ALL_ROWS)),), accept=STREAM)
        return (yield from self._ask(request, self._associated))

    def _associated(self, answer: Answer) -> Associations:
        table, facts = self._table(answer, ("feature_id", "n_both", "n_active"))
        return Associations(facts["version"], facts["of"], int(facts["n_set"]), int(facts["n_samples"]), table)

    def _queried(self, query: Query, answer: Answer) -> QueryResult:
        table, facts = self._table(answer, ("global_index", *(f"feature_{one}" for one in query.features)))
        return QueryResult(facts["version"], int(facts["n_matching"]), table)

    def _frame(self, path: str, needed: Sequence[str] = ()) -> Steps[pl.DataFrame]:
        """needed: columns that the table has, where they are not those of a path that is always the same."""

        def read(answer: Answer) -> pl.DataFrame:
            return pl.DataFrame(self._table(answer, needed or _OF_FRAMES[path])[0])

        return (yield from self._ask(Request(path, accept=STREAM), read))

    def _table(self, answer: Answer, needed: Sequence[str] = ()) -> tuple[pa.Table, dict[str, str]]:
        """The table of an Arrow stream, which has the columns that are needed, and the facts of its head."""
        try:
            table = pa.ipc.open_stream(answer.content).read_all()
            _check_n_rows(table.schema, table.num_rows)
        except STREAM_FAULTS as error:
            raise broken_stream(error, self.url) from error
        missing = [name for name in needed if name not in table.column_names]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        facts, others = _facts_of(table.schema)
        return table.replace_schema_metadata(others), facts

    def _ask(self, request: Request, read: Callable[[Answer], Value], version: str | None = None) -> Steps[Value]:
        """What `read` makes of the answer to a request, which is from a version that has the expected fingerprints."""
        if self._expected and self._checked is None:
            yield from self._check(version or self._pinned)
        answer = yield from self._sent(request, version)
        served = answer.headers.get(_VERSION_HEADER)
        if served is None:
            raise ServerError(
                f"what answers at {self.url} is no activation server: its answer has no X-Store-Version", answer.status
            )
        if self._expected and served != self._checked:
            yield from self._check(served)
        return self._understood(request, read, answer)

    def _understood(self, request: Request, read: Callable[[Answer], Value], answer: Answer) -> Value:
        """What `read` makes of an answer; ServerError when it is of another shape than a server of this release gives."""
        try:
            return read(answer)
        except _OTHER_SHAPE as error:
            raise ServerError(
                f"{self.url}{request.path} gives no answer of an activation server of this release "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]})",
                answer.status,
            ) from error

    def _check(self, version: str | None) -> Steps[None]:
        """Raise FingerprintMismatchError unless the version (None: the current one) is the expected one."""
        request = Request("/version")
        found = self._understood(request, _about, (yield from self._sent(request, version)))
        made_from = {**found.provenance, "version": found.version}
        for name, fingerprint in self._expected.items():
            if made_from.get(name) != fingerprint:
                there = str(made_from.get(name, "none"))
                what = f"{self.url}, version {found.version}: {name}"
                raise FingerprintMismatchError(what, fingerprint, there, "ask another server, run or version")
        self._checked = found.version

    def _sent(self, request: Request, version: str | None = None) -> Steps[Answer]:
        """The answer with status 200; asked again where that may help. Any other answer is raised as an error.

        Every request may be sent again: it only asks, or it is a label event with an id by which the server knows it.
        """
        pinned = version or self._pinned
        prefix = self._run + (f"/v/{_segment(pinned)}" if pinned else "")
        whole = replace(request, path=prefix + request.path)
        attempt = 0
        while True:
            got = yield whole
            assert got is not None
            seconds = None if attempt >= self._retries else _pause_before_next(got, attempt)
            if seconds is None:
                break
            yield Pause(seconds)
            attempt += 1
        if isinstance(got, Failure):
            raise got.error
        if got.status != 200:
            raise error_of(got, f"{self.url}{whole.path}")
        return got


def _facts_of(schema: pa.Schema) -> tuple[dict[str, str], dict[bytes, bytes] | None]:
    """What the server says of a whole answer in the metadata of its schema, by name; and the other metadata."""
    held = schema.metadata or {}
    facts = {
        key[6:].decode(errors="replace"): value.decode(errors="replace")
        for key, value in held.items()
        if key.startswith(b"splat.")
    }
    return facts, {key: value for key, value in held.items() if not key.startswith(b"splat.")} or None


def _check_n_rows(schema: pa.Schema, n_rows: int) -> None:
    stated = _facts_of(schema)[0].get("n_rows")
    if stated != str(n_rows):
        raise pa.ArrowInvalid(f"{counted(n_rows, 'rows')} instead of {stated}")


def error_of(answer: Answer, where: str) -> Exception:
    """The error that a problem stands for: what the local database raises, or a ServerError."""
    problem: Mapping[str, Any] = {}
    if answer.headers.get("content-type", "").startswith(_PROBLEM):
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(answer.content)
            problem = found if isinstance(found, dict) else {}
    title, detail = str(problem.get("title", "")), str(problem.get("detail", ""))
    if (answer.status, title) == (404, "not there") and detail.startswith("there is no such path"):
        return ServerError(f"{where}: {detail}; the server is of another release than this client", 404)
    make = _ERRORS.get((answer.status, title))
    found = make(detail, problem) if make else None
    return found or ServerError(f"{where} answered {answer.status}: {detail or 'no explanation'}", answer.status)


def _not_in_range(kind: type[FeatureNotFoundError] | type[SampleNotFoundError], detail: str) -> Exception | None:
    found = re.fullmatch(r"\w+ (-?\d+) is not in (.*): it holds (?:no )?\w+(?: 0 to (\d+))?", detail)
    if found is None or max(len(found[1]), len(found[3] or "")) > _MOST_DIGITS:
        return None
    return kind(int(found[1]), int(found[3] or -1) + 1, found[2])


def _mismatch(detail: str, _: Mapping[str, Any]) -> Exception | None:
    found = re.fullmatch(r"(.*): expected sha256 (\S+), found (\S+); (.*)", detail)
    return found and FingerprintMismatchError(*found.groups())


def _parameter(detail: str, problem: Mapping[str, Any]) -> Exception:
    name = str(problem.get("parameter", "request"))
    return ParameterError(name, detail.removeprefix(f"{name}: "))


def _conflict(detail: str, _: Mapping[str, Any]) -> Exception:
    return LabelConflictError("based_on", detail.removeprefix("based_on: "))


_ERRORS: dict[tuple[int, str], Callable[[str, Mapping[str, Any]], Exception | None]] = {
    (404, "no such feature"): lambda detail, _: _not_in_range(FeatureNotFoundError, detail),
    (404, "no such sample"): lambda detail, _: _not_in_range(SampleNotFoundError, detail),
    (404, "no such name"): lambda detail, _: UnknownNameError(detail),
    (404, "not computed"): lambda detail, _: NotComputedError(detail),
    (404, "not there"): lambda detail, _: LayoutError(detail),
    (403, "not allowed"): lambda detail, _: NotAllowedError(detail),
    (409, "somebody else was faster"): _conflict,
    (422, "a parameter means nothing"): _parameter,
    (422, "the input breaks a rule"): lambda detail, _: InputError(detail),
    (500, "the store is damaged"): lambda detail, _: CorruptStoreError(detail),
    (500, "made from something else"): _mismatch,
    (503, "no version is published"): lambda detail, _: NotPublishedError(detail),
}


def _pause_before_next(got: Answer | Failure, attempt: int) -> float | None:
    """Seconds to wait before asking again; None when that would not help, or the server wants longer than is waited."""
    backoff = _FIRST_BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1)
    if isinstance(got, Failure):
        return backoff if got.again else None
    if got.status not in (429, 503):
        return None
    stated = got.headers.get("retry-after", "")
    seconds = float(stated) if stated.isascii() and stated.isdigit() else backoff
    return seconds if seconds <= _LONGEST_PAUSE_SECONDS else None


def _members(answer: Answer) -> Mapping[str, Any]:
    found = orjson.loads(answer.content)
    if not isinstance(found, dict):
        raise TypeError(f"{type(found).__name__} instead of an object")
    return found


def _sample(asked: int, answer: Answer) -> Sample:
    found = dict(_members(answer))
    sample_id, version, features, n_active = (
        found.pop(name) for name in ("sample_id", "version", "features", "n_active")
    )
    ids, values = np.asarray(features["feature_id"], dtype=np.int64), np.asarray(features["activation"], np.float32)
    if sample_id != asked:
        raise ValueError(f"sample {sample_id} instead of {asked}")
    if not ids.shape == values.shape == (n_active,):
        raise ValueError(f"{ids.size} features and {values.size} activations, of {n_active}")
    return Sample(sample_id, _text(version), found, SampleFeatures(ids, values))


def _about(answer: Answer) -> About:
    found = _members(answer)
    return About(
        name=_text(found["run"]),
        version=_text(found["version"]),
        layout=_text(found["layout"]),
        n_samples=_count(found["n_samples"]),
        n_features=_count(found["n_features"]),
        n_activations=None if found["n_activations"] is None else _count(found["n_activations"]),
        provenance=dict(found["provenance"]),
        computed=tuple(_text(one) for one in found["computed"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of a text")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} instead of a count")
    return value


def _by_feature(table: pa.Table, facts: Mapping[str, str]) -> dict[int, FeatureActivations]:
    """The table of many features, cut into those of each without copying."""
    found: dict[int, FeatureActivations] = {}
    columns, at = table.drop_columns("feature_id"), 0
    for one in orjson.loads(facts["features"]):
        own = columns.slice(at, _count(one["n_rows"]))
        at += one["n_rows"]
        feature_id = _count(one["feature_id"])
        n_active, n_matching = _count(one["n_active"]), _count(one["n_matching"])
        found[feature_id] = FeatureActivations(feature_id, facts["version"], n_active, n_matching, own)
    if at != table.num_rows:
        raise ValueError(f"{table.num_rows} rows instead of {at}")
    return found


def _of_feature(feature_id: int, selection: Selection | None, columns: Sequence[str] | None) -> Request:
    params: list[tuple[str, str]] = []
    for name, value in _fields(selection or Selection()).items():
        params += [(name, one) for one in value] if isinstance(value, list) else [(name, str(value))]
    if columns is not None:
        params.append(("columns", ",".join(checked_columns(columns))))
    return Request(f"/activations/{feature_id}", params=tuple(params), accept=STREAM)


def _fields(selection: Selection) -> dict[str, Any]:
    """What a selection says beyond the default, by parameter."""
    found: dict[str, Any] = {}
    for name, kind in _FIELDS.items():
        value = getattr(selection, name)
        if value != getattr(_EVERYTHING, name):
            found[name] = kind(value)
    return found


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


def _query_fields(query: Query) -> dict[str, Any]:
    """The body of a query, without its page."""
    found: dict[str, Any] = {"weapon": list(query.weapon), "token": list(query.token)}
    for name in ("all", "any", "none"):
        conditions = getattr(query, name)
        found[name] = [{"feature": one.feature, "min": one.min, "max": one.max} for one in conditions]
    return found


def _segment(name: str) -> str:
    """A text as one part of a path, dots included: a path with `..` would be another one."""
    return quote(name, safe="").replace(".", "%2E")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
