"""The activity log of a data root, one event per line: new inputs, the runs made of them, and how those ended.

`<data root>/activity.jsonl`, append-only; the older half of a long log is dropped.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from splat_assets.store.documents import json_of, read_bytes
from splat_assets.store.errors import StoreError
from splat_assets.store.files import locked, replacing_file
from splat_assets.store.layout import DataRoot

MOST_BYTES = 2**20
Kind = Literal["arrived", "refused", "succeeded", "failed", "kept", "removed"]


@dataclass(frozen=True, slots=True)
class ActivityEvent:
    """One event. at: UTC, to the second. subject: a run, or a new input by its path below the data root."""

    at: str
    kind: Kind
    subject: str
    said: str


def record_activity(root: DataRoot, kind: Kind, subject: str, message: str) -> ActivityEvent:
    """Append an event to the log."""
    happened = ActivityEvent(datetime.now(UTC).isoformat(timespec="seconds"), kind, subject, message)
    root.path.mkdir(parents=True, exist_ok=True)
    with locked(root.path / ".activity.lock"):
        _shorten(root.activity)
        with root.activity.open("ab") as file:
            file.write((json.dumps(asdict(happened), ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
    return happened


def activity(root: DataRoot, most: int = 20) -> list[ActivityEvent]:
    """The most recent events, newest first. Unreadable lines, as left by a full disk, are skipped."""
    events: list[ActivityEvent] = []
    for line in reversed(_lines(root.activity)):
        if len(events) == most:
            break
        try:
            one = ActivityEvent(**json_of(line))
        except (ValueError, TypeError):
            continue
        if all(isinstance(value, str) for value in asdict(one).values()):
            events.append(one)
    return events


def _lines(path: Path) -> list[bytes]:
    try:
        return read_bytes(path).splitlines()
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise StoreError(f"{path} cannot be read ({error}): move it away, a new one is then started") from error


def _shorten(path: Path) -> None:
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        lines = _lines(path)
        with replacing_file(path) as aside:
            aside.write_bytes(b"".join(line + b"\n" for line in lines[len(lines) // 2 :]))
