"""Answers of the server: the form the client can take, 304 before anything is read, blocks encoded as the client takes them."""

import asyncio
import hashlib
import io
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from splat_serving import arrow_stream, json_rows
from splat_serving.errors import BusyError
from splat_serving.negotiation import CSV, JSON, PARQUET, Form
from splat_serving.problems import of_error
from splat_serving.state import Served, ServerState, state_of

Pieces = Iterator[list[memoryview]]
_JSON_ROWS = 32_768
"""Rows encoded at a time: some megabytes of text, some milliseconds."""
_EAGER_BYTES = 2**23
_EAGER_JSON_BYTES = 2**16
"""A body up to this size is made whole and has a Content-Length; a larger one is sent from its first block on."""
_LONG_BYTES = 2**24
"""What a longer body holds while it is sent: a block that the client takes, and the next one."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to be sent. batches: made one by one while they are sent. head: what is said once, as members of a JSON object or in
    the metadata of an Arrow schema."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    head: Mapping[str, Any]

    @classmethod
    def of_table(cls, table: pa.Table, head: Mapping[str, Any]) -> "Rows":
        """The rows of a table that is in memory."""
        whole = table.combine_chunks()
        return cls(whole.schema, whole.to_batches(), head)

    @classmethod
    def of_frame(cls, frame: pl.DataFrame, head: Mapping[str, Any]) -> "Rows":
        """The rows of a frame, in types that every reader of Arrow knows."""
        return cls.of_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), head)


def encoded(rows: Rows, form: Form, orient: str = "rows", also_a_file: bool = False) -> Pieces:
    """The bytes of rows in the form. orient: rows or columns, of JSON. also_a_file: an Arrow stream that ends like a file."""
    facts = {f"splat.{name}": _as_text(value) for name, value in rows.head.items() if value is not None}
    schema = rows.schema.with_metadata({**(rows.schema.metadata or {}), **facts})
    match form.media_type:
        case arrow_stream.STREAM if also_a_file:
            return arrow_stream.stream_and_file_of(schema, rows.batches)
        case arrow_stream.STREAM:
            return arrow_stream.stream_of(schema, rows.batches, form.codec)
        case arrow_stream.FILE:
            return arrow_stream.file_of(schema, rows.batches)
        case _ if form.media_type == PARQUET:
            return _parquet(schema, rows.batches)
        case _ if form.media_type == CSV:
            return _csv(schema, rows.batches)
        case _ if orient == "columns":
            blocks = list(_cut(rows.batches, _JSON_ROWS))
            head = {name: value for name, value in rows.head.items() if name != "columns"}  # their names are with them
            return json_rows.columns_document(head, rows.schema, blocks)
        case _:
            return json_rows.document(dict(rows.head), _cut(rows.batches, _JSON_ROWS))


def _as_text(value: Any) -> str:
    """A fact as text, which is JSON where it is more than one text or number."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _cut(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, n_rows):
            yield batch.slice(start, n_rows)


def _parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Pieces:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
    yield [sink.getbuffer()]


def _csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Pieces:
    """Lists become texts with a space between each two members."""
    first = True
    for batch in [*batches] or [schema.empty_table().combine_chunks()]:
        frame = pl.from_arrow(batch if isinstance(batch, pa.RecordBatch) else pa.table(batch))
        assert isinstance(frame, pl.DataFrame)
        lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
        flat = frame.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists)
        yield [memoryview(flat.write_csv(include_header=first).encode())]
        first = False


class BlockResponse(Response):
    """A body that is made block by block, one block ahead of what the client has taken.

    A body of one block has a Content-Length. A client that takes longer than write_timeout_seconds for a block is left.
    """

    def __init__(
        self,
        request: Request,
        first: list[memoryview],
        rest: Pieces | None,
        status: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        """first: the first block. rest: the further ones, or None when there are none."""
        self._request = request
        self._first = first
        self._rest = rest
        self.status_code = status
        self.background = None
        self.media_type = media_type
        length = {} if rest is not None else {"Content-Length": str(sum(piece.nbytes for piece in first))}
        self.init_headers({**headers, **length, "Content-Type": media_type})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything."""
        state = state_of(self._request)
        size = sum(piece.nbytes for piece in self._first) if self._rest is None else _LONG_BYTES
        try:
            with state.sending(size):
                await self._send_all(state, send)
        except BusyError as error:
            await of_error(error)(scope, receive, send)

    async def _send_all(self, state: ServerState, send: Send) -> None:
        timeout = state.settings.write_timeout_seconds
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for block in self._blocks(state):
            async with asyncio.timeout(timeout):
                for piece in block:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _blocks(self, state: ServerState) -> AsyncIterator[list[memoryview]]:
        """The blocks; each further one is made while the one before is sent, and none for a client that is gone."""
        block: list[memoryview] | None = self._first
        while block is not None:
            if self._rest is None:
                yield block
                return
            further = asyncio.ensure_future(state.workers.run(partial(next, self._rest, None)))
            try:
                yield block
            finally:
                block = await further
            if await self._request.is_disconnected():
                return


Make = Callable[[], tuple[Pieces, Mapping[str, str]]]


async def reply(
    request: Request,
    served: Served,
    form: Form,
    make: Make,
    beside: Callable[[], str] | None = None,
    timed: bool = False,
) -> Response:
    """The answer to a question about a version: 304 when the client has it, before `make` reads anything.

    make: runs in a worker; gives the pieces of the body and further headers. beside: gives what else the answer depends on, in
    the worker, before make. timed: the body says how long it took, so that only what it means is the same each time.
    """
    headers = {"Vary": "Accept", "X-Store-Version": served.database.version}
    if request.method == "POST":  # what was asked is in the body, which no cache looks at
        headers["Cache-Control"] = "no-store"
    else:
        headers["Cache-Control"] = "public, max-age=31536000, immutable" if served.pinned else "no-cache"

    def known(told: str = "") -> bool:
        if request.method == "POST":
            return False
        headers["ETag"] = ("W/" if timed else "") + _etag(request, served, form, told)
        return _is_known(request.headers.get("if-none-match"), headers["ETag"])

    if beside is None and known():
        return Response(None, 304, headers)
    state = state_of(request)
    waited = time.perf_counter()

    def begin() -> tuple[list[memoryview], Pieces | None, Mapping[str, str]] | None:
        began = time.perf_counter()
        if beside is not None and known(beside()):
            return None
        state.timings(request).add("wait", began - waited)
        pieces, more = make()
        first, rest = _beginning(pieces, _EAGER_JSON_BYTES if form.media_type == JSON else _EAGER_BYTES)
        state.timings(request).add("make", time.perf_counter() - began)
        return first, rest, more

    begun = await state.workers.run(begin)
    if begun is None:
        return Response(None, 304, headers)
    first, rest, more = begun
    return BlockResponse(request, first, rest, 200, {**headers, **more}, form.content_type)


async def json_reply(
    request: Request, served: Served, make: Callable[[], Any], beside: Callable[[], str] | None = None
) -> Response:
    """As `reply`, for an answer that is one JSON document of Python values and numpy arrays."""

    def encode() -> tuple[Pieces, Mapping[str, str]]:
        body = orjson.dumps(make(), option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        return iter([[memoryview(body)]]), {}

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
    """A strong tag: the same version, question and form are the same bytes."""
    question = f"{request.url.path}?{request.url.query}|{form.content_type}|{form.named}|{beside}"
    return f'"{served.database.version}-{hashlib.sha256(question.encode()).hexdigest()[:16]}"'


def _is_known(if_none_match: str | None, etag: str) -> bool:
    """`*` is not looked at: whether there is anything at the path is known only after reading."""
    given = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag.removeprefix("W/") in given
