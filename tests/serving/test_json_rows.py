"""Rows of JSON: whichever way they are put together, the bytes are the same, and they are the values."""

import subprocess
import sys

import numpy as np
import orjson
import pyarrow as pa
import pytest

from splat_serving.http import json_rows


def batch_of(n_rows: int, seed: int = 0) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, n_rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = rng.integers(-5, 1_000, int(offsets[-1])).astype(np.int32)
    names = pa.array(['plain "quoted"', "línea\n", ""])
    codes = rng.integers(0, 3, int(offsets[-1])).astype(np.int8)
    return pa.record_batch(
        {
            "activation": rng.exponential(size=n_rows).astype(np.float32),
            "id": rng.integers(-(2**40), 2**40, n_rows),
            "flag": rng.random(n_rows) < 0.5,
            "tokens": pa.ListArray.from_arrays(offsets, values),
            "abilities": pa.ListArray.from_arrays(offsets, pa.DictionaryArray.from_arrays(codes, names)),
            "name": pa.DictionaryArray.from_arrays(rng.integers(0, 3, n_rows).astype(np.int8), names),
            "missing": pa.array([None if i % 3 else i for i in range(n_rows)], pa.int64()),
        }
    )


def test_rows_are_the_same_however_they_are_cut() -> None:
    whole = batch_of(4_000)

    assert json_rows.rows(whole) == b",".join(json_rows.rows(whole.slice(at, 100)) for at in range(0, 4_000, 100))


def test_a_number_has_the_shortest_digits_that_give_it_back() -> None:
    batch = pa.record_batch({"value": np.array([0.1, 1e-7, 16777216, np.nan, np.inf, -np.inf], dtype=np.float32)})

    values = [row["value"] for row in orjson.loads(b"[" + json_rows.rows(batch) + b"]")]

    assert values == [0.1, 1e-7, 16777216.0, None, None, None]


def test_rows_without_columns_are_empty_objects() -> None:
    table = pa.table({"a": [1, 2]}).select([])

    assert json_rows.rows(pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))) == b"{},{}"
    assert table.num_columns == 0


def test_json_needs_no_compiler() -> None:
    code = "import sys; from splat_serving.http import json_rows; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("n_rows", [1, 7, 4_096 - 1, 4_096, 4_096 + 1])
def test_what_is_written_is_read_back(n_rows: int) -> None:
    batch = batch_of(n_rows, seed=n_rows)

    found = orjson.loads(b"[" + json_rows.rows(batch) + b"]")

    values = np.array([row.pop("activation") for row in found]).astype(np.float32)
    np.testing.assert_array_equal(values, batch["activation"].to_numpy())
    assert found == batch.drop_columns(["activation"]).to_pylist()


@pytest.mark.parametrize("n_rows", [3, 4_096])
def test_lists_that_are_all_empty_and_numbers_that_are_none(n_rows: int) -> None:
    offsets = np.zeros(n_rows + 1, dtype=np.int32)
    batch = pa.record_batch(
        {
            "tokens": pa.ListArray.from_arrays(offsets, pa.array([], pa.int32())),
            "value": np.full(n_rows, np.nan, dtype=np.float32),
        }
    )

    assert json_rows.rows(batch) == b",".join([b'{"tokens":[],"value":null}'] * n_rows)


def test_no_rows_are_no_bytes() -> None:
    assert json_rows.rows(batch_of(1).slice(0, 0)) == b""


def test_a_document_without_rows_has_an_empty_list() -> None:
    body = b"".join(piece for block in json_rows.document({"a": 1}, []) for piece in block)

    assert orjson.loads(body) == {"a": 1, "data": []}


@pytest.mark.parametrize("heights", [[], [0], [5], [4_096 + 3], [4_096, 0, 7]])
def test_columns_hold_what_the_batches_hold(heights: list[int]) -> None:
    batches = [batch_of(n_rows, seed=at) for at, n_rows in enumerate(heights)]
    table = pa.Table.from_batches(batches, batch_of(0).schema)

    blocks = json_rows.columns_document({"n": 1}, table.schema, lambda names: (one.select(names) for one in batches))
    found = orjson.loads(b"".join(piece for block in blocks for piece in block))

    values = np.array(found["columns"].pop("activation")).astype(np.float32)
    np.testing.assert_array_equal(values, table["activation"].to_numpy())
    assert found == {"n": 1, "columns": table.drop_columns(["activation"]).to_pydict()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64])
def test_a_column_of_numbers_has_the_text_that_its_rows_have(dtype: type[np.number]) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**32, 2_000, dtype=np.uint32).view(dtype)
    extremes = [np.nan, np.inf, -0.0, 1e-7, 1e16, 0.1] if np.issubdtype(dtype, np.floating) else [0, 1, 2**31 - 1]
    values = np.concatenate([values, np.array(extremes, dtype=dtype)])
    batch = pa.record_batch({"v": pa.array(values)})

    column = b"".join(
        bytes(piece) for pieces in json_rows.columns_document({}, batch.schema, lambda _: [batch]) for piece in pieces
    )

    rows = json_rows.rows(batch).replace(b'{"v":', b"").replace(b"}", b"")
    assert column == b'{"columns":{"v":[' + rows + b"]}}"
