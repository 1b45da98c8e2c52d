"""Progress of long work: a bar in a terminal, sparse log lines elsewhere, each with the rate and the time left.

Work functions take a `Progress` and call `advance`; who shows it is decided once, at the top (a command or an asset).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from threading import Event, Thread
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

from splat_assets.text.wording import counted, one_of

_LOG_EVERY_SECONDS = 10.0
_STEADY_SECONDS = 5.0
_QUICK_SHARE = 0.2  # of the seconds between lines: what is over by then is not mentioned
_PATIENCE_SHARE = 1.2  # a task inside, if there is one, has spoken by then
_LOOK_SHARE = 0.05


class Task(Protocol):
    """One piece of long work that is under way."""

    def advance(self, n: int, note: str = "") -> None:
        """Say that n more units are done, and optionally what stands out just now (`fvu 0.12`)."""
        ...


class Progress(Protocol):
    """Where long work reports its progress."""

    def task(self, what: str, total: int, unit: str, done_before: int = 0) -> AbstractContextManager[Task]:
        """Enter this to get a Task of `total` units, called `unit` (`rows`, `steps`), done_before of them by an earlier call."""
        ...

    def step(self, what: str) -> AbstractContextManager[None]:
        """Enter this around work that may take long and may hold no task, so that it reports progress."""
        ...


class _Silent:
    def advance(self, n: int, note: str = "") -> None:
        pass


class SilentProgress:
    """Reports nothing; for tests and for callers that do not care."""

    @contextmanager
    def task(self, what: str, total: int, unit: str, done_before: int = 0) -> Iterator[Task]:
        """A task without output."""
        yield _Silent()

    def step(self, what: str) -> AbstractContextManager[None]:
        """A step without output."""
        return nullcontext()


class _Voice:
    """Emits lines, and knows how long ago the last one was."""

    def __init__(self, say: Callable[[str], None], every_seconds: float, clock: Callable[[], float]) -> None:
        self._say, self.every_seconds, self.clock = say, every_seconds, clock
        self._spoke_at = clock()

    def say(self, line: str) -> None:
        self.heard()
        self._say(line)

    def heard(self) -> None:
        """Note that a person saw something move just now."""
        self._spoke_at = self.clock()

    def quiet_seconds(self) -> float:
        return self.clock() - self._spoke_at

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say from another thread that `what` is under way: once it is not quick, and where it is silent for long."""
        over, began = Event(), self.clock()

        def watch() -> None:
            if over.wait(_QUICK_SHARE * self.every_seconds):
                return
            self.say(what)
            while not over.wait(_LOOK_SHARE * self.every_seconds):
                if self.quiet_seconds() >= _PATIENCE_SHARE * self.every_seconds:
                    self.say(f"{what}: {self.clock() - began:,.0f} s so far")

        watcher = Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


class _Logged:
    def __init__(self, voice: _Voice, what: str, total: int, unit: str, done_before: int) -> None:
        self._voice, self._what, self._total, self._unit = voice, what, total, unit
        self._before = self._done = self._done_then = done_before
        self._began = self._last = voice.clock()
        self._rate_then = 0.0
        if done_before:
            voice.say(f"{what}: resumed at {one_of(unit)} {done_before:,} of {total:,}")

    def advance(self, n: int, note: str = "") -> None:
        self._done += n
        now = self._voice.clock()
        if now - self._last < self._voice.every_seconds or now == self._last:
            return
        rate = (self._done - self._done_then) / (now - self._last)
        parts = [f"{self._what}: {self._done:,} of {self._total:,} {self._unit}", _rate(rate, self._unit)]
        # The time left is shown once two intervals agree on the rate: warming up and caches make the first ones lie.
        if rate and 0.5 <= self._rate_then / rate <= 2:
            parts.append(f"{(self._total - self._done) / rate:,.0f} s left")
        self._voice.say(", ".join(part for part in (*parts, note) if part))
        self._last, self._done_then, self._rate_then = now, self._done, rate

    def finish(self) -> None:
        done, seconds = self._done - self._before, self._voice.clock() - self._began
        line = f"{self._what}: {counted(done, self._unit)}"
        if seconds >= 0.1:
            line += f" in {seconds:,.1f} s"
        rate = _rate(done / seconds, self._unit) if seconds >= 1 else ""
        self._voice.say(f"{line}, {rate}" if rate else line)


class LogProgress:
    """A line every ten seconds through `say` (`logger.info`, `context.log.info`), and one at the end."""

    def __init__(
        self,
        say: Callable[[str], None],
        every_seconds: float = _LOG_EVERY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._voice = _Voice(say, every_seconds, clock)

    @contextmanager
    def task(self, what: str, total: int, unit: str, done_before: int = 0) -> Iterator[Task]:
        """A task that logs its state at intervals."""
        logged = _Logged(self._voice, what, total, unit, done_before)
        yield logged
        logged.finish()

    def step(self, what: str) -> AbstractContextManager[None]:
        """A step that is logged unless it is quick, and again after ten seconds without a line."""
        return self._voice.step(what)


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        return Text(_rate(task.finished_speed or task.speed or 0.0, task.fields["unit"]), style="progress.data.speed")


class _Left(TimeRemainingColumn):
    def render(self, task: RichTask) -> Text:
        """The time left at the rate of the last seconds; nothing while there are too few of them."""
        return super().render(task) if (task.elapsed or 0.0) >= _STEADY_SECONDS else Text("")


class _Barred:
    def __init__(self, bars: RichProgress, task_id: TaskID, voice: _Voice) -> None:
        self._bars, self._task_id, self._voice = bars, task_id, voice

    def advance(self, n: int, note: str = "") -> None:
        self._voice.heard()
        self._bars.update(self._task_id, advance=n, note=note)


class TerminalProgress:
    """A bar per task, for a person who watches."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._voice = _Voice(_lines_on(console), _LOG_EVERY_SECONDS, time.monotonic)

    @contextmanager
    def task(self, what: str, total: int, unit: str, done_before: int = 0) -> Iterator[Task]:
        """A task drawn as a bar while it lasts."""
        if done_before:
            self._voice.say(f"{what}: resumed at {one_of(unit)} {done_before:,} of {total:,}")
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), _Rate(), _Left())
        with RichProgress(
            *columns, TextColumn("{task.fields[note]}"), console=self._console, speed_estimate_period=_STEADY_SECONDS
        ) as bars:
            bar = bars.add_task(what, total=total, completed=done_before, unit=unit, note="")
            yield _Barred(bars, bar, self._voice)

    def step(self, what: str) -> AbstractContextManager[None]:
        """A step that is shown above the bars unless it is quick, and again after ten seconds in which no bar moved."""
        return self._voice.step(what)


def _rate(per_second: float, unit: str) -> str:
    """Units per second; nothing where there are so few that the count says as much."""
    return f"{per_second:,.0f} {unit}/s" if per_second >= 10 else ""


def _lines_on(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)


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


def step(what: str) -> AbstractContextManager[None]:
    """A step of the progress that a person watches, if one does."""
    return (watched_progress() or SilentProgress()).step(what)


def progress_for(console: Console) -> Progress:
    """Bars where the console is a terminal, log lines on it elsewhere."""
    if console.is_terminal:
        return TerminalProgress(console)
    return LogProgress(_lines_on(console))
