"""Responses: negotiated format, 304 before anything is read, blocks encoded as the client reads them."""

import asyncio
import hashlib
import importlib.metadata
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from splat_assets.distribution import DISTRIBUTION
from splat_assets.store.spreadsheet import harmless_frame
from splat_serving.http import arrow_stream, json_rows
from splat_serving.http.negotiation import CSV, JSON, PARQUET, Form
from splat_serving.http.state import Served, ServerState, state_of
from splat_serving.http.workers import Holding, Lane

Pieces = Iterator[list[memoryview]]
_JSON_ROWS = 32_768
"""Rows encoded at a time: some megabytes of text, some milliseconds."""
_ENCODERS = (DISTRIBUTION, "orjson", "pyarrow", "polars", "numpy")
_TABLE_ROWS = 65_536
"""Rows of a block of CSV, of a row group of Parquet, and of a block of a table that is in memory."""
_EAGER_BYTES = 2**23
_EAGER_JSON_BYTES = 2**16
"""A body up to this size is built whole and has a Content-Length; a larger one is streamed."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to be sent.

    batches: yields record batches with the named columns; may be called again. head: facts about the whole, as members
    of a JSON object or as metadata of an Arrow schema. held_bytes: memory of the source of the batches.
    """

    schema: pa.Schema
    batches: Callable[[list[str]], Iterable[pa.RecordBatch]]
    head: Mapping[str, Any]
    held_bytes: int = 0

    @classmethod
    def of_table(cls, table: pa.Table, head: Mapping[str, Any]) -> "Rows":
        """The rows of a table that is in memory."""
        whole = table.combine_chunks()
        return cls(
            whole.schema,
            lambda names: whole.select(names).to_batches(max_chunksize=_TABLE_ROWS),
            head,
            whole.nbytes,
        )

    @classmethod
    def of_frame(cls, frame: pl.DataFrame, head: Mapping[str, Any]) -> "Rows":
        """The rows of a frame, in types that every reader of Arrow knows."""
        return cls.of_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), head)


@dataclass(frozen=True, slots=True)
class Body:
    """A body that is encoded piece by piece. held_bytes: memory of its source until the last piece is encoded."""

    pieces: Pieces
    held_bytes: int = 0


def encoded(rows: Rows, form: Form, orient: str = "rows", also_a_file: bool = False) -> Body:
    """The bytes of rows in a format. orient: rows or columns, of JSON. also_a_file: an Arrow stream with a file footer."""
    return Body(_pieces(rows, form, orient, also_a_file), rows.held_bytes)


def _pieces(rows: Rows, form: Form, orient: str, also_a_file: bool) -> Pieces:
    facts = {f"splat.{name}": _as_text(value) for name, value in rows.head.items() if value is not None}
    schema = rows.schema.with_metadata({**(rows.schema.metadata or {}), **facts})
    if form.media_type == JSON and orient == "columns":
        head = {name: value for name, value in rows.head.items() if name != "columns"}  # their names are with them
        return json_rows.columns_document(head, rows.schema, lambda names: _cut(rows.batches(names), _JSON_ROWS))
    batches = rows.batches(schema.names)
    match form.media_type:
        case arrow_stream.STREAM if also_a_file:
            return arrow_stream.stream_and_file_of(schema, batches)
        case arrow_stream.STREAM:
            return arrow_stream.stream_of(schema, batches, form.codec)
        case arrow_stream.FILE:
            return arrow_stream.file_of(schema, batches)
        case _ if form.media_type == PARQUET:
            return _parquet(schema, batches)
        case _ if form.media_type == CSV:
            return _csv(schema, batches)
        case _:
            return json_rows.document(dict(rows.head), _cut(batches, _JSON_ROWS))


def _as_text(value: Any) -> str:
    """A fact as text; JSON unless it is a string."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _cut(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, n_rows):
            yield batch.slice(start, n_rows)


def _parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Pieces:
    """One row group after the other, and the footer. Small batches share one."""
    sink = arrow_stream.Pieces()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for table in _gathered(schema, _cut(batches, _TABLE_ROWS), _TABLE_ROWS):
            writer.write_table(table)
            yield sink.drain()
    yield sink.drain()


def _gathered(schema: pa.Schema, batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.Table]:
    """Batches that follow each other as tables of about n_rows rows."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch.replace_schema_metadata(schema.metadata))
        if sum(one.num_rows for one in waiting) >= n_rows:
            yield pa.Table.from_batches(waiting, schema)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


def _csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Pieces:
    """Lists become texts separated by spaces; formulas are escaped for spreadsheets."""
    begun = False
    for table in _gathered(schema, _cut(batches, _TABLE_ROWS), _TABLE_ROWS):
        yield [_csv_of(table, with_header=not begun)]
        begun = True
    if not begun:
        yield [_csv_of(schema.empty_table(), with_header=True)]


def _csv_of(table: pa.Table, with_header: bool) -> memoryview:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    lists = {name: kind for name, kind in frame.schema.items() if isinstance(kind, pl.List)}
    numbers = [name for name, kind in lists.items() if kind.inner != pl.String()]  # "-1 2" is not a formula
    flat = frame.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists)
    safe = harmless_frame(flat).with_columns(flat.select(numbers))
    return memoryview(safe.write_csv(include_header=with_header).encode())


class BlockResponse(Response):
    """A body that is encoded block by block, one block ahead of the client.

    A body of one block has a Content-Length. A client that needs longer than write_timeout_seconds for a block is disconnected.
    """

    def __init__(
        self,
        request: Request,
        begun: "_Begun",
        holding: Holding,
        lane: Lane,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        """holding: memory of the response; released when the last byte is sent or the client is gone."""
        self._request = request
        self._begun: _Begun | None = begun
        self._holding = holding
        self._lane: Lane = lane
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        length = {} if begun.rest is not None else {"Content-Length": str(_n_bytes(begun.first))}
        self.init_headers({**headers, **length, "Content-Type": media_type})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything."""
        state = state_of(self._request)
        timeout = state.settings.write_timeout_seconds
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for block in self._blocks(state):
                async with asyncio.timeout(timeout):
                    for piece in block:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._holding.release()

    async def _blocks(self, state: ServerState) -> AsyncIterator[list[memoryview]]:
        """The blocks; each is encoded while the previous one is sent, until the client is gone."""
        begun, self._begun = self._begun, None  # the first block goes when it is sent
        assert begun is not None
        block, rest, source = begun.first, begun.rest, begun.held_bytes
        del begun
        while rest is not None:
            self._holding.change(source + 2 * _n_bytes(block))  # the next one is about as large
            further = asyncio.ensure_future(state.workers.run(partial(next, rest, None), self._lane))
            try:
                yield block
            finally:
                made = await further
            if made is None or await self._request.is_disconnected():
                return
            block = made
        self._holding.change(_n_bytes(block))
        yield block


def _n_bytes(block: list[memoryview]) -> int:
    return sum(piece.nbytes for piece in block)


@dataclass(frozen=True, slots=True)
class _Begun:
    """The first block of a body; an iterator of the others, None if there are none; memory of their source."""

    first: list[memoryview]
    rest: Pieces | None
    held_bytes: int


Make = Callable[[], tuple[Body, Mapping[str, str]]]


async def reply(
    request: Request,
    served: Served,
    form: Form,
    make: Make,
    beside: Callable[[], str] | None = None,
    timed: bool = False,
    held_bytes: int = 0,
    lane: Lane = "short",
) -> Response:
    """The response to a request about a version: 304 if the client has it, before `make` reads anything.

    make: runs in a worker; returns the body and further headers. beside: returns, in the worker before make, the state outside
    the version that the response depends on: caches must revalidate such a response. timed: the body contains a duration, so
    its ETag is weak. held_bytes: upper bound of the memory that make needs; BusyError, before anything is read, if the
    responses in progress leave no room. lane: where all blocks are encoded; see `lane_of`.
    """
    headers = {"Vary": "Accept", "X-Store-Version": served.database.version}
    sealed = served.pinned and not served.database.state
    if request.method == "POST":  # the request is in the body, which caches ignore
        headers["Cache-Control"] = "no-store"
    else:
        forever = sealed and beside is None
        whose = (
            "private" if "authorization" in request.headers else "public"
        )  # with a token: only for the private cache of the client
        headers["Cache-Control"] = f"{whose}, max-age=31536000, immutable" if forever else "no-cache"

    def known(extra: str = "") -> bool:
        if request.method == "POST":
            return False
        headers["ETag"] = ("W/" if timed else "") + _etag(request, served, form, extra)
        return _is_known(request.headers.get("if-none-match"), headers["ETag"])

    if beside is None and known():
        return Response(None, 304, headers)
    state = state_of(request)
    waited = time.perf_counter()

    def begin() -> tuple[_Begun, Mapping[str, str]] | None:
        began = time.perf_counter()
        if beside is not None and known(beside()):
            return None
        state.timings(request).add("wait", began - waited)
        body, more = make()
        first, rest = _beginning(body.pieces, _EAGER_JSON_BYTES if form.media_type == JSON else _EAGER_BYTES)
        state.timings(request).add("make", time.perf_counter() - began)
        return _Begun(first, rest, body.held_bytes if rest is not None else 0), more

    holding = state.memory.hold(held_bytes, lane)
    try:
        made = await state.workers.run(begin, lane)
        if made is None:
            holding.release()
            return Response(None, 304, headers)
        begun, more = made
        holding.release()  # the actual memory may be less
        holding = state.memory.hold(begun.held_bytes + _n_bytes(begun.first) * (1 if begun.rest is None else 2), lane)
    except BaseException:
        holding.release()
        raise
    return BlockResponse(request, begun, holding, lane, {**headers, **more}, form.content_type)


def whole_reply(request: Request, content: bytes, version: str) -> Response:
    """A JSON document in memory, not cacheable; BusyError as `reply`."""
    holding = state_of(request).memory.hold(len(content))
    headers = {"Cache-Control": "no-store", "X-Store-Version": version}
    return BlockResponse(request, _Begun([memoryview(content)], None, 0), holding, "short", headers, JSON)


def lane_of(n_rows: int) -> Lane:
    """The lane of a response of at most n_rows rows: up to one block of JSON is short."""
    return "short" if n_rows <= _JSON_ROWS else "long"


async def json_reply(
    request: Request, served: Served, make: Callable[[], Any], beside: Callable[[], str] | None = None
) -> Response:
    """As `reply`, for one JSON document of Python values and numpy arrays."""

    def encode() -> tuple[Body, Mapping[str, str]]:
        content = orjson.dumps(make(), option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        return Body(iter([[memoryview(content)]])), {}

    return await reply(request, served, Form(JSON), encode, beside)


def _beginning(pieces: Pieces, n_bytes: int) -> tuple[list[memoryview], Pieces | None]:
    """The first blocks, up to about n_bytes, as one; and an iterator of the rest, None if there is none."""
    first: list[memoryview] = []
    size = 0
    for block in pieces:
        first += block
        size += _n_bytes(block)
        if size >= n_bytes:
            return first, pieces
    return first, None


def _etag(request: Request, served: Served, form: Form, beside: str) -> str:
    """A strong tag: the same version, run, request, format, software and outside state give the same bytes.

    beside: state outside the version that the response depends on.
    """
    database = served.database
    identity = (
        request.url.path, request.url.query, form.content_type, form.named,
        database.name, database.vocabularies, software(), beside, database.state,
    )  # fmt: skip
    return f'"{database.version}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:16]}"'


@cache
def software() -> str:
    """Versions of the packages that encode responses."""
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in _ENCODERS)


def _is_known(if_none_match: str | None, etag: str) -> bool:
    """`*` is ignored: whether the path exists is known only after reading."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag.removeprefix("W/") in tags
