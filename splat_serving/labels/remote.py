"""The label events behind a server."""

from collections.abc import Callable, Mapping
from typing import Any

from splat_serving.labels.event import Event, NewEvent

Ask = Callable[[Mapping[str, Any] | None], Mapping[str, Any]]


class RemoteEvents:
    """Events at the other end of a connection, as `book.Events`."""

    def __init__(self, ask: Ask) -> None:
        """ask: sends an event, or asks for all (None), and returns the answer."""
        self._ask = ask

    def events(self) -> list[Event]:
        """Everything that was added, oldest first."""
        return [Event.model_validate(event) for event in self._ask(None)["events"]]

    def append(self, event: NewEvent) -> Event:
        """Add an event; LabelConflictError, NotAllowedError where the server does not take labels."""
        return Event.model_validate(self._ask(event.model_dump(mode="json"))["event"])
