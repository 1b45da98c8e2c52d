"""Compiled functions and the threads they run on.

The functions release the interpreter lock, so plain threads share the work; no other threading layer is involved.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """The function compiled on first use, free of the interpreter lock; the machine code is kept between runs.

    A function and the compiled functions it calls belong in one file: that file's change is what makes the code anew.
    """
    made: Any = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return cast(Function, made)


def in_parallel(pool: ThreadPoolExecutor, work: Callable[[int, int], None], start: int, stop: int, step: int) -> None:
    """Call work(lo, hi) for all of start..stop - 1 in pieces of `step`; each piece is one thread's alone."""
    starts = range(start, stop, step)
    for _ in pool.map(work, starts, [min(lo + step, stop) for lo in starts]):
        pass


def usable_cpus() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
