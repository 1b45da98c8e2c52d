"""Answers of more than one block: the same rows in every form as a small answer would have."""

import asyncio
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
from splat_assets.store.published.version import Store
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.local import LocalDatabase
from splat_serving.database.selection import Selection
from splat_serving.http.app import ActivationServer, create_app
from splat_serving.http.arrow_stream import FILE, STREAM
from splat_serving.http.settings import settings_from_environment
from tests.serving.asgi import ask
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


def _held_while_sent(app: ActivationServer, path: str) -> tuple[list[int], list[int]]:
    """Of each piece of an answer that a client takes: its bytes, and what the server counts as held at that moment."""
    sizes: list[int] = []
    held: list[int] = []

    def on_piece(n_bytes: int) -> None:
        sizes.append(n_bytes)
        held.append(app.state.memory.held_bytes)

    asyncio.run(ask(app, path, on_piece=on_piece))
    return sizes, held


@pytest.fixture
def app(large: Store) -> ActivationServer:
    store = large.folder.parents[1]
    return create_app(Catalogue(Target.of(str(store), DataRoot(store))), settings_from_environment())


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_what_an_answer_holds_is_counted_from_its_first_byte_to_its_last(form: str, app: ActivationServer) -> None:
    sizes, held = _held_while_sent(
        app, f"/activations/0?format={form}&columns=global_index,activation,split,kind,source_row"
    )

    assert min(held[:-2]) >= 140_000 * 8  # of the ids and values that it is made from
    assert all(count >= size for size, count in zip(sizes, held, strict=True))
    assert app.state.memory.held_bytes == 0


def test_an_answer_that_is_refused_holds_nothing(app: ActivationServer) -> None:
    other = app.state.memory.hold(app.state.settings.max_sending_bytes)

    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        refused = client.get("/activations/0?format=parquet")
        other.release()
        answered = client.get("/activations/0?format=parquet")

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert answered.status_code == 200
    assert app.state.memory.held_bytes == 0


def test_a_page_of_a_feature_does_not_keep_the_rest_of_it(large: Store) -> None:
    page, n_active, _ = LocalDatabase(large).select(0, Selection(limit=10))

    assert n_active == 140_000
    assert page.sample_ids.base is None and page.values.base is None
