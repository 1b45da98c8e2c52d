"""Requests are read as they are written: nothing is passed over, and no typing error becomes another number."""

from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
from starlette.testclient import TestClient

from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import publish
from splat_assets.text.numerals import is_number, is_whole
from splat_serving.labels.event import checked_event
from tests.serving.conftest import client_of
from tests.store.making import SAE, staged_parts

NO_WHOLE_NUMBERS = ["1_0", " 1", "1 ", "+1", "١", "１", "1.0", "1e1", "true", "True", "0x1", "", "--1"]
NO_NUMBERS = ["1_0", " 1", "+1", "١", "true", "nan", "inf", "-Infinity", "0x1p3", "", "1e", "."]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("written")
    dense = np.ones((12, 12), dtype=np.float32)
    publish(root / "store", staged_parts(root / "staged", dense), SAE)
    with client_of(str(root / "store"), DataRoot(root)) as client:
        yield client


@pytest.mark.parametrize("text", NO_WHOLE_NUMBERS)
def test_what_is_no_whole_number_is_refused_in_paths_and_parameters(text: str, asked: TestClient) -> None:
    for path in (f"/activations/1?limit={quote(text)}", f"/activations/1?seed={quote(text)}&sample_frac=0.5"):
        answer = asked.get(path)
        assert (answer.status_code, answer.json()["parameter"]) == (422, path.partition("?")[2].partition("=")[0])
        assert "must be a whole number" in answer.json()["detail"]
    if text:
        answers = [
            asked.get(f"/{path}/{quote(text)}") for path in ("activations", "samples", "coactivation", "features")
        ]
        assert {answer.status_code for answer in answers} == {422}
    assert not is_whole(text)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_refused(text: str, asked: TestClient) -> None:
    answer = asked.get(f"/activations/1?min_activation={quote(text)}")

    assert (answer.status_code, answer.json()["parameter"]) == (422, "min_activation")
    assert not is_number(text)


@pytest.mark.parametrize("text", ["0", "-1", "12", ".5", "1.", "1e3", "-2.5E-3"])
def test_numbers_are_numbers(text: str, asked: TestClient) -> None:
    assert is_number(text)
    assert asked.get(f"/activations/1?min_activation={text}").status_code == 200


@pytest.mark.parametrize(
    "query",
    ["limit=1&limit=2", "limit=1&limit=1", "order=index&order=activation", "columns=activation&columns=global_index",
     "format=csv&format=json", "orient=rows&orient=rows", "include_abilities=true&include_abilities=false"],
)  # fmt: skip
def test_a_parameter_of_one_value_stands_once(query: str, asked: TestClient) -> None:
    answer = asked.get(f"/activations/1?{query}")

    assert (answer.status_code, answer.json()["parameter"]) == (422, query.partition("=")[0])
    assert "appears 2 times in the address; write it once" in answer.json()["detail"]


def test_a_parameter_of_several_values_may_stand_several_times(asked: TestClient) -> None:
    assert asked.get("/activations/1?weapon=0&weapon=1&columns=activation").status_code == 200


@pytest.mark.parametrize("path", ["/activations/1?columns=activation,activation", "/samples?columns=split,kind,split"])
def test_a_column_is_named_once(path: str, asked: TestClient) -> None:
    answer = asked.get(path)

    assert (answer.status_code, answer.json()["parameter"]) == (422, "columns")
    assert "is named 2 times; name each column once" in answer.json()["detail"]


BODIES = {
    "a member twice": ("/query", '{"limit": 1, "limit": 2}', "'limit' appears 2 times in one object"),
    "a member of a member twice": ("/query", '{"all": [{"feature": 1, "feature": 2}]}', "'feature' appears 2 times"),
    "a rule's member twice": ("/rules/features", '{"rule": {"ability": "a", "ability": "b"}}', "'ability' appears 2 times"),
    "true as a feature": ("/query", '{"all": [{"feature": true}]}', "valid integer"),
    "a text as a feature": ("/activations", '{"feature_ids": ["1_0"]}', "valid integer"),
    "true as a limit": ("/activations", '{"feature_ids": [1], "limit": true}', "valid integer"),
    "true as a bound": ("/activations", '{"feature_ids": [1], "min_activation": true}', "valid number"),
    "a text as a bound": ("/query", '{"all": [{"feature": 1, "min": " 1"}]}', "valid number"),
    "true as a count of the model": ("/live/features", '{"builds": [{"weapon": 1, "tokens": []}], "top_k": true}', "integer"),
    "a column twice": ("/activations", '{"feature_ids": [1], "columns": ["split", "split"]}', "named 2 times"),
    "fit into 64 bits": ("/query", '{"all": [{"feature": 1, "min": 18446744073709551616}]}', "fit into 64 bits"),
    "no number of JSON": ("/query", '{"all": [{"feature": 1, "min": NaN}]}', "is not a JSON number"),
}  # fmt: skip


@pytest.mark.parametrize("what", BODIES)
def test_a_body_says_each_thing_once_and_numbers_as_numbers(what: str, asked: TestClient) -> None:
    path, body, sentence = BODIES[what]

    answer = asked.post(path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize("value", [True, "1_0", " 1", "١"])
@pytest.mark.parametrize("name", ["feature_id", "based_on", "priority"])
def test_numbers_of_a_label_event_are_numbers(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}: must be a number"):
        checked_event({"kind": "skip", "feature_id": 1, "author": "ann", name: value})


def test_a_revision_beyond_64_bits_is_refused() -> None:
    with pytest.raises(InputError, match="based_on"):
        checked_event({"kind": "skip", "feature_id": 1, "author": "ann", "based_on": 2**64})


def test_an_object_of_many_members_is_compared_in_no_time(asked: TestClient) -> None:
    members = ",".join(f'"{number}":0' for number in range(60_000))

    answer = asked.post("/query", content=f'{{{members},"59999":1}}', headers={"Content-Type": "application/json"})

    assert "'59999' appears 2 times" in answer.json()["detail"]
