"""Answers of the server: the form the client can take, 304 before anything is read, blocks encoded as the client takes them."""

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

from splat_assets.store.spreadsheet import harmless_frame
from splat_serving.http import arrow_stream, json_rows
from splat_serving.http.memory import Holding
from splat_serving.http.negotiation import CSV, JSON, PARQUET, Form
from splat_serving.http.state import Served, ServerState, state_of
from splat_serving.http.workers import Lane

Pieces = Iterator[list[memoryview]]
_JSON_ROWS = 32_768
"""Rows encoded at a time: some megabytes of text, some milliseconds."""
_ENCODERS = ("splat", "orjson", "pyarrow", "polars", "numpy")
_TABLE_ROWS = 65_536
"""Rows of a block of CSV, of a row group of Parquet, and of a block of a table that is in memory."""
_EAGER_BYTES = 2**23
_EAGER_JSON_BYTES = 2**16
"""A body up to this size is made whole and has a Content-Length; a larger one is sent from its first block on."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to be sent.

    batches: makes them one by one, with the columns of the names it gets; may be called again. head: what is said once, as
    members of a JSON object or in the metadata of an Arrow schema. held_bytes: of what the batches are made from.
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
    """A body that is made piece by piece. held_bytes: of what it is made from, in memory until its last piece is made."""

    pieces: Pieces
    held_bytes: int = 0


def encoded(rows: Rows, form: Form, orient: str = "rows", also_a_file: bool = False) -> Body:
    """The bytes of rows in the form. orient: rows or columns, of JSON. also_a_file: an Arrow stream that ends like a file."""
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
    """A fact as text, which is JSON where it is more than one text or number."""
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
    """Lists become texts with a space between each two members; no text is one that a spreadsheet runs."""
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
    numbers = [name for name, kind in lists.items() if kind.inner != pl.String()]  # "-1 2" is no formula
    flat = frame.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists)
    safe = harmless_frame(flat).with_columns(flat.select(numbers))
    return memoryview(safe.write_csv(include_header=with_header).encode())


class BlockResponse(Response):
    """A body that is made block by block, one block ahead of what the client has taken.

    A body of one block has a Content-Length. A client that takes longer than write_timeout_seconds for a block is left.
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
        """holding: of what the answer holds in memory; released when the last byte is taken, or nobody takes it."""
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
        """The blocks; each further one is made while the one before is sent, and none for a client that is gone."""
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
    """The first block of a body; what makes the others, None where there are none; what they are made from, in bytes."""

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
    """The answer to a question about a version: 304 when the client has it, before `make` reads anything.

    make: runs in a worker; gives the body and further headers. beside: gives what else the answer depends on and no version
    holds, in the worker, before make: such an answer is never kept by a cache unasked. timed: the body says how long it took, so
    that only what it means is the same each time. held_bytes: what make will read and keep, at most; BusyError, before anything
    is read, where the answers under way leave no room for it. lane: where the answer is made, from its first block to its last;
    see `lane_of`.
    """
    headers = {"Vary": "Accept", "X-Store-Version": served.database.version}
    sealed = served.pinned and not served.database.state
    if request.method == "POST":  # what was asked is in the body, which no cache looks at
        headers["Cache-Control"] = "no-store"
    else:
        forever = sealed and beside is None
        whose = (
            "private" if "authorization" in request.headers else "public"
        )  # behind a token, for one client's cache only
        headers["Cache-Control"] = f"{whose}, max-age=31536000, immutable" if forever else "no-cache"

    def known(told: str = "") -> bool:
        if request.method == "POST":
            return False
        headers["ETag"] = ("W/" if timed else "") + _etag(request, served, form, told)
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
        holding.release()  # what it really holds may be less, and is as much as a long answer will hold
        holding = state.memory.hold(begun.held_bytes + _n_bytes(begun.first) * (1 if begun.rest is None else 2), lane)
    except BaseException:
        holding.release()
        raise
    return BlockResponse(request, begun, holding, lane, {**headers, **more}, form.content_type)


def whole_reply(request: Request, content: bytes, version: str) -> Response:
    """A JSON document that is in memory, and no cache keeps; BusyError as `reply`."""
    holding = state_of(request).memory.hold(len(content))
    headers = {"Cache-Control": "no-store", "X-Store-Version": version}
    return BlockResponse(request, _Begun([memoryview(content)], None, 0), holding, "short", headers, JSON)


def lane_of(n_rows: int) -> Lane:
    """The lane of an answer of so many rows, at most: a block of JSON is the longest that is short."""
    return "short" if n_rows <= _JSON_ROWS else "long"


async def json_reply(
    request: Request, served: Served, make: Callable[[], Any], beside: Callable[[], str] | None = None
) -> Response:
    """As `reply`, for an answer that is one JSON document of Python values and numpy arrays."""

    def encode() -> tuple[Body, Mapping[str, str]]:
        content = orjson.dumps(make(), option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        return Body(iter([[memoryview(content)]])), {}

    return await reply(request, served, Form(JSON), encode, beside)


def _beginning(pieces: Pieces, n_bytes: int) -> tuple[list[memoryview], Pieces | None]:
    """The first blocks, up to n_bytes or a little more, as one; and the further ones, None when that is all."""
    first: list[memoryview] = []
    size = 0
    for block in pieces:
        first += block
        size += sum(piece.nbytes for piece in block)
        if size >= n_bytes:
            return first, pieces
    return first, None


def _etag(request: Request, served: Served, form: Form, beside: str) -> str:
    """A strong tag: the same version, run, question, form and software are the same bytes, and so is what lies beside.

    beside: what the answer depends on and is in no version.
    """
    database = served.database
    said = (
        request.url.path, request.url.query, form.content_type, form.named,
        database.name, database.vocabularies, software(), beside, database.state,
    )  # fmt: skip
    return f'"{database.version}-{hashlib.sha256(repr(said).encode()).hexdigest()[:16]}"'


@cache
def software() -> str:
    """The releases of what makes the bytes of answers."""
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in _ENCODERS)


def _is_known(if_none_match: str | None, etag: str) -> bool:
    """`*` is not looked at: whether there is anything at the path is known only after reading."""
    given = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag.removeprefix("W/") in given
