"""The events of one SAE's labels in a bucket: the lines of a `LabelLog` in one object, replaced only if it is unchanged."""

import threading
from pathlib import Path

import orjson

from splat_assets.errors import SplatError
from splat_assets.store.bucket import ChangedMeanwhileError, MissingObjectError
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.working_copy import WorkingCopy
from splat_serving.labels.event import Event, NewEvent
from splat_serving.labels.log import (
    ABOUT,
    EVENTS,
    LabelLog,
    about_labels,
    as_answered_before,
    checked_fingerprint,
    conflict_of,
    next_event,
    parsed,
)
from splat_serving.labels.repeats import repeated_event, with_id

_TRIES = 50


def label_events(root: Path, sae: str) -> "LabelLog | SharedLabelLog":
    """The log of an SAE's labels below a folder of labels: there, or in the bucket that it stands for; errors as `LabelLog`."""
    copy = WorkingCopy.around(root.absolute())
    return LabelLog(root, sae) if copy is None else SharedLabelLog(copy, root.absolute(), sae)


class SharedLabelLog:
    """As `LabelLog`, of a bucket. Two who write at once both get in, one after the other. Safe for threads and processes."""

    def __init__(self, copy: WorkingCopy, root: Path, sae: str) -> None:
        """root: the folder of all labels in the working copy. Raises as `LabelLog`, and BucketError."""
        self.sae = checked_fingerprint(sae)
        self._bucket = copy.bucket
        self._folder = f"{copy.name_of(root)}/{sae[:16]}"
        self._lock = threading.Lock()
        self._read: tuple[bytes, list[Event]] = (b"", [])
        self._check()

    def events(self) -> list[Event]:
        """Everything that was added, oldest first; SplatError names a line that is no event, BucketError."""
        with self._lock:
            return list(self._newest()[2])

    def append(self, event: NewEvent) -> Event:
        """Add an event and return it as it was written; LabelConflictError as `LabelLog`, BucketError."""
        event = with_id(event)  # a write whose answer is lost is tried again, and must not add a second event
        with self._lock:
            for _ in range(_TRIES):
                content, tag, events = self._newest()
                if (earlier := repeated_event(event, events)) is not None:
                    return as_answered_before(event, earlier)
                written = next_event(event, events)
                whole = content + orjson.dumps(written.model_dump(mode="json")) + b"\n"
                try:
                    if tag:
                        self._bucket.replace(f"{self._folder}/{EVENTS}", whole, tag)
                    else:
                        self._bucket.write(f"{self._folder}/{ABOUT}", about_labels(self.sae))
                        self._bucket.create(f"{self._folder}/{EVENTS}", whole)
                except ChangedMeanwhileError:
                    continue
                if written.conflict:
                    raise conflict_of(event, written.revision)
                return written
        raise SplatError(
            f"{self._bucket.url}/{self._folder}: others write so often that nothing can be added; try again"
        )

    def _newest(self) -> tuple[bytes, str, list[Event]]:
        try:
            content, tag = self._bucket.read_tagged(f"{self._folder}/{EVENTS}")
        except MissingObjectError:
            return b"", "", []
        before, events = self._read
        if not content.startswith(before):
            before, events = b"", []
        events = [*events, *parsed(content[len(before) :], len(events), f"{self._bucket.url}/{self._folder}/{EVENTS}")]
        self._read = (content, events)
        return content, tag, events

    def _check(self) -> None:
        try:
            stated = orjson.loads(self._bucket.read(f"{self._folder}/{ABOUT}"))["sae"]
        except MissingObjectError:
            return
        except (ValueError, KeyError, TypeError) as error:
            where = f"{self._bucket.url}/{self._folder}/{ABOUT}"
            raise SplatError(f"{where} does not say of which SAE these labels are: put back what was there") from error
        if stated != self.sae:
            told = "they are of another SAE: `splat label carry` moves labels"
            raise FingerprintMismatchError(f"the labels in {self._folder}", self.sae, str(stated), told)
