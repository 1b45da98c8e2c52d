"""The label events behind a server."""

from collections.abc import Callable, Mapping
from typing import Any

from splat_serving.labels.event import Event, NewEvent

Ask = Callable[[Mapping[str, Any] | None, Callable[[Mapping[str, Any]], Any]], Any]


class RemoteEvents:
    """Events at the other end of a connection, as `book.Events`."""

    def __init__(self, ask: Ask) -> None:
        """ask: sends an event, or asks for all (None), and returns what the function makes of the answer."""
        self._ask = ask

    def events(self) -> list[Event]:
        """Everything that was added, oldest first."""
        return list(self._ask(None, lambda answer: [Event.model_validate(event) for event in answer["events"]]))

    def damaged_lines(self) -> list[int]:
        """The numbers of the lines that are damaged where the labels are, from 1 on."""
        return list(self._ask(None, lambda answer: [int(line) for line in answer["damaged_lines"]]))

    def append(self, event: NewEvent) -> Event:
        """Add an event; LabelConflictError, NotAllowedError where the server does not take labels."""
        added: Event = self._ask(event.model_dump(mode="json"), lambda answer: Event.model_validate(answer["event"]))
        return added
