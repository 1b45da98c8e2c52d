"""Labels as other files have them: the upstream system's JSON (consolidated and dashboard labels, queue) and CSV.

Everything of a file is read and checked before anything of it is added.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from splat_assets.errors import InputError
from splat_assets.store.documents import json_of, read_text
from splat_serving.labels.book import LabelBook
from splat_serving.labels.event import MOST_AUTHOR, Category, Event, LabelFields, checked_fields

CSV_COLUMNS = ("feature_id", "display_name", "category", "confidence", "source", "notes")


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file said: labels by feature, and features for the queue with priority and reason, and which were skipped."""

    labels: dict[int, tuple[LabelFields, str]]
    queue: list[tuple[int, float, str]]
    skipped: list[int]


def read_labels(path: Path, n_features: int) -> Imported:
    """The content of `consolidated_*.json`, `feature_labels_*.json`, `queue_*.json` or our CSV; InputError names the place."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix == ".csv":
        try:
            return Imported(dict(_of_csv(text, path, n_features)), [], [])
        except csv.Error as error:
            raise InputError(f"{path} is not CSV: {error}") from error
    try:
        raw = json_of(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} must be a JSON object: labels by feature, or a queue")
    if "entries" in raw:
        return _of_queue(raw, path, n_features)
    return Imported(dict(_of_json(raw, path, n_features)), [], [])


def add_imported(book: LabelBook, found: Imported, author: str) -> tuple[int, int]:
    """Add what a file said; returns how many labels and queue entries were added. Labels that are there already stay."""
    current = book.current()
    added = 0
    for feature, (fields, source) in found.labels.items():
        before = current.get(feature)
        if before is None or before.label != fields:
            book.add(feature, fields, f"{author} ({source})"[:MOST_AUTHOR] if source else author)
            added += 1
    for feature, priority, reason in found.queue:
        book.enqueue(feature, priority, reason, author)
    for feature in found.skipped:
        book.skip(feature, "imported", author)
    return added, len(found.queue)


def as_consolidated(current: Mapping[int, Event], model_type: str) -> str:
    """The labels as upstream's `consolidated_{model}.json`."""
    return _json({
        str(feature): {
            "feature_id": feature,
            "model_type": model_type,
            "dashboard_name": label.text,
            "dashboard_category": label.category,
            "dashboard_notes": label.notes,
            "research_label": label.text,
            "research_state_path": None,
            "hypothesis_confidence": label.confidence,
            "display_name": label.text,
            "source": event.author,
            "last_updated": event.at,
        }
        for feature, event, label in _labels(current)
    })  # fmt: skip


def as_dashboard(current: Mapping[int, Event]) -> str:
    """The labels as upstream's `feature_labels_{model}.json`."""
    return _json({
        str(feature): {"name": label.text, "category": label.category, "notes": label.notes, "timestamp": event.at}
        for feature, event, label in _labels(current)
    })  # fmt: skip


def as_queue(book: LabelBook, model_type: str) -> str:
    """The queue as upstream's `queue_{model}.json`."""
    entries = [
        {
            "feature_id": event.feature_id,
            "model_type": model_type,
            "priority": event.priority,
            "reason": event.reason,
            "added_at": event.at,
        }
        for event in book.queue()
    ]
    return _json(
        {"model_type": model_type, "entries": entries, "completed": sorted(book.current()), "skipped": book.skipped()}
    )


def as_csv(current: Mapping[int, Event]) -> str:
    """The labels as CSV with the columns CSV_COLUMNS."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for feature, event, label in _labels(current):
        confidence = "" if label.confidence is None else label.confidence
        writer.writerow([feature, label.text, label.category, confidence, event.author, label.notes])
    return sink.getvalue()


def as_json(current: Mapping[int, Event], sae: str) -> str:
    """The labels whole, with the SAE that they are of."""
    events = {str(feature): event.model_dump(mode="json") for feature, event, _ in _labels(current)}
    return _json({"format": "splat.labels/1", "sae": sae, "labels": events})


def _labels(current: Mapping[int, Event]) -> Iterator[tuple[int, Event, LabelFields]]:
    for feature, event in sorted(current.items()):
        if event.label is not None:
            yield feature, event, event.label


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _of_json(raw: dict[str, Any], path: Path, n_features: int) -> Iterator[tuple[int, tuple[LabelFields, str]]]:
    if raw.get("format") == "splat.labels/1":
        for key, event in _object(raw.get("labels"), f"{path}: labels").items():
            fields = checked_fields(_object(event, f"{path}: {key}").get("label"), f"{path}: {key}: ")
            yield _feature(key, path, n_features), (fields, str(event.get("author", "")))
        return
    for key, entry in raw.items():
        held = _object(entry, f"{path}: {key}")
        name = held.get("display_name") or held.get("dashboard_name") or held.get("research_label") or held.get("name")
        if not name:
            continue  # upstream keeps entries that nobody named yet
        category = held.get("dashboard_category") or held.get("category") or "none"
        named = {
            "text": name,
            "category": category if category in get_args(Category) else "none",
            "notes": held.get("dashboard_notes") or held.get("notes") or "",
            "confidence": held.get("hypothesis_confidence"),
            "origin": path.name,
        }
        yield (
            _feature(key, path, n_features),
            (checked_fields(named, f"{path}: {key}: "), str(held.get("source") or "")),
        )


def _of_queue(raw: dict[str, Any], path: Path, n_features: int) -> Imported:
    entries = raw["entries"]
    skipped = raw.get("skipped", [])
    if not isinstance(entries, list) or not isinstance(skipped, list):
        raise InputError(f"{path}: entries and skipped must be lists")
    queue = []
    for at, entry in enumerate(entries):
        held = _object(entry, f"{path}: entries[{at}]")
        priority = held.get("priority", 0.0)
        if isinstance(priority, bool) or not isinstance(priority, int | float):
            raise InputError(f"{path}: entries[{at}].priority: {priority!r} is no number")
        feature = _feature(held.get("feature_id"), path, n_features)
        queue.append((feature, float(priority), str(held.get("reason") or "")[:500]))
    return Imported({}, queue, [_feature(one, path, n_features) for one in skipped])


def _of_csv(text: str, path: Path, n_features: int) -> Iterator[tuple[int, tuple[LabelFields, str]]]:
    rows = csv.DictReader(io.StringIO(text))
    missing = [name for name in ("feature_id", "display_name") if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]}; it needs feature_id and display_name")
    for line, row in enumerate(rows, start=2):
        confidence: Callable[[str], float] = float
        try:
            sure = confidence(row["confidence"]) if row.get("confidence") else None
        except ValueError:
            raise InputError(f"{path}, line {line}: confidence {row['confidence']!r} is no number") from None
        fields = {
            "text": row["display_name"],
            "category": row.get("category") or "none",
            "notes": row.get("notes") or "",
            "confidence": sure,
            "origin": path.name,
        }
        where = f"{path}, line {line}: "
        yield _feature(row["feature_id"], path, n_features), (checked_fields(fields, where), row.get("source") or "")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be an object, not {value!r:.80}")
    return value


def _feature(value: Any, path: Path, n_features: int) -> int:
    digits = isinstance(value, str) and len(value) < 10 and value.isdecimal()
    known = digits or (isinstance(value, int) and not isinstance(value, bool))
    if not known or not 0 <= int(value) < n_features:
        raise InputError(f"{path}: {value!r:.80} is no feature of this SAE, which has features 0 to {n_features - 1}")
    return int(value)
