"""The events of one SAE's labels in a file that is only added to: one JSON line each, safe with several writers.

A line is written whole in one call under a lock that the system releases when its holder dies, and is on the disk before the
write returns. A partial line of a killed writer is not an event; the next writer removes it. A damaged line stays where it is,
is reported by its number, and does not affect other lines (`lines.py`).
"""

import fcntl
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import orjson

from splat_assets.errors import InputError, SplatError
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import replacing_file
from splat_serving.database.errors import LabelConflictError, ParameterError
from splat_serving.labels.event import Event, NewEvent, utc_timestamp
from splat_serving.labels.lines import EventLines, as_line

ABOUT = "about.json"
EVENTS = "events.jsonl"
_FINGERPRINT = re.compile("[0-9a-f]{64}")


class LabelLog:
    """The events in `<data root>/labels/<first 16 digits of the SAE's fingerprint>`. Safe for threads and processes."""

    def __init__(self, root: Path, sae: str) -> None:
        """root: the folder of all labels. sae: the SAE's fingerprint, sha256. Nothing is written yet.

        Raises FingerprintMismatchError when the folder holds labels of another SAE, InputError for an invalid fingerprint.
        """
        self.sae = checked_fingerprint(sae)
        self.folder = root / sae[:16]
        self._lock = threading.Lock()
        self._inode = 0
        self._lines = EventLines(str(self.folder / EVENTS))
        self._check()

    def events(self) -> list[Event]:
        """Everything that was added and is not damaged, oldest first."""
        with self._lock:
            self._catch_up()
            return self._lines.events

    def damaged_lines(self) -> list[int]:
        """The numbers of the lines that something else changed, from 1 on."""
        with self._lock:
            self._catch_up()
            return self._lines.damaged

    def append(self, event: NewEvent) -> Event:
        """Add an event and return it as it was written, once it is on the disk.

        Raises LabelConflictError for a label based on another revision than there is: it is written all the same, as a conflict;
        DiskFullError or StoreError where it cannot be written, and then nothing is.
        """
        with explaining_write_errors("a label", self.folder), self._lock, self._locked() as file:
            self._catch_up()
            events = self._lines.events
            if (earlier := repeated_event(event, events)) is not None:
                return as_answered_before(event, earlier)
            whole_size = self._lines.size + self._lines.rest_size
            os.ftruncate(file, whole_size)  # what a killed writer left of a line
            written = next_event(event, events)
            line = (b"\n" if self._lines.rest_size else b"") + as_line(written)
            if os.write(file, line) != len(line):
                os.ftruncate(file, whole_size)
                raise SplatError(
                    f"{self.folder / EVENTS} could not be written in full: check for a full disk; nothing was added"
                )
            os.fsync(file)
            self._catch_up()
        if written.conflict:
            raise conflict_of(event, written.revision)
        return written

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = os.open(self.folder / EVENTS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not (self.folder / ABOUT).is_file():
                with replacing_file(self.folder / ABOUT) as aside:
                    aside.write_bytes(about_labels(self.sae))
            self._check()
            yield file
        finally:
            os.close(file)

    def _check(self) -> None:
        about = self.folder / ABOUT
        try:
            stated = read_json(about)["sae"]
        except FileNotFoundError:
            return
        except WRONG_CONTENT as error:
            raise SplatError(f"{about} does not name the SAE of these labels: restore it from a backup") from error
        if stated != self.sae:
            raise FingerprintMismatchError(
                f"the labels in {self.folder}",
                self.sae,
                str(stated),
                "they belong to another SAE: `splat label carry` carries labels over",
            )

    def _catch_up(self) -> None:
        """Read what was added since."""
        path = self.folder / EVENTS
        if not path.is_file():
            self._lines = EventLines(str(path))
            return
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_size < self._lines.size or facts.st_ino != self._inode:  # another file is there now
                self._lines, self._inode = EventLines(str(path)), facts.st_ino
            file.seek(self._lines.size)
            self._lines.read(file.read())


def checked_fingerprint(sae: str) -> str:
    """The fingerprint itself; InputError if it is invalid: it becomes a path, and it was read from a file."""
    if not _FINGERPRINT.fullmatch(sae):
        raise InputError(f"{sae[:80]!r} is not a fingerprint of an SAE: 64 hexadecimal digits")
    return sae


def about_labels(sae: str) -> bytes:
    """The content of about.json: the SAE of the events."""
    return orjson.dumps({"format": "splat.labels/1", "sae": sae}) + b"\n"


def next_event(event: NewEvent, before: Sequence[Event]) -> Event:
    """An event as it is written after those before: a label based on another revision than there is becomes a conflict."""
    own = (one.revision for one in reversed(before) if one.feature_id == event.feature_id and _is_revision(one))
    known = next(own, 0)
    conflict = event.kind == "label" and event.based_on not in (None, known)
    revision = known + 1 if event.kind == "label" and not conflict else known
    at = utc_timestamp()
    imported = event.imported and event.imported.model_copy(update={"at": event.imported.at or at})
    return Event(**{**dict(event), "imported": imported, "at": event.at or at}, revision=revision, conflict=conflict)


def repeated_event(event: NewEvent, before: Sequence[Event]) -> Event | None:
    """The event that was added under the same `event_id`, None without one, and for a new event without an id.

    Raises ParameterError where the id belongs to an event with other content.
    """
    if event.event_id is None:
        return None
    earlier = next((one for one in reversed(before) if one.event_id == event.event_id), None)
    if earlier is not None and not _has_same_content(event, earlier):
        raise ParameterError(
            "event_id", f"{event.event_id} is the id of another event of feature {earlier.feature_id}; use a new id"
        )
    return earlier


def _has_same_content(event: NewEvent, earlier: Event) -> bool:
    """Whether an event became the earlier one; times that it left open were filled in then."""
    fields = dict(event)
    if event.at is None:
        fields.pop("at")
    if event.imported is not None and earlier.imported is not None and not event.imported.at:
        fields["imported"] = event.imported.model_copy(update={"at": earlier.imported.at})
    return all(getattr(earlier, name) == value for name, value in fields.items())


def with_id(event: NewEvent) -> NewEvent:
    """The event with an id, its own or a new one."""
    return event if event.event_id is not None else event.model_copy(update={"event_id": uuid4().hex})


def as_answered_before(event: NewEvent, earlier: Event) -> Event:
    """The answer to an event that was added already: that one, or LabelConflictError where it became a conflict."""
    if earlier.conflict:
        raise conflict_of(event, earlier.revision)
    return earlier


def conflict_of(event: NewEvent, known: int) -> LabelConflictError:
    """The error for a label that was based on another revision than the known one."""
    return LabelConflictError(
        "based_on",
        f"feature {event.feature_id} is at revision {known} by now, not at {event.based_on}; both labels are in its history: "
        "read it, then set the label again",
    )


def _is_revision(event: Event) -> bool:
    return event.kind == "label" and not event.conflict
