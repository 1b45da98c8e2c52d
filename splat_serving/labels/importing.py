"""The outcome of importing labels from a file: unchanged if equal, a conflict if older, else a new event.

An imported label keeps its author and time. The whole file is checked before anything is added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from splat_assets.errors import InputError
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.text.wording import visible
from splat_serving.database.errors import LabelConflictError
from splat_serving.labels.book import LabelBook, current_username
from splat_serving.labels.event import Event, Imported, LabelFields, NewEvent, checked_event, checked_fields, moment
from splat_serving.labels.upstream import (
    LabelFile,
    LabelRow,
    QueueRow,
    consolidated_entry,
    dashboard_entry,
    queue_entry,
    same_entry,
    was_completed,
)

_COMPLETED = {"queue": {"completed": True}}


@dataclass(frozen=True, slots=True)
class Change:
    """What a row of a file changes. changes: by field, the current value and that of the file. why: the reason of a conflict,
    which is not written.

    events: the events to add; several where a feature without a label has a history in the file.
    """

    feature: int
    what: Literal["label", "queue", "skip"]
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    why: str = ""
    events: Sequence[NewEvent] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What importing a file does. n_same: labels that exist already."""

    changes: list[Change]
    n_same: int

    @property
    def conflicts(self) -> list[Change]:
        """The rows that are older than the current labels."""
        return [change for change in self.changes if change.why]

    def n_added(self, what: str) -> int:
        """How many rows of a kind are written."""
        return sum(change.what == what and not change.why for change in self.changes)


def refuse_other_sae(file: LabelFile, sae: str) -> None:
    """FingerprintMismatchError for a file whose labels belong to another SAE than that of this fingerprint."""
    for other in sorted(file.saes - {sae}):
        raise FingerprintMismatchError(
            f"the labels in {file.name}",
            sae,
            other,
            "they belong to another SAE with other features: import them for a run of that SAE, then `splat label carry` "
            "carries them over",
        )


def planned_import(book: LabelBook, file: LabelFile, author: str | None, model_type: str) -> Plan:
    """What importing a file would add; `add_planned` adds it.

    Args:
        author: Of rows without one; the current user if None.
        model_type: The name of the run in upstream files.

    Returns:
        A change for each row that differs; rows older than the current label are `conflicts`, which are not written.

    Raises:
        InputError: For the first row that cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from splat_serving.labels.log import LabelLog
        >>> folder = TemporaryDirectory()
        >>> book = LabelBook(LabelLog(Path(folder.name), sae="0" * 64), n_features=512)
        >>> file = LabelFile("labels.csv", [LabelRow(7, "labels.csv, line 2", "csv", {"text": "swims"}, author="ann")])
        >>> plan = planned_import(book, file, None, "demo")
        >>> plan.n_added("label"), add_planned(book, plan), book.label(7).label.text
        (1, [], 'swims')
        >>> planned_import(book, file, None, "demo").n_same
        1
        >>> folder.cleanup()
    """
    importing = _Importing(book, file, author, model_type)
    planned = [importing.label(row) for row in file.labels]
    planned += [importing.queued(row) for row in file.queue]
    planned += [importing.skipped(feature) for feature in file.skipped]
    planned += [importing.completed(feature) for feature in file.completed]
    n_same = sum(change is None for change in planned[: len(file.labels)])
    return Plan([change for change in planned if change is not None], n_same)


def add_planned(book: LabelBook, plan: Plan) -> list[Change]:
    """Write what was planned; returns the rows that lost to a newer label, which are in the history as conflicts."""
    late = []
    for change in plan.changes:
        for event in () if change.why else change.events:
            try:
                book.write(event)
            except LabelConflictError as error:
                if len(change.events) == 1:
                    late.append(Change(change.feature, change.what, change.changes, str(error)))
    return late


class _Importing:
    """One import: the current labels, and the change of each row. None: no change."""

    def __init__(self, book: LabelBook, file: LabelFile, author: str | None, model_type: str) -> None:
        self._book = book
        self._file = file
        self._name = visible(file.name).encode(errors="replace").decode()[:500]
        self._author = author
        self._by = current_username() if author is None else author
        self._model_type = model_type
        self._current = book.current()
        self._events = book.events_by_feature()
        self._waiting = {event.feature_id: event for event in book.queue()}
        self._skipped = set(book.skipped())

    def label(self, row: LabelRow) -> Change | None:
        before = self._current.get(row.feature)
        known = before.label.model_dump() if before and before.label else {}
        label = checked_fields({**known, **row.fields}, f"{row.where}: ")
        author = row.author or self._author or (before.author if before else self._by)
        if before is None or before.label is None:
            events = self._history(row) if row.history else [self._event(row, label, author, None)]
            return Change(row.feature, "label", {"text": (None, label.text), "author": (None, author)}, events=events)
        changes = _differences(before.label, label)
        if row.author and row.author != before.author:
            changes["author"] = (before.author, row.author)
        if not self._same_entry(row, before):
            changes["other fields"] = ("…", "…")
        if not changes:
            return None
        if self._is_older(row, before):
            there = f"revision {before.revision} by {before.author}, {before.at}, is newer"
            return Change(row.feature, "label", changes, there)
        return Change(row.feature, "label", changes, events=[self._event(row, label, author, before)])

    def queued(self, row: QueueRow) -> Change | None:
        there = self._waiting.get(row.feature)
        if there and (there.priority, there.reason) == (row.priority, row.reason) and self._same_queue(row, there):
            return None
        last = self._last(row.feature)
        changes = {
            "priority": (there.priority if there else None, row.priority),
            "reason": (there.reason if there else None, row.reason),
        }
        if last is not None and self._is_older_entry(row, last):
            return Change(row.feature, "queue", changes, f"a {last.kind} by {last.author}, {last.at}, is newer")
        fields: dict[str, Any] = {"priority": row.priority, "reason": row.reason, "at": row.at}
        event = self._prepared("queue", row.feature, self._by, f"{self._file.name}: {row.feature}: ", "queue", **fields)
        plain = {
            "feature_id": row.feature,
            "model_type": self._model_type,
            "priority": row.priority,
            "reason": row.reason,
        }
        if {**plain, "added_at": row.at} != row.entry:
            event = event.model_copy(update={"extra": {"queue": row.entry}})
        return Change(row.feature, "queue", changes, events=[_checked_again(event)])

    def skipped(self, feature: int) -> Change | None:
        if feature in self._skipped and not was_completed(self._events[feature][-1]):
            return None
        return self._left_out(feature, {})

    def completed(self, feature: int) -> Change | None:
        if feature in self._current or (feature in self._skipped and was_completed(self._events[feature][-1])):
            return None
        return self._left_out(feature, _COMPLETED)

    def _left_out(self, feature: int, extra: dict[str, Any]) -> Change:
        last = self._last(feature)
        before = [event for event in self._events.get(feature, []) if event.kind == "skip" and event.extra == extra]
        if last is not None and (last.kind == "label" or before):
            return Change(feature, "skip", {}, f"a {last.kind} by {last.author}, {last.at}, is newer")
        event = self._prepared("skip", feature, self._by, f"{self._file.name}: {feature}: ", "queue", extra=extra)
        return Change(feature, "skip", events=[event])

    def _last(self, feature: int) -> Event | None:
        events = self._events.get(feature)
        return events[-1] if events else None

    def _event(self, row: LabelRow, label: LabelFields, author: str, before: Event | None) -> NewEvent:
        newer = row.at is not None and (before is None or moment(row.at) > moment(before.at))
        extra = self._extra(row, before)
        fields: dict[str, Any] = {
            "label": label,
            "based_on": before.revision if before else 0,
            "at": row.at if newer else None,  # a row that was changed in the file was changed now
        }
        event = self._prepared("label", row.feature, author, f"{row.where}: ", row.kind, extra=extra, **fields)
        if row.kind in ("consolidated", "dashboard") and self._entry(row, event) != row.entry:
            event = _checked_again(event.model_copy(update={"extra": {**extra, row.kind: row.entry}}))
        return event

    def _extra(self, row: LabelRow, before: Event | None) -> dict[Any, Any]:
        extra: dict[Any, Any] = dict(before.extra) if before else {}
        if row.extra is not None:
            extra = {**row.extra, **({"csv": extra["csv"]} if row.kind == "csv" and "csv" in extra else {})}
        if row.kind == "csv" and row.entry:
            extra["csv"] = {**extra.get("csv", {}), **row.entry}
        return extra

    def _entry(self, row: LabelRow, event: NewEvent | Event) -> dict[str, Any]:
        """The entry that an event would be written as in a file like the row's."""
        written = Event(**{**dict(event), "at": event.at or "now"})
        return dashboard_entry(written) if row.kind == "dashboard" else consolidated_entry(written, self._model_type)

    def _same_entry(self, row: LabelRow, before: Event) -> bool:
        """Whether what a file holds beyond our fields is there already."""
        if row.kind not in ("consolidated", "dashboard"):
            return self._extra(row, before) == before.extra
        label = checked_fields({**(before.label.model_dump() if before.label else {}), **row.fields})
        after = before.model_copy(update={"label": label})  # differences in our own fields are listed by field
        return same_entry(self._entry(row, after), row.entry or {})

    def _same_queue(self, row: QueueRow, there: Event) -> bool:
        return same_entry(queue_entry(there, self._model_type), row.entry)

    def _history(self, row: LabelRow) -> list[NewEvent]:
        """Every label in the file of a feature without one here, in order."""
        events = []
        for at, raw in enumerate(row.history, 1):
            label = checked_fields(raw.get("label"), f"{row.where}.history[{at}]: ")
            fields = {name: raw.get(name) for name in ("based_on", "at", "imported")} | {"extra": raw.get("extra", {})}
            events.append(
                self._prepared(
                    "label",
                    row.feature,
                    raw.get("author"),
                    f"{row.where}.history[{at}]: ",
                    row.kind,
                    label=label,
                    **fields,
                )
            )
        return events

    def _prepared(self, kind: Any, feature: int, author: Any, where: str, file: Any, **fields: Any) -> NewEvent:
        imported = fields.pop("imported", None) or Imported(kind=file, file=self._name, by=self._by)
        try:
            return self._book.prepared(kind, feature, author, imported=imported, **fields)
        except InputError as error:
            raise InputError(f"{where}{error}") from error

    def _is_older(self, row: LabelRow, before: Event) -> bool:
        """Whether a row is older: one of the earlier labels; else by time; at equal or no time by revision; else by content."""
        earlier = [event for event in self._events[row.feature] if event.label is not None and event is not before]
        if any(event.at == row.at and self._says(row, event) for event in earlier):
            return True  # whatever the clocks and time zones of later authors
        if row.at is not None and moment(row.at) != moment(before.at):
            return moment(row.at) < moment(before.at)
        if row.revision is not None:
            return row.revision < before.revision
        return any(self._says(row, event) for event in earlier)

    def _says(self, row: LabelRow, event: Event) -> bool:
        assert event.label is not None
        same = checked_fields({**event.label.model_dump(), **row.fields}) == event.label
        return same and row.author in (None, event.author)

    def _is_older_entry(self, row: QueueRow, last: Event) -> bool:
        earlier = [
            event
            for event in self._events[row.feature]
            if event.kind == "queue"
            and event is not last
            and (event.priority, event.reason) == (row.priority, row.reason)
        ]
        if any(event.at == row.at for event in earlier):
            return True
        if row.at is not None and moment(row.at) != moment(last.at):
            return moment(row.at) < moment(last.at)
        return bool(earlier)


def _differences(before: LabelFields, after: LabelFields) -> dict[str, tuple[Any, Any]]:
    one, other = before.model_dump(mode="json"), after.model_dump(mode="json")
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


def _checked_again(event: NewEvent) -> NewEvent:
    """An event whose fields were changed after it was checked."""
    return checked_event(event.model_dump())
