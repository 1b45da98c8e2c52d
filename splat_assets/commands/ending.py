"""How a long-running command ends: quietly, with exit code 0, by Ctrl-C, SIGTERM or the end of its terminal."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave() -> None:
    """Exit with code 0."""
    raise SystemExit(0)


@contextmanager
def at_stop(act: Callable[[], None] = leave) -> Iterator[None]:
    """Within the context, a stop signal calls `act`. A hangup that is ignored, as under nohup, stays so."""

    def handle(_: int, __: FrameType | None) -> None:
        act()

    before = {number: signal.getsignal(number) for number in _STOPS}
    chosen = [number for number in _STOPS if number != signal.SIGHUP or before[number] is not signal.SIG_IGN]
    for number in chosen:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in chosen:
            signal.signal(number, before[number])
