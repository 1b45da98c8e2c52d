"""Labels on disk and behind a server: the same book, and a page of a feature that is never stale."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from splat_assets.errors import InputError
from splat_assets.store.errors import FeatureNotFoundError
from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.errors import LabelConflictError, NotAllowedError, NotComputedError
from splat_serving.http.app import create_app
from splat_serving.http.settings import settings_from_environment
from splat_serving.investigations.label_pages import status_page
from splat_serving.investigations.opening import open_subject
from splat_serving.labels.book import LabelBook
from tests.serving.conftest import client_of
from tests.serving.running import running


@pytest.fixture(params=["local", "remote"])
def book(request: pytest.FixtureRequest, own_root: DataRoot) -> Iterator[LabelBook]:
    """The labels of the small run's SAE, from disk and through a server that takes labels."""
    if request.param == "local":
        with open_subject("small", root=own_root) as subject:
            yield subject.labels
        return
    app = create_app(Catalogue(Target.of(None, own_root)), settings_from_environment(allow_labels=True))
    with running(app) as url, open_subject(url) as subject:
        yield subject.labels


def test_labels_skips_and_the_queue_are_the_same_everywhere(book: LabelBook, own_root: DataRoot) -> None:
    book.enqueue(3, 1.0, "often active", "ann")
    book.enqueue(4, 2.0, "", "ann")
    first = book.set(3, {"text": "swims", "rule": {"ability": "swim_speed_up", "at_least": 21}}, "ann")
    book.set(3, {"status": "accepted"}, "bob")
    book.skip(4, "unclear", "ann")

    with open_subject("small", root=own_root) as subject:
        here = subject.labels
    for one in (book, here):
        label = one.label(3)
        assert label is not None and label.label is not None
        assert (label.label.text, label.label.status, label.author, label.revision) == ("swims", "accepted", "bob", 2)
        assert (one.queue(), one.skipped()) == ([], [4])
        assert [event.kind for event in one.history(3)] == ["queue", "label", "label"]
    assert book.history(3) == here.history(3)
    assert first.revision == 1


def test_who_is_late_and_what_means_nothing_is_refused_alike(book: LabelBook) -> None:
    book.set(5, {"text": "first"}, "ann")

    with pytest.raises(LabelConflictError, match="at revision 1 by now, not at 0"):
        book.set(5, {"text": "second"}, "bob", based_on=0)
    with pytest.raises(FeatureNotFoundError, match="features 0 to 95"):
        book.set(96, {"text": "x"}, "ann")
    with pytest.raises(InputError, match="category"):
        book.set(5, {"category": "poetic"}, "ann")
    assert [event.conflict for event in book.history(5)] == [False, True]


def test_a_server_refuses_labels_unless_they_are_allowed(own_root: DataRoot) -> None:
    app = create_app(Catalogue(Target.of(None, own_root)), settings_from_environment())
    with running(app) as url, open_subject(url) as subject:
        with pytest.raises(NotAllowedError, match="start it with --allow-labels"):
            subject.labels.set(1, {"text": "x"}, "ann")
        assert subject.labels.current() == {}
    assert not own_root.labels.exists()


def test_the_page_of_a_feature_has_its_label_and_is_never_stale(own_root: DataRoot) -> None:
    with client_of(None, own_root, settings_from_environment(allow_labels=True)) as client:
        version = client.get("/version").json()["version"]
        pinned = f"/v/{version}/features/7"
        before = client.get(pinned)
        assert before.json()["label"] is None
        assert "immutable" not in before.headers["cache-control"]
        known = {"If-None-Match": before.headers["etag"]}
        assert client.get(pinned, headers=known).status_code == 304

        event = {"kind": "label", "feature_id": 7, "author": "ann", "label": {"text": "swims"}, "based_on": 0}
        assert client.post("/label-events", json=event).status_code == 200

        after = client.get(pinned, headers=known)
        assert after.status_code == 200
        assert after.json()["label"]["text"] == "swims"
        assert client.get("/labels").json()["labels"]["7"]["author"] == "ann"
        assert client.get("/labels/7").json()["history"][0]["revision"] == 1
        assert client.post("/label-events", json=event).status_code == 409


def test_a_store_without_a_data_root_has_no_place_for_labels(own_root: DataRoot, tmp_path: Path) -> None:
    import shutil

    alone = shutil.copytree(own_root.run("small").store, tmp_path / "alone" / "store")
    with open_subject(str(alone)) as subject, pytest.raises(NotComputedError, match="is not part of a run"):
        _ = subject.labels
    with client_of(str(alone), own_root) as client:
        assert client.get("/labels").status_code == 404
        assert client.get("/features/1").json()["label"] is None


def test_bad_events_are_answered_in_words(own_root: DataRoot) -> None:
    with client_of(None, own_root, settings_from_environment(allow_labels=True)) as client:
        asked = _posting(client)
        assert asked({"kind": "label", "feature_id": 9_999, "author": "a", "label": {"text": "x"}}) == 404
        assert asked({"kind": "label", "feature_id": 1, "author": "a", "label": {"text": ""}}) == 422
        assert asked({"kind": "praise", "feature_id": 1, "author": "a"}) == 422
        assert (
            asked({"kind": "label", "feature_id": 1, "author": "a", "label": {"text": "x", "rule": {"any": []}}}) == 422
        )
        assert asked({"kind": "label", "feature_id": 1, "author": "a"}) == 422


def test_text_that_nobody_can_read_is_answered_with_the_character_s_number(own_root: DataRoot) -> None:
    with client_of(None, own_root, settings_from_environment(allow_labels=True)) as client:
        for label, author, detail in (
            ({"text": "a\u202eb"}, "ann", "text has U+202E at position 2"),
            ({"text": "x", "notes": "\x1b[31m"}, "ann", "notes has U+001B at position 1"),
            ({"text": " "}, "ann", "text is invisible"),
            ({"text": "x"}, "\u2003", "author is invisible"),
            (
                {"text": "x", "rule": {"ability": "\ud800"}},
                "ann",
                "label.rule: a name in it contains half of a surrogate pair",
            ),
        ):
            body = json.dumps({"kind": "label", "feature_id": 1, "author": author, "label": label})
            answer = client.post("/label-events", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
            assert answer.json()["detail"].startswith(detail)
        assert client.get("/label-events").json()["events"] == []


def test_a_damaged_line_is_named_from_afar_too(own_root: DataRoot) -> None:
    with open_subject("small", root=own_root) as subject:
        for feature in (1, 2, 3):
            subject.labels.set(feature, {"text": "swims"}, "ann")
    (path,) = own_root.labels.glob("*/events.jsonl")
    path.write_bytes(path.read_bytes().replace(b"swims", b"swine", 2).replace(b"swine", b"swims", 1))

    with running(create_app(Catalogue(Target.of(None, own_root)), settings_from_environment())) as url:
        with open_subject(url) as subject:
            assert (list(subject.labels.current()), subject.labels.damaged_lines()) == ([1, 3], [2])
            assert "1 line of events.jsonl is damaged and not counted here: 2" in status_page(subject).warnings[0]


def _posting(client: TestClient):  # type: ignore[no-untyped-def]
    return lambda event: client.post("/label-events", json=event).status_code


class LosingAnswers:
    """An application behind a gateway that passes every request on and loses the answer to the first that is a POST."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.posts = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            self.posts += 1
            if self.posts == 1:
                await self._app(scope, receive, _nobody)
                await Response(status_code=503, headers={"Retry-After": "0"})(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _nobody(_: Message) -> None:
    """Takes an answer that nobody gets."""


def test_a_label_whose_answer_is_lost_is_sent_again_and_is_there_once(own_root: DataRoot) -> None:
    server = LosingAnswers(
        create_app(Catalogue(Target.of(None, own_root)), settings_from_environment(allow_labels=True))
    )
    with running(server) as url, open_subject(url) as subject:
        added = subject.labels.set(3, {"text": "swims"}, "ann", based_on=0)

        assert server.posts == 2
        assert subject.labels.history(3) == [added]
        assert added.event_id is not None and not added.conflict


WITHOUT_A_PLACE_IN_JSON = (
    {"based_on": 2**64},
    {"based_on": 2**63},
    {"feature_id": 2**70},
    {"label": {"text": "x", "rule": {"ability": "swim_speed_up", "at_least": 2**64}}},
    {"label": {"text": "x", "rule": {"ability": "\ud800"}}},
)


def test_numbers_of_more_than_64_bits_are_refused_and_not_written(own_root: DataRoot) -> None:
    client = client_of(None, own_root, settings_from_environment(allow_labels=True))
    for said in WITHOUT_A_PLACE_IN_JSON:
        event = {"kind": "label", "feature_id": 1, "author": "ann", "label": {"text": "x"}, **said}

        answer = client.post("/label-events", content=json.dumps(event), headers={"Content-Type": "application/json"})

        assert answer.status_code == 422, (said, answer.text)
    assert not own_root.labels.exists()
