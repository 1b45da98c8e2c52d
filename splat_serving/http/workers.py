"""What requests share: threads for I/O and encoding, memory of the responses in progress, a bounded cache of slow results."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Literal, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

from splat_serving.database.errors import BusyError

Result = TypeVar("Result")
Lane = Literal["short", "long", "opening"]
"""short: a page, a feature, a file check. long: many rows or slow computations. opening: a version that is not open yet."""


class Workers:
    """Threads in lanes: at most n_threads jobs per lane at the same time, others queue.

    Lanes are independent: long responses never block short ones.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._limiters: dict[Lane, CapacityLimiter] = {}

    async def run(self, work: Callable[[], Result], lane: Lane = "short") -> Result:
        """The return value of work, run in a thread of the lane."""
        if lane not in self._limiters:  # belongs to the event loop, which is running only now
            self._limiters[lane] = CapacityLimiter(self._n_threads)
        return await anyio.to_thread.run_sync(work, limiter=self._limiters[lane])


class Timings:
    """Durations of the phases of a response, for the Server-Timing header."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self._phases: list[tuple[str, float]] = []

    def add(self, phase: str, seconds: float) -> None:
        """Record the duration of a phase."""
        self._phases.append((phase, seconds))

    def header(self) -> str:
        """The phases and the time since the request began, in milliseconds."""
        total = ("total", time.perf_counter() - self.began)
        return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in [*self._phases, total])


class Cache:
    """Values by key, the least recently used dropped first when they grow beyond max_bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.size_bytes = self.hits = self.misses = 0

    def get_or_make(self, key: Hashable, make: Callable[[], Result], size_of: Callable[[Result], int]) -> Result:
        """The value of the key, computed if missing (perhaps twice, by two threads)."""
        with self._lock:
            if key in self._held:
                self.hits += 1
                self._held.move_to_end(key)
                value: Result = self._held[key][0]
                return value
            self.misses += 1
        made = make()
        size = size_of(made)
        with self._lock:
            if size <= self._max_bytes and key not in self._held:
                self._held[key] = (made, size)
                self.size_bytes += size
            while self.size_bytes > self._max_bytes:
                _, (_, dropped) = self._held.popitem(last=False)
                self.size_bytes -= dropped
        return made

    def has(self, key: Hashable) -> bool:
        """Whether the key is cached."""
        with self._lock:
            return key in self._held


class Memory:
    """Counts responses and the bytes they hold from their start until the last byte is sent. For the tasks of one event loop.

    Long responses may take seven eighths of the memory and max_long of them may be in progress: the rest is for short ones.
    """

    def __init__(self, max_bytes: int, max_long: int) -> None:
        self._max_bytes = max_bytes
        self._max_long = max_long
        self.held_bytes = 0
        self.n_long = 0

    def hold(self, n_bytes: int, lane: Lane = "short") -> "Holding":
        """Count a response and its bytes; BusyError if the limit is exceeded."""
        most = self._max_bytes if lane == "short" else self._max_bytes // 8 * 7
        if self.held_bytes and self.held_bytes + n_bytes > most:
            raise BusyError(f"{self.held_bytes:,} bytes of other responses are being sent; retry later")
        if lane == "long" and self.n_long >= self._max_long:
            raise BusyError(f"{self.n_long} long responses are in progress; retry later")
        return Holding(self, n_bytes, lane)


class Holding:
    """One answer, and the bytes that it holds."""

    def __init__(self, memory: Memory, n_bytes: int, lane: Lane) -> None:
        self._memory = memory
        self._n_bytes = 0
        self._is_long = lane == "long"
        memory.n_long += self._is_long
        self.change(n_bytes)

    def change(self, n_bytes: int) -> None:
        """Update the bytes that the response holds; it is in progress and no longer rejected."""
        self._memory.held_bytes += n_bytes - self._n_bytes
        self._n_bytes = n_bytes

    def release(self) -> None:
        """Release everything."""
        self.change(0)
        self._memory.n_long -= self._is_long
        self._is_long = False
