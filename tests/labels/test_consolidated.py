"""Labels in the guide's own file, beside a folder of activations."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from splat_assets.errors import InputError
from splat_assets.store.errors import FingerprintMismatchError
from splat_serving.database.errors import LabelConflictError
from splat_serving.labels.book import LabelBook
from splat_serving.labels.consolidated import ConsolidatedLog, consolidated_file

SAE, OTHER_SAE = "a" * 64, "b" * 64
UPSTREAM = {
    "3": {
        "feature_id": 3,
        "model_type": "full",
        "dashboard_name": "swims",
        "dashboard_category": "tactical",
        "dashboard_notes": "in ink",
        "research_label": None,
        "research_state_path": "/runs/state/feature_3_full.json",
        "hypothesis_confidence": 0.8,
        "display_name": "swims",
        "source": "dashboard",
        "last_updated": "2025-03-01T10:00:00",
        "stability_score": 0.25,
    },
    "5": {"feature_id": 5, "model_type": "full", "display_name": None, "importance_percentile": 99.5},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The guide's file where the guide's user has it."""
    path = tmp_path / "mechinterp_runs" / "labels" / "consolidated_full.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(UPSTREAM, indent=2))
    return path


def book_of(file: Path, root: Path, sae: str = SAE) -> LabelBook:
    return LabelBook(ConsolidatedLog(root / "labels", sae, file, 100), 100)


def test_the_labels_of_the_file_are_read_and_reading_writes_nothing(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()

    event = book_of(file, tmp_path).label(3)

    assert event is not None and event.label is not None
    assert (event.label.text, event.label.category, event.label.confidence, event.author) == (
        "swims",
        "tactical",
        0.8,
        "dashboard",
    )
    assert event.at.startswith("2025-03-01T10:00:00")
    assert file.read_bytes() == before
    assert not (tmp_path / "labels").exists()


def test_what_is_written_is_in_the_file_and_all_else_stays_field_for_field(file: Path, tmp_path: Path) -> None:
    book = book_of(file, tmp_path)

    book.set(7, {"text": "dives"}, "ann")

    written = json.loads(file.read_text())
    assert {"3": written["3"], "5": written["5"]} == UPSTREAM
    assert (written["7"]["display_name"], written["7"]["source"], written["7"]["model_type"]) == (
        "dives",
        "ann",
        "full",
    )
    again = book_of(file, tmp_path)
    assert {feature: event.label.text for feature, event in again.current().items() if event.label} == {
        3: "swims",
        7: "dives",
    }
    assert again.history(3) == book.history(3) and len(again.history(3)) == 1


def test_what_another_program_changes_in_the_file_is_a_new_revision(file: Path, tmp_path: Path) -> None:
    book = book_of(file, tmp_path)
    book.set(7, {"text": "dives"}, "ann")
    changed = json.loads(file.read_text())
    changed["3"] |= {
        "display_name": "swims far",
        "dashboard_name": "swims far",
        "last_updated": datetime.now(UTC).isoformat(),
    }
    file.write_text(json.dumps(changed))

    event = book.label(3)

    assert event is not None and event.label is not None
    assert (event.label.text, event.revision) == ("swims far", 2)
    with pytest.raises(LabelConflictError):
        book.set(3, {"text": "sinks"}, "ann", based_on=1)
    book.set(3, {"text": "sinks"}, "ann", based_on=2)
    assert json.loads(file.read_text())["3"]["display_name"] == "sinks"
    assert json.loads(file.read_text())["3"]["stability_score"] == 0.25


def test_the_file_of_one_sae_is_refused_for_another(file: Path, tmp_path: Path) -> None:
    book_of(file, tmp_path).set(7, {"text": "dives"}, "ann")

    with pytest.raises(FingerprintMismatchError, match=f"{OTHER_SAE}.*{SAE}.*splat label carry"):
        book_of(file, tmp_path, OTHER_SAE).current()


def test_which_file_it_is_the_name_of_the_folder_says(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "activations_efficient"

    assert consolidated_file(folder, "full") == consolidated_file(folder, None) == file
    assert consolidated_file(folder, "ultra") is None
    file.with_name("consolidated_ultra.json").write_text("{}")
    assert consolidated_file(folder, "ultra") == file.with_name("consolidated_ultra.json")
    with pytest.raises(InputError, match=r"several models \(full, ultra\): `splat alias NAME"):
        consolidated_file(folder, None)


@pytest.mark.parametrize("content", ["", "[]", '{"3": 1}', "[" * 9_999, '{"999": {"display_name": "x"}}'])
def test_a_file_that_holds_no_labels_is_one_sentence_and_stays(content: str, file: Path, tmp_path: Path) -> None:
    from splat_assets.errors import SplatError

    file.write_text(content)
    book = book_of(file, tmp_path)

    with pytest.raises(SplatError, match="consolidated_full.json|this SAE"):
        book.current()
    with pytest.raises(SplatError):
        book.set(7, {"text": "dives"}, "ann")
    assert file.read_text() == content
