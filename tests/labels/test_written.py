"""What people may write: every place that takes text of people holds to the same rules, and nothing old is lost by them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.errors import InputError
from splat_serving.labels.book import LabelBook
from splat_serving.labels.event import Event, LabelFields
from splat_serving.labels.log import LabelLog
from splat_serving.labels.research import Research, add_evidence, add_hypothesis, add_text
from splat_serving.labels.written import checked_line, checked_lines, is_blank

SAE = "ab" * 32
BLANK = [" ", "\u3000\u00a0", "\u200b", "\u2800", "\u3164", "\u200d\ufe0f", "\u00ad"]
CONTROL = {
    "\x00": "U+0000",
    "\x1b": "U+001B",
    "\x7f": "U+007F",
    "\x85": "U+0085",
    "\u202e": "U+202E",
    "\u2066": "U+2066",
    "\u200f": "U+200F",
    "\u061c": "U+061C",
}


@pytest.fixture
def book(tmp_path: Path) -> LabelBook:
    return LabelBook(LabelLog(tmp_path, SAE), 96)


@pytest.mark.parametrize("text", BLANK, ids=ascii)
def test_a_text_or_author_of_which_nothing_can_be_seen_is_refused(text: str, book: LabelBook, tmp_path: Path) -> None:
    result = Research(feature_id=1, sae=SAE)
    for write in (
        lambda: book.set(1, {"text": text}, "ann"),
        lambda: book.set(1, {"text": "x", "notes": text}, "ann"),
        lambda: book.set(1, {"text": "x", "origin": text}, "ann"),
        lambda: book.set(1, {"text": "x"}, text),
        lambda: book.add(1, LabelFields(text=text), "ann"),
        lambda: book.skip(1, text, "ann"),
        lambda: book.skip(1, "why", text),
        lambda: book.enqueue(1, 1.0, text, "ann"),
        lambda: add_text(result.notes, text, "ann"),
        lambda: add_text(result.notes, "x", text),
        lambda: add_hypothesis(result, text * 10, None),
        lambda: add_evidence(result, Path(__file__), text, "weak", (), ()),
    ):
        with pytest.raises(InputError, match="is invisible"):
            write()
    assert not list(tmp_path.rglob("events.jsonl"))
    assert (result.notes, result.hypotheses, result.evidence) == ([], [], [])


@pytest.mark.parametrize("bad", CONTROL, ids=ascii)
def test_a_character_that_moves_or_turns_a_line_is_refused_by_its_number(
    bad: str, book: LabelBook, tmp_path: Path
) -> None:
    text = f"swims{bad}fast and far"
    result = Research(feature_id=1, sae=SAE)
    for write in (
        lambda: book.set(1, {"text": text}, "ann"),
        lambda: book.set(1, {"text": "x", "notes": text}, "ann"),
        lambda: book.set(1, {"text": "x", "origin": text}, "ann"),
        lambda: book.set(1, {"text": "x"}, text),
        lambda: book.set(1, {"text": "x", "rule": {"ability": text}}, "ann"),
        lambda: book.set(1, {"text": "x", "evidence": [{"path": text, "sha256": "0" * 64}]}, "ann"),
        lambda: book.skip(1, text, "ann"),
        lambda: book.enqueue(1, 1.0, text, "ann"),
        lambda: add_text(result.decisions, text, "ann"),
        lambda: add_text(result.decisions, "x", text),
        lambda: add_hypothesis(result, text, None),
        lambda: add_evidence(result, Path(__file__), text, "weak", (), ()),
    ):
        with pytest.raises(InputError) as refused:
            write()
        assert CONTROL[bad] in str(refused.value)
        assert bad not in str(refused.value)
    assert not list(tmp_path.rglob("events.jsonl"))


def test_notes_have_lines_and_names_have_one(book: LabelBook) -> None:
    notes = "a\r\n\tb\rc\nd"
    written = book.set(1, {"text": "x", "notes": notes}, "ann")
    assert written.label is not None and written.label.notes == notes
    for changes, author in (({"text": "a\nb"}, "ann"), ({"text": "x"}, "an\tn"), ({"origin": "a\u2028b"}, "ann")):
        with pytest.raises(InputError, match="U\\+(000A|0009|2028)"):
            book.set(1, changes, author)


@pytest.mark.parametrize("text", ["ñandú", "泳ぐ", "👨‍👩‍👧 swims", "نشط جدا", "می‌خواهم", "=1+1", "it's"])
def test_every_language_can_be_written(text: str) -> None:
    assert checked_line(text, "text") == text
    assert not is_blank(text)


@given(st.text(max_size=20))
def test_what_is_allowed_on_a_line_is_allowed_on_several(text: str) -> None:
    try:
        checked_line(text, "text")
    except InputError:
        return
    assert checked_lines(text, "text") == text


def test_a_label_from_before_these_rules_is_read_and_can_be_added_to(book: LabelBook, tmp_path: Path) -> None:
    old = {
        "kind": "label", "feature_id": 7, "author": " ", "based_on": 0, "priority": 0.0, "reason": "", "revision": 1,
        "conflict": False, "at": "2026-01-01T00:00:00+00:00",
        "label": {"text": "\u202e\x1b[31m", "category": "none", "notes": "\x00", "status": "draft", "confidence": None,
                  "rule": None, "evidence": [], "origin": ""},
    }  # fmt: skip
    folder = tmp_path / SAE[:16]
    folder.mkdir()
    (folder / "about.json").write_text(json.dumps({"format": "splat.labels/1", "sae": SAE}))
    (folder / "events.jsonl").write_text(json.dumps(old) + "\n")

    event = book.label(7)

    assert isinstance(event, Event) and event.label is not None
    assert (event.author, event.label.text) == (" ", "\u202e\x1b[31m")
    changed: Any = book.set(7, {"text": "swims", "notes": ""}, "ann")
    assert changed.revision == 2
