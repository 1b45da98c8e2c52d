"""Record batches as the bytes of an Arrow IPC stream, or of a file, without copying the columns.

The body of the guide's own route is both at once: a stream, which every Arrow library reads by its media type, followed by the
footer of a file, from which programs written for the guide's first server read it as a file.
"""

import io
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.ipc

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
_MAGIC = b"ARROW1\x00\x00"
_SMALL = 4_096


class Pieces(io.RawIOBase):
    """A write-only file object that keeps the written pieces, uncopied, until they are drained."""

    def __init__(self) -> None:
        self.taken: list[memoryview] = []
        self.position = 0

    def write(self, piece: Any) -> int:
        """Keep a piece."""
        view = memoryview(piece).cast("B")
        self.taken.append(view)
        self.position += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Number of bytes written."""
        return self.position

    def writable(self) -> bool:
        """True."""
        return True

    def drain(self) -> list[memoryview]:
        """The pieces written since the last call, with consecutive small pieces joined."""
        taken, self.taken = self.taken, []
        return _joined(taken)


def stream_of(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], compression: str | None = None
) -> Iterator[list[memoryview]]:
    """The bytes of an IPC stream: a list of pieces per batch, the first one beginning with the schema, and one with the end.

    compression: of the buffers inside, `zstd` or `lz4`.
    """
    yield from _written(schema, batches, compression, pa.ipc.new_stream)


def file_of(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[list[memoryview]]:
    """The bytes of an IPC file: a list of pieces per batch, and one with the footer."""
    yield from _written(schema, batches, None, pa.ipc.new_file)


def stream_and_file_of(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[list[memoryview]]:
    """The bytes of an IPC stream, then a footer by which they can be read as an IPC file too.

    An IPC file is an 8-byte mark, a stream, and a footer of absolute offsets. Without the mark the stream begins at 0, so every
    offset in the footer is 8 less; readers of files look for the footer at the end and follow it.
    """
    n_mark = len(_MAGIC)
    held: list[memoryview] | None = None
    for pieces in file_of(schema, batches):
        if held is not None:
            yield held
        else:
            assert bytes(pieces[0][:n_mark]) == _MAGIC
            pieces = [pieces[0][n_mark:], *pieces[1:]]
        held = pieces
    yield [memoryview(_with_shifted_offsets(b"".join(held or []), -n_mark))]


def _written(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], compression: str | None, new_writer: Callable[..., Any]
) -> Iterator[list[memoryview]]:
    sink = Pieces()
    options = pa.ipc.IpcWriteOptions(compression=compression, unify_dictionaries=False)
    writer = new_writer(pa.PythonFile(sink, mode="w"), schema, options=options)
    for batch in batches:
        writer.write_batch(batch)
        yield sink.drain()
    writer.close()
    yield sink.drain()


def _joined(pieces: list[memoryview]) -> list[memoryview]:
    joined: list[memoryview] = []
    for is_large, run in groupby(pieces, lambda piece: piece.nbytes > _SMALL):
        alike = list(run)
        joined += alike if is_large else [memoryview(b"".join(alike))]
    return joined


def _with_shifted_offsets(ending: bytes, by: int) -> bytes:
    """The last bytes of an IPC file with every block offset in the footer shifted.

    The footer is a FlatBuffers table (Arrow's `File.fbs`) whose fields 2 and 3 are vectors of blocks, structures of 24 bytes
    that begin with the offset: int64.
    """
    (size,) = struct.unpack_from("<i", ending, len(ending) - 10)
    start = len(ending) - 10 - size
    changed = bytearray(ending)
    table = start + struct.unpack_from("<I", ending, start)[0]
    vtable = table - struct.unpack_from("<i", ending, table)[0]
    (vtable_size,) = struct.unpack_from("<H", ending, vtable)
    for field in (2, 3):
        entry = 4 + 2 * field
        offset = struct.unpack_from("<H", ending, vtable + entry)[0] if entry < vtable_size else 0
        if not offset:
            continue
        vector = table + offset + struct.unpack_from("<I", ending, table + offset)[0]
        (length,) = struct.unpack_from("<I", ending, vector)
        for block in range(length):
            at = vector + 4 + 24 * block
            (place,) = struct.unpack_from("<q", ending, at)
            struct.pack_into("<q", changed, at, place + by)
    return bytes(changed)
