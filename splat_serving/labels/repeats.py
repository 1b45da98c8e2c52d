"""Label events that arrive twice: a client that lost the answer sends the event again, and it must not count twice."""

from collections.abc import Sequence
from uuid import uuid4

from splat_serving.database.errors import ParameterError
from splat_serving.labels.event import Event, NewEvent


def repeated_event(event: NewEvent, before: Sequence[Event]) -> Event | None:
    """The event that was added under the same `event_id`, None where there is none or the new one has no id.

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
