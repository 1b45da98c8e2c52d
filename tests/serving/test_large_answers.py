"""Answers of more than one block: the same rows in every form as a small answer would have."""

import io
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from benchmarks.reference_store import make_reference_store
from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot
from splat_assets.store.version import Store
from splat_serving.arrow_stream import FILE, STREAM
from tests.serving.conftest import client_of

N_SAMPLES = 150_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store whose feature 0 fires on 140,000 samples."""
    root = tmp_path_factory.mktemp("large")
    return open_store(make_reference_store(root, N_SAMPLES, n_features=9, n_active=2, counted=(140_000,)))


@pytest.fixture(scope="module")
def asked(large: Store) -> Iterator[TestClient]:
    store = large.folder.parents[1]
    with client_of(str(store), DataRoot(store)) as client:
        yield client


READ = {
    STREAM: lambda body: pl.read_ipc_stream(io.BytesIO(body)),
    FILE: lambda body: pl.read_ipc(io.BytesIO(body)),
    "application/vnd.apache.parquet": lambda body: pl.read_parquet(io.BytesIO(body)),
    "text/csv": lambda body: pl.read_csv(io.BytesIO(body)),
}


@pytest.mark.parametrize("form", READ)
def test_every_form_has_every_row(form: str, asked: TestClient, large: Store) -> None:
    expected = large.feature(0)

    answer = asked.get("/activations/0", headers={"Accept": form})

    found = READ[form](answer.content)
    np.testing.assert_array_equal(found["global_index"].to_numpy(), expected.sample_ids)
    np.testing.assert_array_equal(found["activation"].to_numpy().astype(np.float32), expected.values)
    tokens = large.take_samples(expected.sample_ids)["tokens"]
    shown = found["ability_input_tokens"]
    assert (
        shown if shown.dtype == pl.List else shown.cast(pl.String).str.split(" ").cast(pl.List(pl.Int32))
    ).to_list() == (tokens.to_list())


def test_json_rows_go_on_across_blocks(asked: TestClient, large: Store) -> None:
    expected = large.feature(0)

    answer = asked.get("/activations/0")

    body = answer.json()
    assert "content-length" not in answer.headers
    assert [row["global_index"] for row in body["data"]] == expected.sample_ids.tolist()
    assert body["n_rows"] == expected.n_active == len(body["data"])


def test_the_arrow_route_can_still_be_read_as_a_file(asked: TestClient, large: Store) -> None:
    body = asked.get("/activations/0/arrow").content

    stream = pa.ipc.open_stream(body)
    n_batches = sum(1 for _ in stream)
    assert n_batches > 1
    assert pa.ipc.open_file(body).num_record_batches == n_batches
    assert pl.read_ipc(io.BytesIO(body))["global_index"].to_list() == large.feature(0).sample_ids.tolist()


def test_an_answer_that_is_made_whole_says_its_length(asked: TestClient, large: Store) -> None:
    answer = asked.get("/activations/0?columns=global_index,activation&format=arrow")

    assert int(answer.headers["content-length"]) == len(answer.content)
    assert pa.ipc.open_stream(answer.content).read_all().num_rows == large.feature(0).n_active
