"""Everything derived from events: current labels, histories, the queue. The same for labels on disk and behind a server."""

import getpass
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from splat_assets.errors import InputError
from splat_serving.labels.event import Event, Kind, LabelFields, NewEvent, checked_event, checked_fields


class Events(Protocol):
    """Where events are: a `LabelLog`, a bucket (`SharedLabelLog`), or a server (`RemoteEvents`).

    An implementation may be called from several threads, and several processes may add events: none is lost, none is added
    twice under one `event_id`, and all readers see the same order. Nothing that was added ever changes.
    """

    def events(self) -> list[Event]:
        """Everything that was added, oldest first; a new list, which the caller may change. Damaged lines are left out."""
        ...

    def damaged_lines(self) -> list[int]:
        """The numbers of the lines that cannot be read where the events are, from 1 on."""
        ...

    def append(self, event: NewEvent) -> Event:
        """Add an event and return it with time and revision, once it is stored.

        Raises:
            LabelConflictError: For a label based on another revision than the current one; it is kept in the history.
            ParameterError: For the `event_id` of an event with other content.
            NotAllowedError: Where labels cannot be written. Nothing is added then, nor for any other SplatError.
        """
        ...


_READ: ContextVar["dict[LabelBook, list[Event]] | None"] = ContextVar(
    "events that were read in this scope", default=None
)


@contextmanager
def one_read() -> Iterator[None]:
    """Inside, every book reads its events once, however often they are looked at: what is shown is one state of the labels.

    Threads that are started with a copy of the context (`asyncio.to_thread`) share it. A change is read anew.
    """
    token = _READ.set({})
    try:
        yield
    finally:
        _READ.reset(token)


class LabelBook:
    """The labels of one SAE: everything is derived from its events, which are read at each call (`one_read` reads them once).

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from splat_serving.labels.log import LabelLog
        >>> folder = TemporaryDirectory()
        >>> book = LabelBook(LabelLog(Path(folder.name), sae="0" * 64), n_features=512)
        >>> event = book.set(7, {"text": "swims"}, author="ann")
        >>> event.revision, book.set(7, {"status": "proposed"}, author="bob", based_on=1).revision
        (1, 2)
        >>> {feature: event.label.text for feature, event in book.current().items()}
        {7: 'swims'}
        >>> folder.cleanup()
    """

    def __init__(self, source: Events, n_features: int) -> None:
        """n_features: of the SAE; features outside are refused."""
        self._source = source
        self._n_features = n_features

    def events(self) -> list[Event]:
        """Every event, oldest first."""
        held = _READ.get()
        if held is None:
            return self._source.events()
        if self not in held:
            held[self] = self._source.events()
        return held[self]

    def damaged_lines(self) -> list[int]:
        """The numbers of the lines that cannot be read where the events are, from 1 on."""
        return self._source.damaged_lines()

    def current(self) -> dict[int, Event]:
        """The label of each feature that has one, by feature."""
        return {event.feature_id: event for event in self.events() if _counts(event)}

    def opinions(self) -> dict[int, dict[str, LabelFields]]:
        """By feature and author: the last label of each author, conflicts included."""
        by_feature: dict[int, dict[str, LabelFields]] = {}
        for event in self.events():
            if event.label is not None:
                by_feature.setdefault(event.feature_id, {})[event.author] = event.label
        return by_feature

    def label(self, feature_id: int) -> Event | None:
        """The label of a feature, None if it has none."""
        return self.current().get(feature_id)

    def events_by_feature(self) -> dict[int, list[Event]]:
        """By feature, every event of it that counts, oldest first."""
        known: dict[int, list[Event]] = {}
        for event in self.events():
            if not event.conflict:
                known.setdefault(event.feature_id, []).append(event)
        return known

    def history(self, feature_id: int) -> list[Event]:
        """All events of a feature, oldest first, conflicts included."""
        return [event for event in self.events() if event.feature_id == feature_id]

    def set(
        self, feature_id: int, changes: Mapping[str, Any], author: str | None = None, based_on: int | None = None
    ) -> Event:
        """Change fields of a feature's label, or make one.

        Args:
            changes: Values by field of `LabelFields`; the other fields stay as they are. A first label needs `text`.
            author: The current user if None.
            based_on: The revision that the author read; the current one if None.

        Returns:
            The event as it was written.

        Raises:
            InputError: For an invalid field.
            FeatureNotFoundError: For a feature that the SAE does not have.
            LabelConflictError: When the label has changed since.
        """
        self.checked(feature_id)
        before = self.label(feature_id)
        fields = {**(before.label.model_dump() if before and before.label else {}), **changes}
        if "text" not in fields:
            raise InputError(f"feature {feature_id} is not labelled yet: a first label needs a text")
        seen = (before.revision if before else 0) if based_on is None else based_on
        label = checked_fields(fields)
        extra = before.extra if before else {}
        return self.write(self.prepared("label", feature_id, author, label=label, based_on=seen, extra=extra))

    def add(self, feature_id: int, label: LabelFields, author: str | None = None, based_on: int | None = None) -> Event:
        """Write a whole label."""
        return self.write(self.prepared("label", feature_id, author, label=label, based_on=based_on))

    def skip(self, feature_id: int, reason: str = "", author: str | None = None) -> Event:
        """Leave a feature out of the queue."""
        return self.write(self.prepared("skip", feature_id, author, reason=reason))

    def enqueue(self, feature_id: int, priority: float = 0.0, reason: str = "", author: str | None = None) -> Event:
        """Put a feature into the queue, or give it another priority."""
        return self.write(self.prepared("queue", feature_id, author, priority=priority, reason=reason))

    def prepared(self, kind: Kind, feature_id: int, author: str | None, **fields: Any) -> NewEvent:
        """An event that is checked and not written yet, by the current user where author is None; InputError."""
        named = {
            "kind": kind,
            "feature_id": self.checked(feature_id),
            "author": current_username() if author is None else author,
        }
        return checked_event({**named, **fields})

    def write(self, event: NewEvent) -> Event:
        """Add an event; LabelConflictError."""
        held = _READ.get()
        if held is not None:
            held.pop(self, None)
        return self._source.append(event)

    def queue(self) -> list[Event]:
        """The queued features, highest priority first, then in the order of adding."""
        waiting: dict[int, Event] = {}
        for event in self.events():
            if event.kind == "queue":
                waiting[event.feature_id] = event
            elif event.kind == "skip" or _counts(event):
                waiting.pop(event.feature_id, None)
        return sorted(waiting.values(), key=lambda event: -event.priority)

    def skipped(self) -> list[int]:
        """Features that were skipped and have not been labelled or queued since."""
        last: dict[int, Event] = {event.feature_id: event for event in self.events() if not event.conflict}
        return sorted(feature for feature, event in last.items() if event.kind == "skip")

    def counts(self, of: Callable[[Event], str]) -> dict[str, int]:
        """How many current labels there are of each kind, most first."""
        return dict(Counter(of(event) for event in self.current().values()).most_common())

    def checked(self, feature_id: int) -> int:
        """The id itself; FeatureNotFoundError names the valid range."""
        from splat_assets.store.errors import FeatureNotFoundError

        if not 0 <= feature_id < self._n_features:
            raise FeatureNotFoundError(feature_id, self._n_features, "this SAE")
        return feature_id


def current_username() -> str:
    """The user name of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def label_as_json(event: Event | None) -> dict[str, Any] | None:
    """A label as the server returns it: its fields with author, time and revision."""
    if event is None or event.label is None:
        return None
    return {**event.label.model_dump(mode="json"), "author": event.author, "at": event.at, "revision": event.revision}


def _counts(event: Event) -> bool:
    return event.kind == "label" and not event.conflict
