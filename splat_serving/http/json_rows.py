"""Record batches as JSON: rows `{"activation":1.5,"weapon_id":3},{…}`, or one array a column. Polars writes the text.

A float32 has the shortest digits that give it back; a NaN or an infinite number becomes null, as JSON cannot write it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

_NUMBERS = {"float", "double", "int32", "int64", "uint32", "uint64"}


def document(head: dict[str, Any], batches: Iterable[pa.RecordBatch], key: str = "data") -> Iterator[list[memoryview]]:
    """A JSON object: the members of head, and under `key` the rows of all batches. A list of pieces per batch."""
    opening = orjson.dumps(head)[:-1] + (b"," if head else b"") + orjson.dumps(key) + b":["
    before = opening
    for batch in batches:
        if batch.num_rows:
            yield [memoryview(before), memoryview(rows(batch))]
            before = b","
    yield [memoryview(opening + b"]}" if before is opening else b"]}")]


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
                yield [memoryview(before), memoryview(_values(batch[name]))]
                before = b","
        before = (b"" if before == b"," else before) + b"],"
    yield [memoryview(before.removesuffix(b",") + b"}}")]


def rows(batch: pa.RecordBatch) -> bytes:
    """The rows of a batch as JSON objects with commas between them."""
    if not batch.num_columns:
        return b",".join([b"{}"] * batch.num_rows)
    return pl.DataFrame(batch).write_json()[1:-1].encode()


def _values(column: pa.Array) -> bytes:
    """The values of a column with commas between them; numbers by orjson, which writes them as polars does, but faster."""
    if not column.null_count and str(column.type) in _NUMBERS:
        return orjson.dumps(column.to_numpy(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    whole = pl.DataFrame({"": pl.Series(column).implode()}).write_json()  # [{"":[1,2]}]
    return whole[len('[{"":[') : -len("]}]")].encode()
