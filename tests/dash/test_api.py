"""Files of what the pages show: whole, with their origin, and harmless in a spreadsheet."""

import io
import json
import re
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from splat_assets.store.layout import DataRoot
from splat_dash.app import create_app
from splat_dash.query import ListQuery
from splat_dash.source import Source
from splat_serving.investigations.opening import open_subject


@pytest.fixture(scope="module")
def client(source: Source) -> TestClient:
    return TestClient(create_app(source).server, base_url="http://127.0.0.1")


def read(text: str) -> tuple[dict[str, object], pl.DataFrame]:
    head, _, rows = text.partition("\n")
    return json.loads(head.removeprefix("# ")), pl.read_csv(io.StringIO(rows))


def test_the_list_as_a_file_has_the_rows_of_the_list(client: TestClient, source: Source) -> None:
    answer = client.get("/api/features.csv?state=suggested&sort=-density")
    head, frame = read(answer.text)

    assert (
        frame["feature_id"].to_list()
        == source.rows(ListQuery(state="suggested", sort="-density"))["feature_id"].to_list()
    )
    assert (head["version"], head["provenance"]["sae"]) == (source.about.version, source.about.provenance["sae"])  # type: ignore[index]
    assert str(head["link"]).endswith("/api/features.csv?state=suggested&sort=-density")
    assert answer.headers["content-disposition"] == 'attachment; filename="features.csv"'


def test_a_feature_as_json_is_its_record(client: TestClient, source: Source) -> None:
    result = client.get("/api/features/3.json").json()

    own = source.feature(3)
    assert (result["feature_id"], result["statistics"], result["examples"]) == (3, own.statistics, own.examples)
    assert (result["label"], result["version"], result["run"]) == (None, source.about.version, "small")


def test_examples_as_a_file(client: TestClient, source: Source) -> None:
    busy = int(source.rows(ListQuery(sort="-density"))["feature_id"][0])
    _, frame = read(client.get(f"/api/features/{busy}/examples.csv").text)

    groups = source.feature(busy).examples or {}
    assert frame.height == sum(len(rows) for rows in groups.values())
    first = frame.filter(pl.col("group") == "top").row(0, named=True)
    assert (first["sample_id"], first["rank"]) == (groups["top"][0]["global_index"], 1)
    assert first["activation"] == pytest.approx(groups["top"][0]["activation"])


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/features/96.json", 404, "0 to 95"),
        ("/api/features.csv?sort=loud", 422, "sort"),
        ("/api/features/x.json", 422, ""),
    ],
)
def test_what_is_not_there_is_one_sentence(client: TestClient, path: str, status: int, message: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, message in answer.text) == (status, True)


def test_no_cell_of_a_file_is_a_formula(own_root: DataRoot) -> None:
    with open_subject("small", root=own_root) as subject:
        subject.labels.set(3, {"text": "=1+1"}, "ann")
        subject.labels.set(4, {"text": "x,=1+1,y"}, "ann")
        app = TestClient(create_app(Source(subject)).server, base_url="http://127.0.0.1")

        _, frame = read(app.get("/api/features.csv?state=labelled").text)
        head, _ = read(app.get("/api/features/4/influences/raised.csv").text)
        first = app.get("/api/features/4/influences/raised.csv").text.splitlines()[0]

    assert sorted(frame["label"]) == ["'=1+1", "x,=1+1,y"]
    assert head["label"]["text"] == "x,=1+1,y"  # type: ignore[index]
    assert ",=" not in first


@pytest.mark.parametrize("path", ["/api/features.csv?sort=best&sort=-density", "/api/compare/summary.csv?f=1,2&f=1,3"])
def test_a_parameter_that_stands_twice_is_refused(path: str, client: TestClient) -> None:
    answer = client.get(path)

    assert (answer.status_code, "appears 2 times in the address; write it once" in answer.text) == (422, True)


def test_every_address_of_a_file_in_the_document_answers(client: TestClient, source: Source) -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "dashboard.md").read_text()
    addresses = re.findall(r"`(/api/[^`]+)`", document)
    busy = source.rows(ListQuery(sort="-density"))["feature_id"].to_list()
    build = "40.SSU-ISS-ISS-_.NS-_-_-_._-_-_-_"

    statuses = {}
    for address in addresses:
        real = address.replace("45,46", f"{busy[0]},{busy[1]}").replace("45", str(busy[0])).replace("…", build)
        statuses[address] = client.get(real).status_code

    assert len(addresses) >= 10
    assert {address: status for address, status in statuses.items() if status != 200} == {}
