"""Labels as files: ours whole (JSON), CSV, and the upstream system's JSON (consolidated and dashboard labels, queue).

What a file of the upstream system holds beyond our fields is kept and written again. This module reads and writes files;
`importing.py` decides what to import.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from splat_assets.errors import InputError
from splat_assets.store.documents import json_of, read_text
from splat_assets.store.spreadsheet import as_written, harmless
from splat_serving.labels.book import LabelBook
from splat_serving.labels.event import Category, Event, FileKind, LabelFields, moment

CSV_COLUMNS = ("feature_id", "display_name", "category", "confidence", "source", "notes")
"""The upstream system's."""
OWN_COLUMNS = ("status", "rule", "origin", "evidence", "at", "revision", "sae", "extra")
"""Further columns, so that nothing is lost."""
FORMAT = "splat.labels/1"
_LONGEST_CELL = 2**20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_QUOTED = re.compile(r'[",\r\n]')
_DAY = timedelta(days=1)
_NAMES: dict[FileKind, dict[str, tuple[str, ...]]] = {
    "consolidated": {
        "text": ("display_name", "dashboard_name"),
        "category": ("dashboard_category",),
        "notes": ("dashboard_notes",),
        "confidence": ("hypothesis_confidence",),
    },
    "dashboard": {"text": ("name",), "category": ("category",), "notes": ("notes",)},
}
"""The names of our fields in upstream's files."""
_NOT_COMPARED = frozenset(("feature_id", "model_type", "source", "last_updated", "timestamp", "added_at"))
"""Members that identify or date an entry: entries that differ only in these are the same."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A label in a file. fields: those that the file has. author, at, revision: None where the file has none.

    kind, entry: the entry of an upstream file, unchanged. extra: what other files held, from our own files, None without it.
    history: every label of the feature, of our JSON.
    """

    feature: int
    where: str
    kind: FileKind
    fields: dict[str, Any]
    author: str | None = None
    at: str | None = None
    revision: int | None = None
    entry: dict[str, Any] | None = None
    extra: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queued feature in upstream's queue."""

    feature: int
    priority: float
    reason: str
    at: str | None
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The content of a file. saes: the SAEs that it names. n_unnamed: entries without a name, which are left out."""

    name: str
    labels: list[LabelRow] = field(default_factory=list)
    queue: list[QueueRow] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    completed: list[int] = field(default_factory=list)
    saes: frozenset[str] = frozenset()
    n_unnamed: int = 0


def read_labels(path: Path, n_features: int) -> LabelFile:
    r"""The labels or the queue in a file: `consolidated_*.json`, `feature_labels_*.json`, `queue_*.json`, our JSON or CSV.

    Args:
        path: Its suffix .csv means CSV, any other JSON; the kind of JSON follows from its content.
        n_features: Of the SAE.

    Raises:
        InputError: For a file that cannot be read, a feature outside the SAE, or the first row that is wrong, with its place.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels.csv"
        ...     _ = path.write_text("feature_id,display_name,category\n7,swims,tactical\n")
        ...     read_labels(path, n_features=512).labels[0].fields
        {'text': 'swims', 'category': 'tactical'}
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix == ".csv":
        try:
            with _long_cells():
                return _of_csv(text, path, n_features)
        except csv.Error as error:
            raise InputError(f"{path} is not CSV: {error}") from error
    try:
        raw = json_of(text, _once, _refused)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} must be a JSON object: labels by feature, or a queue")
    if raw.get("format") == FORMAT:
        return _of_own(raw, path, n_features)
    if "entries" in raw:
        return _of_queue(raw, path, n_features)
    return _of_upstream(raw, path, n_features)


def as_consolidated(current: Mapping[int, Event], model_type: str) -> str:
    """The labels as upstream's `consolidated_{model}.json`."""
    return _json({str(feature): consolidated_entry(event, model_type) for feature, event in sorted(current.items())})


def as_dashboard(current: Mapping[int, Event]) -> str:
    """The labels as upstream's `feature_labels_{model}.json`."""
    return _json({str(feature): dashboard_entry(event) for feature, event in sorted(current.items())})


def as_queue(book: LabelBook, model_type: str) -> str:
    """The queue as upstream's `queue_{model}.json`."""
    last = {feature: events[-1] for feature, events in book.events_by_feature().items()}
    elsewhere = [feature for feature in book.skipped() if was_completed(last[feature])]
    return _json(
        {
            "model_type": model_type,
            "entries": [queue_entry(event, model_type) for event in book.queue()],
            "completed": sorted({*book.current(), *elsewhere}),
            "skipped": [feature for feature in book.skipped() if feature not in elsewhere],
        }
    )


def as_csv(current: Mapping[int, Event], sae: str) -> str:
    """The labels as CSV: upstream's columns, ours, and those that an imported CSV had beside them."""
    others = sorted({name for event in current.values() for name in event.extra.get("csv", {})})
    lines = [[*CSV_COLUMNS, *OWN_COLUMNS, *others]]
    for feature, event in sorted(current.items()):
        label = _label(event)
        extra = {kind: entry for kind, entry in event.extra.items() if kind != "csv"}
        evidence = [one.model_dump(mode="json") for one in label.evidence]
        cells = {
            "feature_id": str(feature),
            "display_name": label.text,
            "category": label.category,
            "confidence": "" if label.confidence is None else repr(label.confidence),
            "source": event.author,
            "notes": label.notes,
            "status": label.status,
            "rule": _cell(label.rule),
            "origin": label.origin,
            "evidence": _cell(evidence),
            "at": event.at,
            "revision": str(event.revision),
            "sae": sae,
            "extra": _cell(extra),
        }
        lines.append([*cells.values(), *(event.extra.get("csv", {}).get(name, "") for name in others)])
    return "".join(",".join(_quoted(harmless(cell)) for cell in line) + "\n" for line in lines)


def as_json(book: LabelBook, sae: str) -> str:
    """The labels whole, with every label that a feature ever had and the SAE that they are of; `read_labels` reads it back."""
    labels = {}
    for feature, event in sorted(book.current().items()):
        history = [one.model_dump(mode="json") for one in book.history(feature) if one.kind == "label"]
        labels[str(feature)] = {**event.model_dump(mode="json"), "history": history}
    return _json({"format": FORMAT, "sae": sae, "labels": labels})


def consolidated_entry(event: Event, model_type: str) -> dict[str, Any]:
    """A label as an entry of upstream's consolidated file."""
    label = _label(event)
    plain = {
        "feature_id": event.feature_id,
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
    return _as_it_was(event, "consolidated", plain)


def dashboard_entry(event: Event) -> dict[str, Any]:
    """A label as an entry of upstream's dashboard file."""
    label = _label(event)
    plain = {"name": label.text, "category": label.category, "notes": label.notes, "timestamp": event.at}
    return _as_it_was(event, "dashboard", plain)


def queue_entry(event: Event, model_type: str) -> dict[str, Any]:
    """A queued feature as an entry of upstream's queue."""
    plain = {
        "feature_id": event.feature_id,
        "model_type": model_type,
        "priority": event.priority,
        "reason": event.reason,
        "added_at": event.at,
    }
    return event.extra.get("queue", plain)


def was_completed(event: Event) -> bool:
    """Whether a feature was skipped because upstream's queue lists it as completed, without a label here."""
    return event.extra.get("queue") == {"completed": True}


def same_entry(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two entries have the same content, whatever their author, time and model name."""
    return {k: v for k, v in one.items() if k not in _NOT_COMPARED} == {
        k: v for k, v in other.items() if k not in _NOT_COMPARED
    }


def _as_it_was(event: Event, kind: FileKind, plain: dict[str, Any]) -> dict[str, Any]:
    """The entry that a label was imported from, with later changes; plain if it was not imported."""
    entry = event.extra.get(kind)
    if entry is None:
        return plain
    label = _label(event)
    before = _fields_of(entry, kind)
    changed = {
        name for held, names in _NAMES[kind].items() if getattr(label, held) != before.get(held) for name in names
    }
    if event.imported is None or event.imported.kind != kind:  # somebody wrote it since
        changed |= {"source", "last_updated", "timestamp"}
    return {**entry, **{name: value for name, value in plain.items() if name in changed}}


def _label(event: Event) -> LabelFields:
    assert event.label is not None
    return event.label


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _cell(value: Any) -> str:
    """A value in a cell; nothing for one that holds nothing."""
    return json.dumps(value, ensure_ascii=False) if value else ""


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell


def _of_own(raw: dict[str, Any], path: Path, n_features: int) -> LabelFile:
    rows = []
    for key, value in _object(raw.get("labels"), f"{path}: labels").items():
        where = f"{path}: {key}"
        event = _object(value, where)
        history = event.get("history", [])
        if not isinstance(history, list):
            raise InputError(f"{where}.history must be a list")
        rows.append(
            LabelRow(
                _feature(key, path, n_features),
                where,
                "labels",
                dict(_object(event.get("label"), f"{where}.label")),
                author=_text(event.get("author"), f"{where}.author"),
                at=_time(event.get("at"), f"{where}.at"),
                revision=_whole(event.get("revision"), f"{where}.revision"),
                extra=_object(event["extra"], f"{where}.extra") if "extra" in event else None,
                history=[_object(one, f"{where}.history") for one in history],
            )
        )
    return LabelFile(path.name, _each_once(rows, path), saes=_saes([raw.get("sae")], path))


def _of_upstream(raw: dict[str, Any], path: Path, n_features: int) -> LabelFile:
    rows, named, n_unnamed = [], [], 0
    for key, value in raw.items():
        where = f"{path}: {key}"
        entry = _object(value, where)
        feature = _feature(key, path, n_features)
        if entry.get("feature_id", feature) != feature:
            raise InputError(f"{where} has feature_id {entry['feature_id']!r:.40}, which is not its key")
        kind: FileKind = "dashboard" if "name" in entry and "display_name" not in entry else "consolidated"
        fields = _fields_of(entry, kind)
        if not fields["text"]:
            n_unnamed += 1  # upstream keeps entries without a name
            continue
        if isinstance(fields.get("confidence"), bool):
            raise InputError(f"{where}: hypothesis_confidence: {fields['confidence']!r} is not a number")
        at = _time(entry.get("last_updated" if kind == "consolidated" else "timestamp"), where)
        author = _text(entry.get("source"), f"{where}.source") if kind == "consolidated" else None
        rows.append(LabelRow(feature, where, kind, fields, author, at, entry=entry))
        named.append(entry.get("sae"))
    return LabelFile(path.name, _each_once(rows, path), saes=_saes(named, path), n_unnamed=n_unnamed)


def _fields_of(entry: Mapping[str, Any], kind: FileKind) -> dict[str, Any]:
    """Our fields of an entry of an upstream file, those that it has: a consolidated one has all four."""
    text = entry.get("display_name") or entry.get("dashboard_name") or entry.get("research_label") or entry.get("name")
    category = entry.get("dashboard_category" if kind == "consolidated" else "category") or "none"
    fields = {
        "text": text,
        "category": category if category in get_args(Category) else "none",
        "notes": entry.get("dashboard_notes" if kind == "consolidated" else "notes") or "",
    }
    return {**fields, "confidence": entry.get("hypothesis_confidence")} if kind == "consolidated" else fields


def _of_queue(raw: dict[str, Any], path: Path, n_features: int) -> LabelFile:
    entries, lists = raw["entries"], [raw.get(name, []) for name in ("skipped", "completed")]
    if not all(isinstance(one, list) for one in (entries, *lists)):
        raise InputError(f"{path}: entries, skipped and completed must be lists")
    rows = []
    for at, value in enumerate(entries):
        where = f"{path}: entries[{at}]"
        entry = _object(value, where)
        priority = entry.get("priority", 0.0)
        if isinstance(priority, bool) or not isinstance(priority, int | float):
            raise InputError(f"{where}.priority: {priority!r:.40} is not a number")
        feature = _feature(entry.get("feature_id"), path, n_features)
        reason = str(entry.get("reason") or "")[:500]
        rows.append(QueueRow(feature, float(priority), reason, _time(entry.get("added_at"), where), entry))
    skipped, completed = ([_feature(one, path, n_features) for one in dict.fromkeys(ids)] for ids in lists)
    return LabelFile(path.name, queue=_each_once(rows, path), skipped=skipped, completed=completed)


def _of_csv(text: str, path: Path, n_features: int) -> LabelFile:
    first = text.split("\n", 1)[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first and "," not in first else ",")
    columns = [as_written(name.strip()) for name in next(lines, [])]
    missing = [name for name in ("feature_id", "display_name") if name not in columns]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]}; it needs feature_id and display_name")
    if len(set(columns)) < len(columns):
        raise InputError(f"{path} has a column twice: {next(one for one in columns if columns.count(one) > 1)!r:.60}")
    rows, named, line = [], [], 2
    for cells in lines:
        where, line = f"{path}, line {line}", lines.line_num + 1
        if not cells:
            continue
        if len(cells) != len(columns):
            raise InputError(f"{where} has {len(cells)} cells for {len(columns)} columns")
        row = {name: as_written(cell) for name, cell in zip(columns, cells, strict=True)}
        rows.append(_of_line(row, where, path, n_features))
        named.append(row.get("sae"))
    return LabelFile(path.name, _each_once(rows, path), saes=_saes(named, path))


def _of_line(row: Mapping[str, str], where: str, path: Path, n_features: int) -> LabelRow:
    fields: dict[str, Any] = {"text": row["display_name"]}
    fields |= {name: row[name] for name in ("notes", "origin") if name in row}
    if "category" in row:
        fields["category"] = row["category"] or "none"
    if row.get("status"):
        fields["status"] = row["status"]
    if "confidence" in row:
        if row["confidence"] and not _NUMBER.fullmatch(row["confidence"].strip()):
            raise InputError(f"{where}: confidence {row['confidence']!r:.40} is not a number")
        fields["confidence"] = float(row["confidence"]) if row["confidence"] else None
    for name, empty in (("rule", None), ("evidence", [])):
        if name in row:
            fields[name] = _held(row[name], f"{where}: {name}") if row[name] else empty
    own: dict[str, Any] = _object(_held(row["extra"], f"{where}: extra"), where) if row.get("extra") else {}
    known = (*CSV_COLUMNS, *OWN_COLUMNS)
    others = {name: cell for name, cell in row.items() if name not in known and cell}
    revision = row.get("revision", "")
    return LabelRow(
        _feature(row["feature_id"].strip(), path, n_features),
        where,
        "csv",
        fields,
        author=row.get("source") or None,
        at=_time(row.get("at"), where),
        revision=_whole(int(revision) if _is_id(revision) else revision or None, f"{where}: revision"),
        entry=others,
        extra=own if "extra" in row else None,
    )


@contextmanager
def _long_cells() -> Iterator[None]:
    """Allow cells long enough for all the evidence of a label."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _held(cell: str, where: str) -> Any:
    try:
        return json.loads(cell, object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {cell[:60]!r} is not JSON: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(one for one in names if names.count(one) > 1)!r:.60} occurs twice in one object")
    return held


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be an object, not {value!r:.80}")
    return value


def _text(value: Any, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where} must be a string, not {value!r:.80}")
    return value or None


def _whole(value: Any, where: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise InputError(f"{where}: {value!r:.40} is not a whole number")
    return value


def _time(value: Any, where: str) -> str | None:
    """A time in the file; InputError if it is invalid or more than a day ahead."""
    text = _text(value, where)
    try:
        if text is not None and moment(text) > datetime.now(UTC) + _DAY:
            raise InputError(f"{text[:40]} is in the future: check the clock of the machine that wrote it")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return text


def _saes(named: list[Any], path: Path) -> frozenset[str]:
    return frozenset(text for one in named if (text := _text(one, f"{path}: sae")))


def _each_once(rows: list[Any], path: Path) -> list[Any]:
    features = [row.feature for row in rows]
    if len(set(features)) < len(features):
        raise InputError(f"{path} has feature {next(one for one in features if features.count(one) > 1)} twice")
    return rows


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdecimal()


def _feature(value: Any, path: Path, n_features: int) -> int:
    known = _is_id(value) or (isinstance(value, int) and not isinstance(value, bool))
    if not known or not 0 <= int(value) < n_features:
        raise InputError(
            f"{path}: {value!r:.80} is not a feature of this SAE, which has features 0 to {n_features - 1}"
        )
    return int(value)
