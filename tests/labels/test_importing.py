"""Labels in files and back: nothing is added, lost or changed, whatever the form, and what is older is never written."""

import csv
import io
import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splat_assets.errors import InputError
from splat_assets.store.errors import FingerprintMismatchError
from splat_serving.database.errors import LabelConflictError
from splat_serving.labels.book import LabelBook
from splat_serving.labels.event import Event, checked_event
from splat_serving.labels.importing import Plan, add_planned, planned_import, refuse_other_sae
from splat_serving.labels.log import LabelLog
from splat_serving.labels.upstream import as_consolidated, as_csv, as_dashboard, as_json, as_queue, read_labels

SAE = "ab" * 32
N = 96
FORMS: dict[str, tuple[str, Callable[[LabelBook], str]]] = {
    "csv": ("labels.csv", lambda book: as_csv(book.current(), SAE)),
    "json": ("labels.json", lambda book: as_json(book, SAE)),
    "consolidated": ("consolidated_small.json", lambda book: as_consolidated(book.current(), "small")),
    "dashboard": ("feature_labels_small.json", lambda book: as_dashboard(book.current())),
    "queue": ("queue_small.json", lambda book: as_queue(book, "small")),
}
HELD = {
    "csv": ("text", "category", "notes", "status", "confidence", "rule", "evidence", "origin"),
    "json": ("text", "category", "notes", "status", "confidence", "rule", "evidence", "origin"),
    "consolidated": ("text", "category", "notes", "confidence"),
    "dashboard": ("text", "category", "notes"),
}
FULL = {
    "text": '=one, with a "comma"',
    "category": "tactical",
    "notes": "two\r\nlines\rand\n\ttabs ",
    "status": "accepted",
    "confidence": 0.1,
    "rule": {"ability": "swim_speed_up", "at_least": 12},
    "evidence": [{"path": "results/a, b.json", "sha256": "0" * 64}],
    "origin": "carried from feature 3",
}


def book_in(root: Path, sae: str = SAE) -> LabelBook:
    return LabelBook(LabelLog(root, sae), N)


def exported(book: LabelBook, form: str, folder: Path) -> Path:
    name, write = FORMS[form]
    path = folder / name
    path.write_bytes(write(book).encode())
    return path


def planned(book: LabelBook, path: Path, author: str | None = None) -> Plan:
    return planned_import(book, read_labels(path, N), author, "small")


def imported(book: LabelBook, path: Path, author: str | None = None) -> Plan:
    plan = planned(book, path, author)
    assert add_planned(book, plan) == []
    return plan


def current(book: LabelBook, feature: int) -> Event:
    event = book.label(feature)
    assert event is not None and event.label is not None
    return event


@pytest.fixture
def book(tmp_path: Path) -> LabelBook:
    """Features that two people labelled, with a conflict, a queue and skips."""
    made = book_in(tmp_path / "labels")
    made.set(1, {"text": "first"}, "ann")
    made.set(1, FULL, "bob")
    made.set(2, {"text": "two", "category": "mechanical"}, "ann")
    made.set(2, {"category": "strategic"}, "bob")
    with pytest.raises(LabelConflictError):
        made.set(2, {"text": "late"}, "eve", based_on=1)
    made.enqueue(5, 0.25, "odd", "ann")
    made.enqueue(6, 0.75, "", "ann")
    made.skip(7, "rare", "ann")
    return made


@pytest.mark.parametrize("form", FORMS)
def test_what_is_exported_and_imported_again_adds_nothing(form: str, book: LabelBook, tmp_path: Path) -> None:
    before = (tmp_path / "labels" / SAE[:16] / "events.jsonl").read_bytes()

    plan = imported(book, exported(book, form, tmp_path), "carl")

    assert plan.changes == []
    assert (tmp_path / "labels" / SAE[:16] / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize("form", HELD)
def test_an_empty_folder_gets_all_that_the_form_holds(form: str, book: LabelBook, tmp_path: Path) -> None:
    path = exported(book, form, tmp_path)
    other = book_in(tmp_path / "other")

    imported(other, path, "carl")

    for feature, event in book.current().items():
        again = current(other, feature)
        for name in HELD[form]:
            assert getattr(again.label, name) == getattr(event.label, name)
        assert again.at == event.at
        assert again.author == ("carl" if form == "dashboard" else event.author)
        assert again.imported is not None and (again.imported.by, again.imported.file) == ("carl", path.name)
    if form in ("consolidated", "dashboard"):
        assert FORMS[form][1](other).encode() == path.read_bytes()
    assert imported(other, exported(other, form, tmp_path)).changes == []


def test_our_own_file_brings_back_everybody_s_opinion_and_every_revision(book: LabelBook, tmp_path: Path) -> None:
    other = book_in(tmp_path / "other")

    imported(other, exported(book, "json", tmp_path))

    assert other.opinions() == book.opinions()
    for feature in book.current():
        was, now = (
            [(e.author, e.at, e.revision, e.conflict, e.label) for e in b.history(feature)] for b in (book, other)
        )
        assert was == now


def test_the_queue_and_what_was_skipped_come_back(book: LabelBook, tmp_path: Path) -> None:
    other = book_in(tmp_path / "other")
    path = exported(book, "queue", tmp_path)

    imported(other, path)

    assert [(e.feature_id, e.priority, e.reason, e.at) for e in other.queue()] == [
        (e.feature_id, e.priority, e.reason, e.at) for e in book.queue()
    ]
    assert json.loads(as_queue(other, "small")) == json.loads(path.read_text())


_ALLOWED = st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp"))
_LINE = st.text(_ALLOWED, max_size=12).map(lambda text: f"{text}x") | st.sampled_from(
    ["=1+1", "'=1", "-1", "@a", "x;y", '"']
)
_NOTES = st.just("") | st.text(_ALLOWED | st.sampled_from("\r\n\t,\"'=;"), max_size=20).map(lambda text: f"{text}.")
_LABEL = st.fixed_dictionaries(
    {
        "text": _LINE,
        "category": st.sampled_from(["none", "mechanical", "auxiliary"]),
        "notes": _NOTES,
        "status": st.sampled_from(["draft", "proposed", "rejected"]),
        "confidence": st.none() | st.floats(0, 1),
        "origin": st.just("") | _LINE,
        "rule": st.none() | st.just({"not": {"ability": "ssu", "at_least": None}}),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), _LABEL, _LINE), min_size=1, max_size=6), st.sampled_from(sorted(HELD)))
def test_any_labels_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[int, dict[str, Any], str]], form: str
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    book, other = book_in(folder / "one"), book_in(folder / "other")
    for feature, label, author in said:
        book.set(feature, label, author)

    path = exported(book, form, folder)

    assert planned(book, path).changes == []
    imported(other, path)
    for feature, event in book.current().items():
        again = current(other, feature)
        assert {name: getattr(again.label, name) for name in HELD[form]} == {
            name: getattr(event.label, name) for name in HELD[form]
        }
        assert again.at == event.at
        assert form == "dashboard" or again.author == event.author


def test_columns_that_a_file_lacks_keep_what_is_there(book: LabelBook, tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("feature_id,display_name\n1,swims\n2,two\n")

    plan = imported(book, path)

    assert [(change.feature, dict(change.changes)) for change in plan.changes] == [
        (1, {"text": (FULL["text"], "swims")})
    ]
    again = current(book, 1)
    assert again.label is not None
    assert again.label.model_dump(mode="json") == {**FULL, "text": "swims"}
    assert again.author == "bob"


@pytest.mark.parametrize("form", FORMS)
def test_what_is_older_than_what_is_there_is_a_conflict_and_not_written(
    form: str, book: LabelBook, tmp_path: Path
) -> None:
    path = exported(book, form, tmp_path)
    book.set(1, {"text": "newer"}, "ann")
    book.set(5, {"text": "done"}, "ann")

    plan = planned(book, path)

    feature = 5 if form == "queue" else 1
    assert [change.feature for change in plan.conflicts] == [feature]
    assert plan.changes == plan.conflicts
    assert "ann" in plan.conflicts[0].why and "is newer" in plan.conflicts[0].why
    add_planned(book, plan)
    assert current(book, 1).label.text == "newer"  # type: ignore[union-attr]
    assert book.label(1).revision == 3  # type: ignore[union-attr]


def test_a_row_that_was_changed_in_the_file_is_a_label_of_now(book: LabelBook, tmp_path: Path) -> None:
    path = exported(book, "csv", tmp_path)
    path.write_bytes(path.read_bytes().replace(b"strategic", b"auxiliary"))

    plan = imported(book, path)

    assert [(change.feature, dict(change.changes)) for change in plan.changes] == [
        (2, {"category": ("strategic", "auxiliary")})
    ]
    assert (current(book, 2).revision, current(book, 2).author) == (3, "bob")


def test_a_file_whose_clock_is_ahead_is_older_all_the_same_once_it_was_read(tmp_path: Path) -> None:
    book = book_in(tmp_path / "labels")
    ahead = (datetime.now() + timedelta(hours=20)).isoformat()
    path = tmp_path / "consolidated_x.json"
    path.write_text(json.dumps({"3": {"display_name": "theirs", "source": "eve", "last_updated": ahead}}))
    imported(book, path)
    book.set(3, {"text": "mine"}, "ann")

    plan = imported(book, path)

    assert [change.feature for change in plan.conflicts] == [3]
    assert current(book, 3).label.text == "mine"  # type: ignore[union-attr]


def test_our_file_of_an_earlier_version_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    book = book_in(tmp_path / "labels")
    upstream = tmp_path / "consolidated_ultra.json"
    upstream.write_text(json.dumps(UPSTREAM))
    imported(book, upstream)
    held = json.loads(as_json(book, SAE))
    for label in held["labels"].values():
        for name in ("history", "extra", "imported"):
            del label[name]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(held))

    assert imported(book, path).changes == []
    other = book_in(tmp_path / "other")
    imported(other, path)
    assert {n: e.label for n, e in other.current().items()} == {n: e.label for n, e in book.current().items()}


def test_who_agrees_is_not_changed_by_labels_that_come_back(book: LabelBook, tmp_path: Path) -> None:
    before = book.opinions()
    for form in ("csv", "json", "consolidated"):
        imported(book, exported(book, form, tmp_path), "carl")
    assert book.opinions() == before


def test_labels_of_another_sae_are_refused_with_both_fingerprints(book: LabelBook, tmp_path: Path) -> None:
    other = "cd" * 32
    for form in ("csv", "json"):
        held = read_labels(exported(book, form, tmp_path), N)
        refuse_other_sae(held, SAE)
        with pytest.raises(FingerprintMismatchError, match="splat label carry") as refused:
            refuse_other_sae(held, other)
        assert SAE in str(refused.value) and other in str(refused.value)


UPSTREAM = {
    "10": {
        "feature_id": 10, "model_type": "ultra", "dashboard_name": "Positional Survival", "dashboard_category": "strategic",
        "dashboard_notes": "Decoder promotes: SSU", "display_name": "Positional Survival - Midrange",
        "last_updated": "2025-12-14T01:30:00.000000", "source": "claude code", "hypothesis_confidence": 0.85,
        "importance_percentile": 9.3, "interpretability_confidence": 0.85, "stability_score": None,
        "research_label": None, "research_state_path": "/runs/state/feature_10_ultra.json", "beauty": {"deep": [1, None, "x"]},
    },
    "11": {"feature_id": 11, "model_type": "ultra", "display_name": "aux", "dashboard_category": "auxiliary", "source": None},
    "12": {"feature_id": 12, "model_type": "ultra", "display_name": "odd", "dashboard_category": "poetic"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("consolidated_ultra.json", UPSTREAM, "consolidated"),
        (
            "feature_labels_ultra.json",
            {"3": {"name": "x", "category": "auxiliary", "notes": "", "timestamp": "2025-01-01", "stars": 5}},
            "dashboard",
        ),
        (
            "queue_ultra.json",
            {
                "model_type": "small",
                "entries": [
                    {"feature_id": 4, "model_type": "ultra", "priority": 0.9, "reason": "a" * 600, "added_at": "2025-01-01",
                     "cluster": 7},
                ],
                "completed": [8, 9],
                "skipped": [5],
            },
            "queue",
        ),
    ],
    ids=["consolidated", "dashboard", "queue"],
)  # fmt: skip
def test_upstream_s_files_come_back_field_for_field(name: str, content: Any, form: str, tmp_path: Path) -> None:
    book = book_in(tmp_path / "labels")
    path = tmp_path / name
    path.write_text(json.dumps(content))

    imported(book, path)

    assert json.loads(FORMS[form][1](book)) == content
    assert planned(book, path).changes == []
    for own in ("csv", "json"):
        other = book_in(tmp_path / own)
        imported(other, exported(book, own, tmp_path))
        if form == "dashboard" or (form == "consolidated" and own == "json"):
            assert json.loads(FORMS[form][1](other)) == content


def test_a_file_of_any_name_is_read(tmp_path: Path) -> None:
    for at, name in enumerate(("a\n\u202eb.csv", "=1.csv", os.fsdecode(b"\xff.csv"), "%?#[x].csv")):
        (tmp_path / name).write_text(f"feature_id,display_name\n{at},x\n")
        imported(book_in(tmp_path / "labels"), tmp_path / name)
    assert list(book_in(tmp_path / "labels").current()) == [0, 1, 2, 3]


def test_what_is_changed_here_is_changed_in_upstream_s_file_and_the_rest_stays(tmp_path: Path) -> None:
    book = book_in(tmp_path / "labels")
    path = tmp_path / "consolidated_ultra.json"
    path.write_text(json.dumps(UPSTREAM))
    imported(book, path)
    assert current(book, 11).label.category == "auxiliary"  # type: ignore[union-attr]

    event = book.set(10, {"text": "swims", "category": "tactical"}, "ann")

    entry = json.loads(as_consolidated(book.current(), "small"))["10"]
    assert entry == {
        **UPSTREAM["10"], "display_name": "swims", "dashboard_name": "swims", "dashboard_category": "tactical",
        "source": "ann", "last_updated": event.at,
    }  # fmt: skip


def test_a_column_that_nobody_knows_comes_back_in_csv(tmp_path: Path) -> None:
    book = book_in(tmp_path / "labels")
    path = tmp_path / "labels.csv"
    path.write_text("\ufefffeature_id;display_name;reviewer;=1+1\n3;x;eve;\n4;y;;@a\n", encoding="utf-8")

    imported(book, path)

    rows = list(csv.DictReader(io.StringIO(as_csv(book.current(), SAE))))
    assert [(row["feature_id"], row["reviewer"], row["'=1+1"]) for row in rows] == [("3", "eve", ""), ("4", "", "'@a")]
    assert planned(book, path).changes == []
    assert planned(book, exported(book, "csv", tmp_path)).changes == []


BAD = {
    "the same feature twice": ("x.csv", "feature_id,display_name\n1,a\n1,b\n", "has feature 1 twice"),
    "a name twice": ("x.json", '{"1": {"name": "a"}, "1": {"name": "b"}}', "'1' occurs twice"),
    "a cell too few": ("x.csv", "feature_id,display_name,notes\n1,a\n", "line 2 has 2 cells for 3 columns"),
    "a column twice": ("x.csv", "feature_id,display_name,notes,notes\n1,a,b,c\n", "has a column twice: 'notes'"),
    "no time": ("x.json", '{"1": {"display_name": "a", "last_updated": "yesterday"}}', "'yesterday' is not a time"),
    "a time to come": ("x.csv", "feature_id,display_name,at\n1,a,2999-01-01\n", "line 2: 2999-01-01 is in the future"),
    "a number with a line": (
        "x.csv",
        "feature_id,display_name,confidence\n1,a,1_0\n",
        "confidence '1_0' is not a number",
    ),
    "yes as a number": (
        "x.json",
        '{"1": {"display_name": "a", "hypothesis_confidence": true}}',
        "True is not a number",
    ),
    "no number at all": ("x.json", '{"1": {"display_name": "a", "beauty": NaN}}', "NaN is not a JSON number"),
    "another feature": (
        "x.json",
        '{"1": {"display_name": "a", "feature_id": 2}}',
        "has feature_id 2, which is not its key",
    ),
    "a line turned around": (
        "x.json",
        '{"1": {"display_name": "a", "beauty": "\\u202e"}}',
        "extra.consolidated.beauty has U+202E",
    ),
    "a blank name": ("x.csv", 'feature_id,display_name\n1,a\n2," "\n', "line 3: text is invisible"),
    "no rule": ("x.csv", "feature_id,display_name,rule\n1,a,ssu\n", "line 2: rule: 'ssu' is not JSON"),
    "too much": ("x.json", json.dumps({"1": {"name": "a", "b": ["x" * 999] * 200}}), "the limit is 100,000"),
    "too deep": ("x.json", '{"1": {"name": "a", "b": ' + "[" * 99 + "]" * 99 + "}}", "nested more than 32 deep"),
    "too large": ("x.json", '{"1": {"name": "a", "b": ' + "9" * 30 + "}}", "extra: Integer exceeds 64-bit range"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_with_a_mistake_is_refused_by_place(case: str, tmp_path: Path) -> None:
    name, text, said = BAD[case]
    (tmp_path / name).write_text(text)
    book = book_in(tmp_path / "labels")

    with pytest.raises(InputError) as refused:
        imported(book, tmp_path / name)

    assert said in str(refused.value)
    assert book.current() == {}


def test_an_event_with_a_time_of_its_own_says_when_it_was_added(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    event = checked_event(
        {
            "kind": "skip",
            "feature_id": 1,
            "author": "ann",
            "at": "2025-01-01",
            "imported": {"kind": "csv", "file": "x", "by": "b"},
        }
    )

    written = book.write(event)

    assert written.at == "2025-01-01"
    plain = {"kind": "skip", "feature_id": 1, "author": "ann"}
    for raw, wrong in (
        ({"at": "2025-01-01"}, "at is for imported events only"),
        ({"at": "2025-01-01\u202e10:00", "imported": {"kind": "csv", "file": "x", "by": "b"}}, r"at has U\+202E"),
        ({"imported": {"kind": "csv", "file": "x", "by": "b", "at": "soon"}}, "'soon' is not a time"),
        ({"imported": {"kind": "csv", "file": "x", "by": " "}}, "imported.by is invisible"),
    ):
        with pytest.raises(InputError, match=wrong):
            checked_event({**plain, **raw})
    assert written.imported is not None and written.imported.at > "2025-01-01"
