"""A client written from the documented shapes of the guide's first server works with ours, started as the guide starts it.

`GuideClient` uses nothing of this project: requests, JSON, and a reader of Arrow files.
"""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot
from tests.contracts.sources import sparse_random
from tests.store.test_guide_transposed import upstream_array
from tests.store.upstream_folders import write_upstream_tree

_STARTS_WITHIN_SECONDS = 60.0


class GuideClient:
    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=60)

    def __enter__(self) -> "GuideClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def is_healthy(self) -> bool:
        answer = self._http.get("/health")
        return answer.status_code == 200 and answer.json()["status"] == "healthy"

    def get_all_feature_ids(self) -> list[int]:
        found: list[int] = self._http.get("/features").json()["feature_ids"]
        return found

    def get_activations(self, feature_id: int, **params: Any) -> dict[str, Any]:
        answer = self._http.get(f"/activations/{feature_id}", params=params)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        assert found.keys() >= {"feature_id", "n_rows", "columns", "data", "load_time_ms"}
        return found

    def get_activations_arrow(self, feature_id: int, **params: Any) -> tuple[pl.DataFrame, httpx2.Headers]:
        answer = self._http.get(f"/activations/{feature_id}/arrow", params=params)
        answer.raise_for_status()
        return pl.read_ipc(io.BytesIO(answer.content)), answer.headers

    def get_vocab(self) -> tuple[dict[str, int], dict[str, int]]:
        found = self._http.get("/context/vocab").json()
        return found["vocab"], found["weapon_vocab"]

    def get_inv_vocab(self) -> tuple[dict[int, str], dict[int, str]]:
        found = self._http.get("/context/inv_vocab").json()
        tokens = {int(key): name for key, name in found["inv_vocab"].items()}
        return tokens, {int(key): name for key, name in found["inv_weapon_vocab"].items()}

    def is_unknown(self, feature_id: int) -> bool:
        return self._http.get(f"/activations/{feature_id}").status_code == 404


@contextmanager
def uvicorn(folder: Path, **variables: Path) -> Iterator[str]:
    """The URL of a server started by the guide's command. folder: where its log goes."""
    command = [sys.executable, "-m", "uvicorn", "splat_serving.server:app", "--host", "127.0.0.1", "--port", "0"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACTIVATION_")}
    environment = {**inherited, **{name: str(value) for name, value in variables.items()}}
    log = folder / "uvicorn.log"
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, env=environment)
    try:
        yield _url(process, log)
    finally:
        process.terminate()
        process.wait()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + _STARTS_WITHIN_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"running on (http://\S+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')}")


@dataclass(frozen=True)
class Expected:
    """What a server must say. tokens, weapons: of each sample."""

    dense: npt.NDArray[np.float32]
    tokens: list[list[int]]
    weapons: list[int]
    vocab: dict[str, int]
    weapon_vocab: dict[str, int]


def of_run(root: DataRoot) -> Expected:
    store = open_store(root.run("small").root)
    return Expected(
        next(store.rows(store.n_samples)).to_dense(store.n_features),
        store.samples["tokens"].to_list(),
        store.samples["weapon_id_token"].to_list(),
        {token.name: token.id for token in store.vocabulary.tokens},
        {item.key: item.id for item in store.contexts.items},
    )


def of_upstream(folder: Path) -> tuple[Expected, dict[str, Path]]:
    """A folder as the upstream tools write it, and the variables of a server of it."""
    dense = sparse_random(23, 6, 0.4)
    tree = write_upstream_tree(dense, [9, 9, 5], folder / "activations_efficient")
    transposed = folder / "activations_transposed"
    transposed.mkdir()
    upstream_array(dense, transposed)
    vocab = {"swim_speed_up_3": 0, "swim_speed_up_6": 1, "comeback": 2, "<NULL>": 3, "<PAD>": 4}
    weapon_vocab = {"weapon_id_0": 0, "weapon_id_10": 1, "weapon_id_20": 2}
    for name, names in (("vocab.json", vocab), ("weapon_vocab.json", weapon_vocab)):
        (folder / name).write_text(json.dumps(names))
    metadata = pl.concat([pl.read_parquet(path) for path in sorted((tree / "metadata").iterdir())])
    tokens, weapons = metadata["ability_tokens"].to_list(), metadata["weapon_id_token"].to_list()
    variables = {
        "ACTIVATION_DATA_DIR": tree,
        "ACTIVATION_TRANSPOSED_DIR": transposed,
        "ACTIVATION_VOCAB_PATH": folder / "vocab.json",
        "ACTIVATION_WEAPON_VOCAB_PATH": folder / "weapon_vocab.json",
    }
    return Expected(dense, tokens, weapons, vocab, weapon_vocab), variables


@pytest.fixture(scope="module", params=["a store", "guide formats", "a folder of the upstream tools"])
def served(
    request: pytest.FixtureRequest, finished_root: DataRoot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GuideClient, Expected]]:
    folder, run = tmp_path_factory.mktemp("guide"), finished_root.run("small")
    if request.param == "a folder of the upstream tools":
        expected, variables = of_upstream(folder)
    else:
        expected = of_run(finished_root)
        variables = {"ACTIVATION_DATA_DIR": run.store}
        if request.param == "guide formats":
            variables = {
                "ACTIVATION_DATA_DIR": run.efficient,
                "ACTIVATION_TRANSPOSED_DIR": run.transposed,
            }
    with uvicorn(folder, **variables) as url, GuideClient(url) as client:
        yield client, expected


@pytest.fixture
def client(served: tuple[GuideClient, Expected]) -> GuideClient:
    return served[0]


@pytest.fixture
def expected(served: tuple[GuideClient, Expected]) -> Expected:
    return served[1]


def most_active(expected: Expected) -> int:
    return int((expected.dense > 0).sum(axis=0).argmax())


def test_it_is_healthy_and_lists_its_features(client: GuideClient, expected: Expected) -> None:
    assert client.is_healthy()
    assert client.get_all_feature_ids() == list(range(expected.dense.shape[1]))
    assert client.is_unknown(expected.dense.shape[1])


def test_a_feature_comes_as_rows(client: GuideClient, expected: Expected) -> None:
    feature_id = most_active(expected)
    ids = np.flatnonzero(expected.dense[:, feature_id]).tolist()

    found = client.get_activations(feature_id)

    assert (found["feature_id"], found["n_rows"]) == (feature_id, len(ids))
    assert np.array_equal(np.float32([row["activation"] for row in found["data"]]), expected.dense[ids, feature_id])
    assert [row["weapon_id"] for row in found["data"]] == [expected.weapons[i] for i in ids]
    assert [row["ability_input_tokens"] for row in found["data"]] == [expected.tokens[i] for i in ids]
    assert set(found["columns"]) == set(found["data"][0])
    assert found["load_time_ms"] >= 0


def test_limit_keeps_the_first_rows_and_abilities_can_be_left_out(client: GuideClient, expected: Expected) -> None:
    feature_id = most_active(expected)
    values = expected.dense[:, feature_id]

    found = client.get_activations(feature_id, limit=3, include_abilities="false")

    assert [np.float32(row["activation"]) for row in found["data"]] == values[values > 0][:3].tolist()
    assert "ability_input_tokens" not in found["columns"]
    assert all("ability_input_tokens" not in row for row in found["data"])


def test_a_share_of_the_rows_is_that_share(client: GuideClient, expected: Expected) -> None:
    feature_id = most_active(expected)
    values = expected.dense[:, feature_id]

    found = client.get_activations(feature_id, sample_frac=0.5)

    drawn = [np.float32(row["activation"]) for row in found["data"]]
    assert len(drawn) == found["n_rows"] == round((values > 0).sum() * 0.5)
    assert set(drawn) <= set(values[values > 0].tolist())


def test_a_feature_comes_as_an_arrow_file(client: GuideClient, expected: Expected) -> None:
    feature_id = most_active(expected)
    ids = np.flatnonzero(expected.dense[:, feature_id]).tolist()

    table, headers = client.get_activations_arrow(feature_id)
    short, _ = client.get_activations_arrow(feature_id, limit=2, include_abilities="false")

    assert table.schema["activation"] == pl.Float32
    assert np.array_equal(table["activation"].to_numpy(), expected.dense[ids, feature_id])
    assert table["weapon_id"].to_list() == [expected.weapons[i] for i in ids]
    assert table["ability_input_tokens"].to_list() == [expected.tokens[i] for i in ids]
    assert (headers["X-Feature-Id"], headers["X-Num-Rows"]) == (str(feature_id), str(len(ids)))
    assert float(headers["X-Load-Time-Ms"]) >= 0
    assert headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    assert short["activation"].to_list() == table["activation"][:2].to_list()
    assert "ability_input_tokens" not in short.columns


def test_the_numbers_have_their_names(client: GuideClient, expected: Expected) -> None:
    tokens, weapons = client.get_inv_vocab()

    assert client.get_vocab() == (expected.vocab, expected.weapon_vocab)
    assert tokens == {at: name for name, at in expected.vocab.items()}
    assert weapons == {at: name for name, at in expected.weapon_vocab.items()}
