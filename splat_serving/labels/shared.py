"""The events of one SAE's labels in a bucket: the lines of a `LabelLog` in one object, replaced only if it is unchanged."""

import threading
from pathlib import Path

import orjson

from splat_assets.errors import SplatError
from splat_assets.store.bucket.bucket import MissingObjectError, PreconditionFailedError
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.errors import FingerprintMismatchError
from splat_serving.labels.event import Event, NewEvent
from splat_serving.labels.lines import EventLines, as_line
from splat_serving.labels.log import (
    ABOUT,
    EVENTS,
    LabelLog,
    about_labels,
    as_answered_before,
    checked_fingerprint,
    conflict_of,
    next_event,
    repeated_event,
    with_id,
)

_TRIES = 50


def label_events(root: Path, sae: str) -> "LabelLog | SharedLabelLog":
    """The log of an SAE's labels below a folder of labels: there, or in the bucket that it stands for; errors as `LabelLog`."""
    copy = WorkingCopy.containing(root.absolute())
    return LabelLog(root, sae) if copy is None else SharedLabelLog(copy, root.absolute(), sae)


class SharedLabelLog:
    """As `LabelLog`, of a bucket. Concurrent writes all succeed, one after the other. Safe for threads and processes."""

    def __init__(self, copy: WorkingCopy, root: Path, sae: str) -> None:
        """root: the folder of all labels in the working copy. Raises as `LabelLog`, and BucketError."""
        self.sae = checked_fingerprint(sae)
        self._bucket = copy.bucket
        self._folder = f"{copy.name_of(root)}/{sae[:16]}"
        self._lock = threading.Lock()
        self._content = b""
        self._lines = EventLines(self._where)
        self._check()

    def events(self) -> list[Event]:
        """Everything that was added and is not damaged, oldest first; BucketError."""
        with self._lock:
            self._newest()
            return self._lines.events

    def damaged_lines(self) -> list[int]:
        """The numbers of the lines that something else changed, from 1 on; BucketError."""
        with self._lock:
            self._newest()
            return self._lines.damaged

    def append(self, event: NewEvent) -> Event:
        """Add an event and return it as it was written; LabelConflictError as `LabelLog`, BucketError."""
        event = with_id(event)  # a write whose answer is lost is tried again, and must not add a second event
        with self._lock:
            for _ in range(_TRIES):
                tag = self._newest()
                events = self._lines.events
                if (earlier := repeated_event(event, events)) is not None:
                    return as_answered_before(event, earlier)
                written = next_event(event, events)
                before = self._content[: self._lines.size + self._lines.rest_size]
                whole = before + (b"\n" if self._lines.rest_size else b"") + as_line(written)
                try:
                    if tag:
                        self._bucket.replace(f"{self._folder}/{EVENTS}", whole, tag)
                    else:
                        self._bucket.write(f"{self._folder}/{ABOUT}", about_labels(self.sae))
                        self._bucket.create(f"{self._folder}/{EVENTS}", whole)
                except PreconditionFailedError:
                    continue
                if written.conflict:
                    raise conflict_of(event, written.revision)
                return written
        raise SplatError(f"{self._bucket.url}/{self._folder}: too many concurrent writes: nothing was added; try again")

    @property
    def _where(self) -> str:
        return f"{self._bucket.url}/{self._folder}/{EVENTS}"

    def _newest(self) -> str:
        """Read what was added since; the tag of the object, empty where there is none."""
        try:
            content, tag = self._bucket.read_tagged(f"{self._folder}/{EVENTS}")
        except MissingObjectError:
            content, tag = b"", ""
        if not content.startswith(self._content[: self._lines.size]):  # another object is there now
            self._lines = EventLines(self._where)
        self._content = content
        self._lines.read(content[self._lines.size :])
        return tag

    def _check(self) -> None:
        try:
            stated = orjson.loads(self._bucket.read(f"{self._folder}/{ABOUT}"))["sae"]
        except MissingObjectError:
            return
        except (ValueError, KeyError, TypeError) as error:
            where = f"{self._bucket.url}/{self._folder}/{ABOUT}"
            raise SplatError(f"{where} does not name the SAE of these labels: restore it from a backup") from error
        if stated != self.sae:
            remedy = "they belong to another SAE: `splat label carry` carries labels over"
            raise FingerprintMismatchError(f"the labels in {self._folder}", self.sae, str(stated), remedy)
