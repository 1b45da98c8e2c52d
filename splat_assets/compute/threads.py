"""The threads that compiled functions run on.

The functions release the interpreter lock, so plain threads share the work; no other threading layer is involved.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def in_parallel(pool: ThreadPoolExecutor, work: Callable[[int, int], None], start: int, stop: int, step: int) -> None:
    """Call work(lo, hi) for all of start..stop - 1 in pieces of `step`; each piece is one thread's alone."""
    starts = range(start, stop, step)
    for _ in pool.map(work, starts, [min(lo + step, stop) for lo in starts]):
        pass


def usable_cpus() -> int:
    """The number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
