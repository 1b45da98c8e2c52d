"""Label events as lines of JSON, each with its own checksum, and the recovery of damaged lines.

The checksum is the last member of a line: `…,"crc32c":"1a2b3c4d"}`, of the bytes that stand before it. Lines of earlier versions
have none and are read as they are.
"""

import logging
import re

import google_crc32c
import orjson

from splat_serving.labels.event import Event

_log = logging.getLogger(__name__)
_MOST_STARTS = 8
"""The number of positions tried as the start of an event whose own start is damaged."""
_CHECKSUM = re.compile(rb',"crc32c":"([0-9a-f]{8})"\}')


def as_line(event: Event) -> bytes:
    """The event as one line, with its checksum and the line's end."""
    content = orjson.dumps(event.model_dump(mode="json"))[:-1]
    return content + b',"crc32c":"%08x"}\n' % google_crc32c.value(content)


class EventLines:
    """What has been read of a file of events: the events, and which lines are damaged.

    A damaged line takes nothing else with it: where only a line's end is damaged, the events on both sides of it are read.
    """

    def __init__(self, where: str) -> None:
        """where: the file, for the log."""
        self._where = where
        self._events: list[Event] = []
        self._damaged: list[int] = []
        self._n_lines = 0
        self._rest: list[Event] = []
        self.size = 0
        """Bytes of the lines that were read: where the next line begins."""
        self.rest_size = 0
        """Bytes behind them that are whole events, whose line does not end; what else is there is what a killed writer left."""

    @property
    def events(self) -> list[Event]:
        """Everything that was read, oldest first."""
        return [*self._events, *self._rest]

    @property
    def damaged(self) -> list[int]:
        """The numbers of the damaged lines, from 1 on."""
        return list(self._damaged)

    def read(self, new: bytes) -> None:
        """Read all that stands behind the lines that were read already."""
        *lines, rest = new.split(b"\n")
        for line in lines:
            self._n_lines += 1
            events, whole = _read_line(line)
            self._events += events
            if not whole:
                self._damaged.append(self._n_lines)
                _log.warning(
                    "%s, line %d is damaged: %s; all others are read",
                    self._where,
                    self._n_lines,
                    f"{len(events)} events of it could be read" if events else "its event cannot be read",
                )
        self.size += len(new) - len(rest)
        self._rest, self.rest_size = _read_pieces(rest)


def _read_line(line: bytes) -> tuple[list[Event], bool]:
    """The events of a line, and whether it is as it was written: one event, or nothing."""
    line = line.removesuffix(b"\r")
    if not line:
        return [], True
    checksum = _last_checksum(line)
    if checksum is None:
        event = _event(line)
        return ([] if event is None else [event]), event is not None
    event = _event_of(line[: checksum.start()], checksum[1])
    if event is not None:
        return [event], True
    return _read_pieces(line)[0], False


def _last_checksum(line: bytes) -> re.Match[bytes] | None:
    at = line.rfind(b',"crc32c":')
    return _CHECKSUM.fullmatch(line, at) if at >= 0 else None


def _read_pieces(text: bytes) -> tuple[list[Event], int]:
    """The whole events in bytes that are not a line, by their checksums, and where the last one ends.

    Between two of them stands one byte that was the end of a line.
    """
    events, starts, end = [], [0], 0
    for checksum in _CHECKSUM.finditer(text):
        following = checksum.end() + 1
        for start in starts:
            event = _event_of(text[start : checksum.start()], checksum[1])
            if event is not None:
                events.append(event)
                starts, end = [following], checksum.end()
                break
        else:
            starts = [*starts, following][-_MOST_STARTS:]
    return events, end


def _event_of(content: bytes, checksum: bytes) -> Event | None:
    """The event of a line without its checksum; None where it is not what was written."""
    return _event(content + b"}") if google_crc32c.value(content) == int(checksum, 16) else None


def _event(line: bytes) -> Event | None:
    try:
        return Event.model_validate_json(line)
    except ValueError:
        return None
