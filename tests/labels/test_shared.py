"""Labels in a bucket: as on disk, and two machines that write at once lose nothing."""

import threading
from pathlib import Path

import pytest

from splat_assets.store.bucket.bucket import Bucket, BucketError
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.errors import FingerprintMismatchError
from splat_serving.database.errors import LabelConflictError
from splat_serving.labels.book import LabelBook
from splat_serving.labels.event import LabelFields
from splat_serving.labels.log import LabelLog
from splat_serving.labels.shared import SharedLabelLog, label_events
from tests.s3 import S3, Asked

SAE = "ab" * 32
URL = "s3://lab/data"


def _book(folder: Path, sae: str = SAE) -> LabelBook:
    copy = WorkingCopy.of(Bucket(URL), {"SPLAT_WORKING_COPY": str(folder)})
    log = label_events(copy.root / "labels", sae)
    assert isinstance(log, SharedLabelLog)
    return LabelBook(log, 4_096)


def test_what_one_machine_says_the_other_reads(s3: S3, tmp_path: Path) -> None:
    one, other = _book(tmp_path / "one"), _book(tmp_path / "other")
    assert other.label(7) is None
    one.set(7, {"text": "swims"}, "ann")
    other.set(7, {"status": "accepted"}, "bob")

    result = one.label(7)

    assert result is not None and result.label is not None
    assert (result.label.text, result.label.status, result.revision) == ("swims", "accepted", 2)
    assert [event.author for event in other.history(7)] == ["ann", "bob"]
    assert not (tmp_path / "one" / "labels").exists()


def test_a_label_based_on_an_older_one_is_a_conflict_and_in_the_history(s3: S3, tmp_path: Path) -> None:
    one, other = _book(tmp_path / "one"), _book(tmp_path / "other")
    one.set(7, {"text": "swims"}, "ann", 0)
    with pytest.raises(LabelConflictError, match="is at revision 1 by now, not at 0"):
        other.set(7, {"text": "sinks"}, "bob", 0)
    assert [event.conflict for event in one.history(7)] == [False, True]
    label = one.label(7)
    assert label is not None and label.label is not None and label.label.text == "swims"


def test_many_who_write_at_once_all_get_in(s3: S3, tmp_path: Path) -> None:
    def write(author: int) -> None:
        book = _book(tmp_path / str(author))
        for feature in range(5):
            book.add(feature, LabelFields(text=f"{author} says {feature}"), str(author))

    threads = [threading.Thread(target=write, args=(author,)) for author in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    book = _book(tmp_path / "reader")
    for feature in range(5):
        history = book.history(feature)
        assert sorted(event.author for event in history) == [str(author) for author in range(6)]
        assert [event.revision for event in history] == [1, 2, 3, 4, 5, 6]


def test_lines_are_those_of_a_log_on_disk(s3: S3, tmp_path: Path) -> None:
    _book(tmp_path / "one").set(7, {"text": "swims"}, "ann")
    folder = tmp_path / "disk" / SAE[:16]
    folder.mkdir(parents=True)
    for name in ("about.json", "events.jsonl"):
        Bucket(URL).fetch(f"labels/{SAE[:16]}/{name}", folder / name)
    (event,) = LabelLog(tmp_path / "disk", SAE).events()
    assert event.label is not None and event.label.text == "swims"


def test_labels_of_another_sae_are_refused_and_lines_that_are_none_are_named(s3: S3, tmp_path: Path) -> None:
    _book(tmp_path / "one").set(7, {"text": "swims"}, "ann")
    with pytest.raises(FingerprintMismatchError, match="belong to another SAE"):
        _book(tmp_path / "one", SAE[:16] + "cd" * 24)
    name = f"labels/{SAE[:16]}/events.jsonl"
    Bucket(URL).write(name, Bucket(URL).read(name) + b"{}\n")
    book = _book(tmp_path / "one")
    book.set(8, {"text": "dives"}, "bob")
    assert (list(book.current()), book.damaged_lines()) == ([7, 8], [2])
    assert b"\n{}\n" in Bucket(URL).read(name)


def test_nothing_is_added_where_the_bucket_refuses(s3: S3, tmp_path: Path) -> None:
    book = _book(tmp_path / "one")
    book.set(7, {"text": "swims"}, "ann")

    def refuse(asked: object) -> None:
        if getattr(asked, "method", "") == "PUT":
            raise ConnectionError

    s3.before = refuse
    with pytest.raises(BucketError, match="not allowed to write it"):
        book.set(7, {"text": "sinks"}, "ann")
    s3.before = None
    assert len(book.history(7)) == 1


def test_a_write_whose_answer_is_lost_adds_one_event(s3: S3, tmp_path: Path) -> None:
    book = _book(tmp_path / "one")
    book.set(7, {"text": "swims"}, "ann")
    lost: list[str] = []

    def lose_one(asked: Asked) -> bool:
        if asked.method == "PUT" and not lost:
            lost.append(asked.path)
            return True
        return False

    s3.loses_answer = lose_one
    book.set(7, {"text": "sinks"}, "ann")

    assert len(lost) == 1
    assert [event.label and event.label.text for event in book.history(7)] == ["swims", "sinks"]
