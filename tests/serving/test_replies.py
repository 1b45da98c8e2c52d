"""Answers as bytes: every form is made block by block, and what an answer holds in memory is what is counted."""

import io
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pytest

from splat_serving.http.arrow_stream import FILE, STREAM
from splat_serving.http.negotiation import CSV, JSON, PARQUET, Form
from splat_serving.http.replies import Rows, encoded

N_BATCHES, N_ROWS = 12, 65_536
FORMS = [(STREAM, "rows"), (FILE, "rows"), (PARQUET, "rows"), (CSV, "rows"), (JSON, "rows"), (JSON, "columns")]


TOKENS = pa.array([[1, 2]] * N_ROWS, pa.list_(pa.int32()))


class Batches:
    """Batches that are made when they are wanted; n_held: how many of them somebody still holds in memory."""

    def __init__(self) -> None:
        self.n_made = 0
        self._ids: list[weakref.ref[Any]] = []

    @property
    def n_held(self) -> int:
        return sum(ids() is not None for ids in self._ids)

    def __call__(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        for number in range(N_BATCHES):
            ids = np.arange(number * N_ROWS, (number + 1) * N_ROWS, dtype=np.int64)
            self._ids.append(weakref.ref(ids))
            self.n_made += 1
            arrays = {"id": pa.array(ids), "tokens": TOKENS}
            del ids
            yield pa.RecordBatch.from_pydict({name: arrays.pop(name) for name in names})


SCHEMA = pa.schema({"id": pa.int64(), "tokens": pa.list_(pa.int32())})
READ: dict[tuple[str, str], Callable[[bytes], list[int]]] = {
    (STREAM, "rows"): lambda body: pl.read_ipc_stream(io.BytesIO(body))["id"].to_list(),
    (FILE, "rows"): lambda body: pl.read_ipc(io.BytesIO(body))["id"].to_list(),
    (PARQUET, "rows"): lambda body: pl.read_parquet(io.BytesIO(body))["id"].to_list(),
    (CSV, "rows"): lambda body: pl.read_csv(io.BytesIO(body))["id"].to_list(),
    (JSON, "rows"): lambda body: [row["id"] for row in orjson.loads(body)["data"]],
    (JSON, "columns"): lambda body: list(orjson.loads(body)["columns"]["id"]),
}


@pytest.mark.parametrize(("form", "orient"), FORMS)
def test_every_form_is_made_block_by_block_and_lets_each_block_go(form: str, orient: str) -> None:
    batches = Batches()
    body = b""
    made, held, largest = [], [], 0

    for block in encoded(Rows(SCHEMA, batches, {"n": 1}), Form(form), orient).pieces:
        made.append(batches.n_made)
        held.append(batches.n_held)
        largest = max(largest, sum(piece.nbytes for piece in block))
        body += b"".join(block)
        del block

    assert made[0] == 1  # the first block is there before the second is begun
    assert max(held) <= 2
    assert largest < len(body) / 4
    assert READ[form, orient](body) == list(range(N_BATCHES * N_ROWS))


def test_no_text_of_csv_is_a_formula_and_numbers_stay() -> None:
    frame = pl.DataFrame(
        {"name": ["=1+1", "swims"], "kind": ["@a", "b"], "words": [["+1", "x"], ["y"]], "ids": [[-1, 2], [3]],
         "value": [-1.5, 2.0]},
        schema_overrides={"kind": pl.Categorical},
    )  # fmt: skip

    text = b"".join(bytes(piece) for block in encoded(Rows.of_frame(frame, {}), Form(CSV)).pieces for piece in block)

    found = pl.read_csv(io.BytesIO(text))
    assert found["name"].to_list() == ["'=1+1", "swims"]
    assert found["kind"].to_list() == ["'@a", "b"]
    assert found["words"].to_list() == ["'+1 x", "y"]
    assert found["ids"].to_list() == ["-1 2", "3"]
    assert found["value"].to_list() == [-1.5, 2.0]
