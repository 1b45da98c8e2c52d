"""The bytes of an Arrow IPC stream as record batches, while they arrive: nothing waits for the end of the body. No I/O here."""

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from splat_assets.wording import counted

_PREFIX_BYTES = 8
_CONTINUATION = 0xFFFFFFFF
_SCHEMA, _RECORD_BATCH = 1, 3
_MOST_METADATA_BYTES = 2**28
_MOST_BODY_BYTES = 2**40


class BatchDecoder:
    """Is fed the pieces of a stream in order and gives each record batch as soon as the last of its bytes is there.

    It holds one incomplete message at a time. Bytes that are no Arrow stream raise pyarrow.ArrowInvalid.
    """

    def __init__(self) -> None:
        self.schema: pa.Schema | None = None
        self.n_rows = 0
        self._held = bytearray()
        self._complete = _Complete()
        self._reader: Any = None
        self._ended = False

    def feed(self, piece: bytes) -> Iterator[pa.RecordBatch]:
        """The batches that this piece completes."""
        if self._ended:
            return
        self._held += piece
        while not self._ended and (found := _first_message(self._held)) is not None:
            kind, size = found
            self._complete.add(bytes(self._held[:size]))
            del self._held[:size]
            if kind is None:
                if self.schema is None:
                    raise pa.ArrowInvalid("these bytes are no Arrow stream: they end before a schema")
                self._ended = True
                self._held.clear()
            elif kind == _SCHEMA:
                self._reader = pa.ipc.open_stream(pa.PythonFile(self._complete, mode="r"))
                self.schema = self._reader.schema
            elif kind == _RECORD_BATCH:
                if self._reader is None:
                    raise pa.ArrowInvalid("a record batch comes before the schema")
                batch = self._reader.read_next_batch()
                self.n_rows += batch.num_rows
                yield batch

    def finish(self) -> None:
        """Say that there are no more pieces: raises pyarrow.ArrowInvalid unless the stream came to its end."""
        if not self._ended:
            raise pa.ArrowInvalid(f"the Arrow stream breaks off after {counted(self.n_rows, 'rows')}")


class _Complete:
    """A file of the messages that are complete: what Arrow's own reader, which asks for bytes, reads from."""

    closed = False

    def __init__(self) -> None:
        self._left = memoryview(b"")

    def add(self, message: bytes) -> None:
        self._left = memoryview(bytes(self._left) + message) if self._left else memoryview(message)

    def read(self, n_bytes: int = -1) -> bytes:
        n_bytes = len(self._left) if n_bytes < 0 else n_bytes
        taken, self._left = bytes(self._left[:n_bytes]), self._left[n_bytes:]
        return taken

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to close."""


def _first_message(held: bytearray) -> tuple[int | None, int] | None:
    """Kind (None: the end mark) and size in bytes of the message that held begins with; None while it is incomplete."""
    if len(held) < _PREFIX_BYTES:
        return None
    mark, metadata_bytes = struct.unpack_from("<Ii", held)
    if mark != _CONTINUATION or not 0 <= metadata_bytes <= _MOST_METADATA_BYTES:
        raise pa.ArrowInvalid("these bytes are no Arrow stream")
    if metadata_bytes == 0:
        return None, _PREFIX_BYTES
    if len(held) < _PREFIX_BYTES + metadata_bytes:
        return None
    try:
        kind, body_bytes = _header(bytes(held[_PREFIX_BYTES : _PREFIX_BYTES + metadata_bytes]))
    except struct.error as error:
        raise pa.ArrowInvalid("these bytes are no Arrow stream") from error
    if not 0 <= body_bytes <= _MOST_BODY_BYTES:
        raise pa.ArrowInvalid(f"these bytes are no Arrow stream: a message of {body_bytes:,} bytes")
    size = _PREFIX_BYTES + metadata_bytes + body_bytes
    return (kind, size) if len(held) >= size else None


def _header(metadata: bytes) -> tuple[int, int]:
    """Kind and body size of a message: fields 1 and 3 of the FlatBuffers table `Message` (Arrow's `Message.fbs`)."""
    (table,) = struct.unpack_from("<I", metadata)
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    (vtable_bytes,) = struct.unpack_from("<H", metadata, vtable)

    def field(number: int, form: str) -> int:
        entry = 4 + 2 * number
        offset = struct.unpack_from("<H", metadata, vtable + entry)[0] if entry < vtable_bytes else 0
        return int(struct.unpack_from(form, metadata, table + offset)[0]) if offset else 0

    return field(1, "<B"), field(3, "<q")
