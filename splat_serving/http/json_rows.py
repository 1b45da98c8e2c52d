"""Record batches as JSON rows: `{"activation":1.5,"weapon_id":3},{...}`, the bytes of half a million rows in a tenth of a second.

Every column becomes text in one call (orjson, shortest digits that give the float32 back), and a compiled loop puts the cells of
each row together. No Python object is made per row or per cell.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from splat_serving.database.arrow_arrays import numpy_of
from splat_serving.database.sample_columns import FEW_ROWS


@dataclass(frozen=True, slots=True)
class _Cells:
    """The texts of one column: cell i is text[starts[i] : ends[i]], between two marks that all cells share."""

    text: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    opening: bytes = b""
    closing: bytes = b""


def document(head: dict[str, Any], batches: Iterable[pa.RecordBatch], key: str = "data") -> Iterator[list[memoryview]]:
    """A JSON object: the members of head, and under `key` the rows of all batches. A list of pieces per batch."""
    opening = orjson.dumps(head)[:-1] + (b"," if head else b"") + orjson.dumps(key) + b":["
    before = opening
    for batch in batches:
        if batch.num_rows:
            yield [memoryview(before), rows(batch).data]
            before = b","
    yield [memoryview(opening + b"]}" if before is opening else b"]}")]


def rows(batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    """The rows of a batch as JSON objects with commas between them: uint8."""
    if batch.num_rows < FEW_ROWS or batch.num_columns == 0:
        return _few_rows(batch)
    from splat_serving.database.kernels import join_cells, joined_length

    columns = [_cells(column) for column in batch.columns]
    starts, ends = np.empty((2, len(columns), batch.num_rows), dtype=np.int64)
    base = 0
    for c, column in enumerate(columns):
        np.add(column.starts, base, out=starts[c])
        np.add(column.ends, base, out=ends[c])
        base += column.text.size
    marks = _marks(batch.schema.names, columns)
    prefix_ends = np.cumsum([0, *(len(mark) for mark in marks)], dtype=np.int64)
    prefix = np.frombuffer(b"".join(marks), dtype=np.uint8)
    out = np.empty(joined_length(starts, ends, prefix.size), dtype=np.uint8)
    text = columns[0].text if len(columns) == 1 else np.concatenate([column.text for column in columns])
    written = join_cells(text, starts, ends, prefix, prefix_ends, out)
    return out[: written - 1]  # without the comma after the last row


def _few_rows(batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    """The same bytes, made row by row."""
    columns = [_values(column) for column in batch.columns]
    names = batch.schema.names
    found = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] or [{}] * batch.num_rows
    return np.frombuffer(orjson.dumps(found)[1:-1], dtype=np.uint8)


def _values(column: pa.Array) -> list[Any]:
    """A column's values; float32 as the shortest number that gives it back, which is not what Python makes of it."""
    if _is_number(column.type) and not column.null_count:
        values: list[Any] = orjson.loads(_text_of_numbers(numpy_of(column)).data)
        return values
    listed: list[Any] = column.to_pylist()
    return listed


def columns_document(
    head: dict[str, Any],
    schema: pa.Schema,
    batches: Callable[[list[str]], Iterable[pa.RecordBatch]],
    key: str = "columns",
) -> Iterator[list[memoryview]]:
    """A JSON object: the members of head, and under `key` one array per column: half the bytes of rows.

    batches: all batches, with the columns of these names; called once for each column, because a column stands whole before
    the next one begins. A list of pieces per batch and column.
    """
    before = orjson.dumps(head)[:-1] + (b"," if head else b"") + orjson.dumps(key) + b":{"
    for name in schema.names:
        before += orjson.dumps(name) + b":["
        for batch in batches([name]):
            if batch.num_rows:
                yield [memoryview(before), _listed(batch[name]).data]
                before = b","
        before = (b"" if before == b"," else before) + b"],"
    yield [memoryview(before.removesuffix(b",") + b"}}")]


def _listed(column: pa.Array) -> npt.NDArray[np.uint8]:
    """The values of a column with commas between them."""
    if _is_number(column.type) and not column.null_count:
        return _text_of_numbers(numpy_of(column))[1:-1]
    if len(column) < FEW_ROWS:
        return np.frombuffer(orjson.dumps(_values(column)), dtype=np.uint8)[1:-1]
    return _joined(_cells(column))


def _marks(names: list[str], columns: list[_Cells]) -> list[bytes]:
    """What stands before each cell, and after the last one."""
    found, before = [], b"{"
    for name, column in zip(names, columns, strict=True):
        found.append(before + orjson.dumps(name) + b":" + column.opening)
        before = column.closing + b","
    return [*found, columns[-1].closing + b"},"]


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def _cells(column: pa.Array) -> _Cells:
    kind = column.type
    if column.null_count:
        return _of_objects(column)
    if _is_number(kind):
        return _of_numbers(numpy_of(column))
    if pa.types.is_boolean(kind):
        return _of_codes(numpy_of(column.cast(pa.int8())), [b"false", b"true"])
    if pa.types.is_dictionary(kind):
        return _of_codes(_codes(column), _texts(column.dictionary))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _of_lists(column)
    return _of_objects(column)


def _text_of_numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """A JSON array. A NaN or infinite number becomes null, as JSON has no other word for it."""
    return np.frombuffer(orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY), dtype=np.uint8)


def _of_numbers(values: npt.NDArray[Any]) -> _Cells:
    from splat_serving.database.kernels import comma_positions

    text = _text_of_numbers(values)
    borders = np.empty(values.size + 1, dtype=np.int64)
    comma_positions(text, values.size, borders)
    return _Cells(text, borders[:-1] + 1, borders[1:])


def _of_codes(codes: npt.NDArray[np.integer[Any]], texts: list[bytes]) -> _Cells:
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    stops = np.cumsum(lengths)
    found = stops[codes]
    return _Cells(np.frombuffer(b"".join(texts), dtype=np.uint8), found - lengths[codes], found)


def _of_lists(column: Any) -> _Cells:
    """A list's text is one stretch of the text of all values, commas included."""
    offsets = numpy_of(column.offsets).astype(np.int64)
    values = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    offsets = offsets - offsets[0]
    if not len(values):
        nowhere = np.zeros(len(column), dtype=np.int64)
        return _Cells(np.empty(0, dtype=np.uint8), nowhere, nowhere, b"[", b"]")
    inner = _strung_together(_cells(values))
    empty = offsets[:-1] == offsets[1:]
    starts = inner.starts[np.where(empty, 0, offsets[:-1])]
    ends = np.where(empty, starts, inner.ends[offsets[1:] - 1])
    return _Cells(inner.text, starts, ends, b"[", b"]")


def _strung_together(cells: _Cells) -> _Cells:
    """The same cells with their texts one after the other, a comma between each two."""
    if cells.starts.size > 1 and not (cells.starts[1:] == cells.ends[:-1] + 1).all():
        stops = np.cumsum(cells.ends - cells.starts + 1) - 1
        return _Cells(_joined(cells), stops - (cells.ends - cells.starts), stops)
    return cells


def _joined(cells: _Cells) -> npt.NDArray[np.uint8]:
    """All cells, at least one, with their marks, one after the other, a comma between each two."""
    from splat_serving.database.kernels import join_cells, joined_length

    marks = cells.opening + cells.closing + b","
    borders = np.array([0, len(cells.opening), len(marks)], dtype=np.int64)
    starts, ends = cells.starts[None, :], cells.ends[None, :]
    out = np.empty(joined_length(starts, ends, len(marks)), dtype=np.uint8)
    return out[: join_cells(cells.text, starts, ends, np.frombuffer(marks, dtype=np.uint8), borders, out) - 1]


def _of_objects(column: pa.Array) -> _Cells:
    """Any other column, value by value: texts, and columns with missing values."""
    texts = [orjson.dumps(value) for value in column.to_pylist()]
    return _of_codes(np.arange(len(texts)), texts)


def _codes(column: Any) -> npt.NDArray[np.integer[Any]]:
    return numpy_of(column.indices)


def _texts(dictionary: pa.Array) -> list[bytes]:
    return [orjson.dumps(value) for value in dictionary.to_pylist()]
