"""Progress of long work: a bar in a terminal, sparse log lines elsewhere, each with the rate and the time left.

Work functions take a `Progress` and call `advance`; who shows it is decided once, at the top (a command or an asset).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

_LOG_EVERY_SECONDS = 10.0


class Task(Protocol):
    """One piece of long work that is under way."""

    def advance(self, n: int, note: str = "") -> None:
        """Say that n more units are done, and optionally what stands out just now (`fvu 0.12`)."""
        ...


class Progress(Protocol):
    """Where long work reports how far it is."""

    def task(self, what: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """Enter this to get a Task of `total` units, called `unit` (`rows`, `steps`)."""
        ...


class _Silent:
    def advance(self, n: int, note: str = "") -> None:
        pass


class SilentProgress:
    """Reports nothing; for tests and for callers that do not care."""

    @contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        """A task nobody watches."""
        yield _Silent()


class _Logged:
    def __init__(self, say: Callable[[str], None], what: str, total: int, unit: str, every_seconds: float) -> None:
        self._say, self._what, self._total, self._unit = say, what, total, unit
        self._every_seconds = every_seconds
        self._done = 0
        self._began = self._last = time.monotonic()

    def advance(self, n: int, note: str = "") -> None:
        self._done += n
        now = time.monotonic()
        if now - self._last >= self._every_seconds:
            self._last = now
            rate = self._done / (now - self._began)
            left = (self._total - self._done) / rate if rate else float("inf")
            tail = f", {note}" if note else ""
            self._say(
                f"{self._what}: {self._done:,} of {self._total:,} {self._unit}, {rate:,.0f} {self._unit}/s, "
                f"{left:,.0f} s left{tail}"
            )

    def finish(self) -> None:
        seconds = time.monotonic() - self._began
        rate = f", {self._done / seconds:,.0f} {self._unit}/s" if seconds > 0.1 else ""
        self._say(f"{self._what}: {self._done:,} {self._unit} in {seconds:,.1f} s{rate}")


class LogProgress:
    """A line every ten seconds through `say` (`logger.info`, `context.log.info`), and one at the end."""

    def __init__(self, say: Callable[[str], None], every_seconds: float = _LOG_EVERY_SECONDS) -> None:
        self._say = say
        self._every_seconds = every_seconds

    @contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        """A task whose state is said now and then."""
        logged = _Logged(self._say, what, total, unit, self._every_seconds)
        yield logged
        logged.finish()


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "", style="progress.data.speed")


class _Barred:
    def __init__(self, bars: RichProgress, task_id: int) -> None:
        self._bars, self._task_id = bars, task_id

    def advance(self, n: int, note: str = "") -> None:
        self._bars.update(self._task_id, advance=n, note=note)  # type: ignore[arg-type]


class TerminalProgress:
    """A bar per task, for a person who watches."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        """A task drawn as a bar while it lasts."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
        with RichProgress(
            *columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self._console
        ) as bars:
            yield _Barred(bars, bars.add_task(what, total=total, unit=unit, note=""))


_WATCHED: ContextVar[Progress | None] = ContextVar("watched_progress", default=None)


def watched_progress() -> Progress | None:
    """The progress that a person watches at the top of this call, if one does."""
    return _WATCHED.get()


@contextmanager
def watching(progress: Progress) -> Iterator[None]:
    """Let everything called inside report to `progress`, even through an orchestrator that knows nothing of it."""
    token = _WATCHED.set(progress)
    try:
        yield
    finally:
        _WATCHED.reset(token)


def progress_for(console: Console) -> Progress:
    """Bars where the console is a terminal, log lines on it elsewhere."""
    if console.is_terminal:
        return TerminalProgress(console)
    return LogProgress(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))
