"""Labels on disk: nothing lost, nothing torn, whoever writes and whoever is killed."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from splat_assets.errors import InputError
from splat_assets.store.errors import FeatureNotFoundError, FingerprintMismatchError
from splat_serving.database.errors import LabelConflictError
from splat_serving.labels.book import LabelBook
from splat_serving.labels.event import Event, LabelFields, checked_event
from splat_serving.labels.log import LabelLog

SAE = "ab" * 32
N = 1_000


def book(root: Path, sae: str = SAE) -> LabelBook:
    return LabelBook(LabelLog(root, sae), 4_096)


def write_all(root: Path, author: str, features: range) -> None:
    labels = book(root)
    for feature in features:
        labels.add(feature, LabelFields(text=f"{author} says {feature}"), author)


def test_a_label_is_what_was_written_last_and_keeps_its_history(tmp_path: Path) -> None:
    labels = book(tmp_path)

    first = labels.set(7, {"text": "swims", "category": "mechanical", "confidence": 0.5}, "ann")
    second = labels.set(7, {"status": "accepted"}, "bob")

    assert (first.revision, second.revision) == (1, 2)
    again = book(tmp_path)
    current = again.label(7)
    assert current is not None and current.label is not None
    assert (current.label.text, current.label.status, current.label.category, current.author) == (
        "swims", "accepted", "mechanical", "bob",
    )  # fmt: skip
    assert [event.author for event in again.history(7)] == ["ann", "bob"]
    assert again.label(8) is None


def test_two_writers_of_a_thousand_features_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_all, args=(tmp_path, name, range(N))) for name in ("ann", "bob")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0]
    events = LabelLog(tmp_path, SAE).events()
    for author in ("ann", "bob"):
        assert [event.feature_id for event in events if event.author == author] == list(range(N))
    assert all(sorted(event.revision for event in events if event.feature_id == at) == [1, 2] for at in (0, 17, N - 1))
    assert len(book(tmp_path).current()) == N


def test_a_writer_that_is_killed_leaves_nothing_torn_and_the_other_goes_on(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    victim = context.Process(target=write_all, args=(tmp_path, "victim", range(N)))
    other = context.Process(target=write_all, args=(tmp_path, "other", range(N, 2 * N)))
    victim.start()
    other.start()
    path = tmp_path / SAE[:16] / "events.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (path.is_file() and b'victim says 50"' in path.read_bytes()):
        time.sleep(0.002)
    told = len([event for event in LabelLog(tmp_path, SAE).events() if event.author == "victim"])
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    other.join()

    events = LabelLog(tmp_path, SAE).events()
    assert other.exitcode == 0
    assert len([event for event in events if event.author == "other"]) == N
    of_victim = [event for event in events if event.author == "victim"]
    assert told <= len(of_victim) < N
    assert [event.feature_id for event in of_victim] == list(range(len(of_victim)))
    for line in path.read_bytes().splitlines():
        json.loads(line)


def test_the_next_write_removes_a_partial_line(tmp_path: Path) -> None:
    labels = book(tmp_path)
    labels.set(1, {"text": "whole"}, "ann")
    path = tmp_path / SAE[:16] / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"label","feature_id":2,"aut')

    assert list(book(tmp_path).current()) == [1]
    assert path.read_bytes() != whole  # reading repairs nothing
    book(tmp_path).set(3, {"text": "next"}, "bob")
    assert path.read_bytes().startswith(whole)
    assert list(book(tmp_path).current()) == [1, 3]


def test_a_reader_that_is_open_sees_what_others_write(tmp_path: Path) -> None:
    reader = book(tmp_path)
    assert reader.current() == {}

    book(tmp_path).set(1, {"text": "new"}, "ann")

    assert list(reader.current()) == [1]


def test_a_label_based_on_an_old_revision_is_a_conflict_and_both_are_kept(tmp_path: Path) -> None:
    ann, bob = book(tmp_path), book(tmp_path)
    seen = ann.set(5, {"text": "first"}, "ann")
    bob.set(5, {"text": "second"}, "bob", based_on=seen.revision)

    with pytest.raises(LabelConflictError, match="feature 5 is at revision 2 by now, not at 1"):
        ann.set(5, {"text": "third"}, "ann", based_on=seen.revision)

    current = ann.label(5)
    assert current is not None and current.label is not None and current.label.text == "second"
    assert [(event.author, event.conflict) for event in ann.history(5)] == [
        ("ann", False), ("bob", False), ("ann", True),
    ]  # fmt: skip


def test_labels_of_another_sae_are_refused_with_both_fingerprints(tmp_path: Path) -> None:
    book(tmp_path).set(1, {"text": "mine"}, "ann")
    other = SAE[:16] + "cd" * 24

    with pytest.raises(FingerprintMismatchError) as result:
        book(tmp_path, other)

    assert SAE in str(result.value) and other in str(result.value)


@pytest.mark.parametrize("sae", ["../" * 5 + "x", "", "AB" * 32, "ab" * 31])
def test_what_is_no_fingerprint_becomes_no_path(sae: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a fingerprint of an SAE"):
        LabelLog(tmp_path, sae)


def test_a_changed_line_is_named_the_rest_is_read_and_nothing_is_written_over_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = book(tmp_path)
    for feature in range(3):
        labels.set(feature, {"text": "x"}, "ann")
    path = tmp_path / SAE[:16] / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"nonsense\n" + lines[2])

    again = book(tmp_path)

    assert list(again.current()) == [0, 2]
    assert again.damaged_lines() == [2]
    assert "events.jsonl, line 2 is damaged" in caplog.text
    again.set(9, {"text": "y"}, "ann")
    assert list(book(tmp_path).current()) == [0, 2, 9]
    assert path.read_bytes().startswith(lines[0] + b"nonsense\n" + lines[2])


def test_a_log_that_was_put_back_while_it_is_open_is_read_anew(tmp_path: Path) -> None:
    labels = book(tmp_path)
    labels.set(1, {"text": "one"}, "ann")
    path = tmp_path / SAE[:16] / "events.jsonl"
    saved = path.read_bytes()
    labels.set(1, {"text": "two"}, "ann")
    labels.set(2, {"text": "two"}, "ann")
    path.unlink()
    assert labels.current() == {}
    path.write_bytes(saved + saved + saved + saved)

    event = labels.label(1)

    assert event is not None and event.label is not None and event.label.text == "one"
    assert len(labels.history(1)) == 4


def test_labels_as_the_first_format_has_them_open_and_can_be_added_to(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "fixtures" / "first_format", tmp_path, dirs_exist_ok=True)
    one, two = book(tmp_path, "1a" * 32), book(tmp_path, "2b" * 32)

    three = one.label(3)

    assert three is not None and three.label is not None
    assert (three.label.text, three.label.status, three.author, three.revision) == ("swims", "accepted", "bob", 2)
    assert three.label.notes == "seen\r\nand counted\n"
    assert [event.conflict for event in one.history(3)] == [False, False, False, True]
    assert {author: label.text for author, label in one.opinions()[3].items()} == {
        "ann": "swims", "bob": "swims", "eve": "dives",
    }  # fmt: skip
    assert (list(one.current()), one.skipped(), [event.feature_id for event in one.queue()]) == ([3, 6], [4], [5])
    assert one.damaged_lines() == two.damaged_lines() == []
    seven = two.label(7)
    assert seven is not None and (seven.author, seven.revision) == ("ann (labels.csv)", 2)
    before = (tmp_path / ("1a" * 8) / "events.jsonl").read_bytes()

    assert one.set(3, {"category": "tactical"}, "ann").revision == 3

    after = (tmp_path / ("1a" * 8) / "events.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(book(tmp_path, "1a" * 32).history(3)) == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": ""}, "text: String should have at least 1 character"),
        ({"text": "x", "category": "poetic"}, "category: Input should be 'none', 'mechanical'"),
        ({"text": "x", "confidence": 2}, "confidence: Input should be less than or equal to 1"),
        ({"text": "x", "rule": {"ability": 3}}, "rule: .* is not a rule"),
        ({"text": "x", "beauty": 1}, "beauty: Extra inputs are not permitted"),
        ({"notes": "x"}, "a first label needs a text"),
    ],
    ids=["no text", "another category", "too sure", "no rule", "an unknown field", "notes alone"],
)
def test_a_label_that_means_nothing_is_refused(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        book(tmp_path).set(1, changes, "ann")
    assert not (tmp_path / SAE[:16] / "events.jsonl").exists()


def test_a_feature_that_there_is_not_has_no_label(tmp_path: Path) -> None:
    with pytest.raises(FeatureNotFoundError, match="features 0 to 4095"):
        book(tmp_path).set(4_096, {"text": "x"}, "ann")


def test_the_queue_holds_what_is_neither_labelled_nor_skipped(tmp_path: Path) -> None:
    labels = book(tmp_path)
    for feature, priority in ((1, 0.5), (2, 2.0), (3, 1.0), (4, 1.0)):
        labels.enqueue(feature, priority, "often active", "ann")
    labels.set(2, {"text": "done"}, "ann")
    labels.skip(3, "later", "ann")

    assert [event.feature_id for event in labels.queue()] == [4, 1]
    assert labels.skipped() == [3]
    labels.enqueue(3, 5.0, "again", "ann")
    assert [event.feature_id for event in labels.queue()] == [3, 4, 1]
    assert labels.skipped() == []


def _with_id(log: LabelLog, text: str, based_on: int | None = None, event_id: str = "0123456789abcdef") -> Event:
    raw = {"kind": "label", "feature_id": 7, "author": "ann", "label": {"text": text}, "based_on": based_on}
    return log.append(checked_event({**raw, "event_id": event_id}))


def test_an_event_that_arrives_twice_with_one_id_is_added_once(tmp_path: Path) -> None:
    first = _with_id(LabelLog(tmp_path, SAE), "swims", 0)

    again = _with_id(LabelLog(tmp_path, SAE), "swims", 0)

    assert again == first == LabelLog(tmp_path, SAE).events()[0]
    assert len(LabelLog(tmp_path, SAE).events()) == 1


def test_a_conflict_that_arrives_twice_is_the_same_conflict(tmp_path: Path) -> None:
    log = LabelLog(tmp_path, SAE)
    _with_id(log, "swims", 0, "of-the-first")
    for _ in range(2):
        with pytest.raises(LabelConflictError, match="at revision 1 by now, not at 0"):
            _with_id(log, "sinks", 0)

    assert [event.conflict for event in log.events()] == [False, True]


def test_an_id_of_another_event_is_refused(tmp_path: Path) -> None:
    log = LabelLog(tmp_path, SAE)
    _with_id(log, "swims")

    with pytest.raises(InputError, match="is the id of another event of feature 7"):
        _with_id(log, "sinks")

    assert len(log.events()) == 1


def test_events_without_an_id_are_each_one(tmp_path: Path) -> None:
    log = LabelLog(tmp_path, SAE)
    for _ in range(2):
        log.append(checked_event({"kind": "skip", "feature_id": 7, "author": "ann"}))

    assert len(log.events()) == 2
