"""How compiled loops run here: numba kernels that release the GIL, on a small pool of Python threads.

Work is cut into parts by position, never by who is free first, and every sum is done by one thread in a fixed order: the
same input gives the same bytes. numba's own parallel layer is not used, because its OpenMP does not survive a fork and its
fallback aborts when two Python threads enter it at once, as asset executors do.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar, cast

import numba
import torch

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")


def compiled(function: Function) -> Function:
    """Compile a plain loop over arrays, strict IEEE order of operations, without the GIL, cached on disk."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


def compiled_with_sums(function: Function) -> Function:
    """As `compiled`, but sums may be vectorised and products fused: fixed by the compiled code, so still repeatable."""
    flags = {"reassoc", "contract", "arcp", "nsz"}
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=flags)(function))


@cache
def _pool(process_id: int, n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="splat-kernel")


def n_threads() -> int:
    """How many threads kernels run on: as many as torch uses."""
    return torch.get_num_threads()


def ranges(n: int, n_parts: int) -> list[tuple[int, int]]:
    """0..n cut into at most n_parts consecutive, nearly equal, non-empty ranges (start, stop)."""
    n_parts = max(1, min(n, n_parts))
    return [(n * part // n_parts, n * (part + 1) // n_parts) for part in range(n_parts)]


def in_parallel(function: Callable[..., Result], parts: Sequence[tuple[Any, ...]]) -> list[Result]:
    """function(*part) for every part, results in the order of the parts."""
    if n_threads() == 1 or len(parts) == 1:
        return [function(*part) for part in parts]
    futures = [_pool(os.getpid(), n_threads()).submit(function, *part) for part in parts]
    return [future.result() for future in futures]
