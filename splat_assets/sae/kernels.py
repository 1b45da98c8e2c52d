"""How compiled loops and matrix products run here: on a small pool of Python threads, each of them single-threaded.

Work is cut into parts by position, never by who is free first, and every sum is done by one thread in a fixed order: the
same input gives the same bytes, whatever the number of threads. Parallel layers of libraries are not used: their threads
meet at barriers many times per step, which costs a factor on a machine that does other things too; OpenMP does not survive a
fork; and the result of a product would depend on the number of threads.
"""

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def n_threads() -> int:
    """How many threads work is shared among: as many as torch would use in the calling thread."""
    return torch.get_num_threads()


def ranges(n: int, n_parts: int) -> list[tuple[int, int]]:
    """0..n cut into at most n_parts consecutive, nearly equal, non-empty ranges (start, stop)."""
    n_parts = max(1, min(n, n_parts))
    return [(n * part // n_parts, n * (part + 1) // n_parts) for part in range(n_parts)]


def blocks(n: int, size: int) -> list[tuple[int, int]]:
    """0..n cut into consecutive ranges (start, stop) of size, the last one shorter: the same on every machine."""
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def in_parallel(function: Callable[..., Result], parts: Sequence[tuple[Any, ...]]) -> list[Result]:
    """function(*part) for every part, results in the order of the parts. torch is single-threaded inside function."""
    n = n_threads()
    if n == 1:
        return [function(*part) for part in parts]
    results: list[Any] = [None] * len(parts)
    taken = itertools.count()

    def work() -> None:
        while (i := next(taken)) < len(parts):
            results[i] = function(*parts[i])

    pool = _pool(os.getpid(), n)
    for worker in [pool.submit(work) for _ in range(min(n, len(parts)))]:
        worker.result()
    return results


@cache
def _pool(process_id: int, n: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child makes its own."""
    pool = ThreadPoolExecutor(n, thread_name_prefix="splat-kernel", initializer=torch.set_num_threads, initargs=(1,))
    all_started = threading.Barrier(n)
    for started in [pool.submit(all_started.wait) for _ in range(n)]:
        started.result()
    # The setting is each thread's own, but torch hands the last one set to threads that are yet to come.
    torch.set_num_threads(n)
    return pool
