"""Tags of answers: whatever decides an answer's bytes changes its tag, and nothing that may change is kept for ever."""

import importlib.metadata
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from splat_assets.store.files import write_json
from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, OpenFolder, Target
from splat_serving.database.folder import Folder
from splat_serving.http.app import create_app
from splat_serving.http.replies import software
from splat_serving.labels.book import LabelBook
from splat_serving.labels.log import LabelLog
from tests.serving.conftest import client_of

PATHS = [
    "/activations/1?format=csv",
    "/features",
    "/features/1",
    "/context/vocab",
    "/version",
    "/scorecard",
    "/published",
]


def _tags(root: DataRoot, paths: list[str], target: str | None = "small") -> dict[str, str]:
    with client_of(target, root) as client:
        return {path: client.get(path).headers["etag"] for path in paths}


@pytest.fixture
def another_release(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    software.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"0.0.0.{name}")
    yield
    software.cache_clear()


def test_another_release_has_other_tags(finished_root: DataRoot, request: pytest.FixtureRequest) -> None:
    before = _tags(finished_root, PATHS)
    assert before == _tags(finished_root, PATHS)

    request.getfixturevalue("another_release")
    after = _tags(finished_root, PATHS)

    assert [path for path in PATHS if before[path] == after[path]] == []


def test_a_scorecard_that_was_measured_again_has_another_tag_and_is_never_kept_for_ever(own_root: DataRoot) -> None:
    layout = own_root.run("small")
    with client_of("small", own_root) as client:
        version = client.get("/version").json()["version"]
        paths = ["/scorecard", "/published", f"/v/{version}/scorecard", f"/v/{version}/published"]
        before = {path: client.get(path) for path in paths}
        card = json.loads(layout.scorecard.read_text())
        write_json(layout.scorecard, {**card, "n_samples": card.get("n_samples", 0) + 1})

        for path, old in before.items():
            new = client.get(path, headers={"If-None-Match": old.headers["etag"]})
            assert (new.status_code, new.headers["cache-control"]) == (200, "no-cache"), path
            assert client.get(path, headers={"If-None-Match": new.headers["etag"]}).status_code == 304


def test_another_label_of_the_same_revision_has_another_tag(own_root: DataRoot) -> None:
    tags = []
    for text in ("swims", "sinks"):
        with client_of("small", own_root) as client:
            sae = client.get("/version").json()["provenance"]["sae"]
            LabelBook(LabelLog(own_root.labels, sae), 96).set(1, {"text": text}, "ann")
            answer = client.get("/features/1")
        assert (answer.json()["label"]["text"], answer.json()["label"]["revision"]) == (text, 1)
        tags.append(answer.headers["etag"])
        shutil.rmtree(own_root.labels)

    assert tags[0] != tags[1]


def test_the_same_version_under_another_name_has_other_tags(own_root: DataRoot) -> None:
    shutil.copytree(own_root.run("small").root, own_root.run("other").root)
    small, other = (_tags(own_root, ["/version", "/features"], name) for name in ("small", "other"))

    assert small["/version"] != other["/version"]
    assert small["/features"] != other["/features"]


def test_a_folder_with_another_vocabulary_beside_it_has_other_tags(efficient: Path) -> None:
    answers = []
    for name in ("swim", "sink"):
        folder = Folder.open(efficient)
        assert folder.vocabulary is not None
        tokens = tuple(replace(token, name=f"{name}_{token.id}") for token in folder.vocabulary.tokens)
        folder.vocabulary = replace(folder.vocabulary, tokens=tokens)
        app = create_app(Catalogue(Target(OpenFolder("folder", folder), None)))
        with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
            answers.append(client.get("/context/vocab"))

    assert answers[0].headers["x-store-version"] == answers[1].headers["x-store-version"]
    assert answers[0].json() != answers[1].json()
    assert answers[0].headers["etag"] != answers[1].headers["etag"]


def test_another_question_has_another_tag(finished_root: DataRoot) -> None:
    paths = [
        "/activations/1?limit=2",
        "/activations/1?limit=3",
        "/activations/2?limit=2",
        "/features?limit=2",
        "/tokens",
    ]
    with client_of("small", finished_root) as client:
        tags = [client.get(path).headers["etag"] for path in paths]

    assert len(set(tags)) == len(paths)
