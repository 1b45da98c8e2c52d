"""Running the same function over many shards: one after the other, or in processes that share the cores out.

A shard function takes one plain, picklable argument and writes its own result atomically, so work that was lost with a
process is simply done again. It never touches Dagster.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal, TypeVar

from splat_assets.errors import InputError

Spec = TypeVar("Spec")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ShardRunner:
    """How shards are run: `local` uses all cores for one shard at a time, `process` one core for each of n_workers."""

    backend: Literal["local", "process"] = "local"
    n_workers: int = 0
    """Processes; 0 means one per core."""

    def __post_init__(self) -> None:
        if self.n_workers < 0:
            raise InputError(f"the number of processes must be 0 (one per core) or more, not {self.n_workers}")

    def run(
        self,
        function: Callable[[Spec], Result],
        specs: Iterable[Spec],
        done: Callable[[Result], None] = lambda result: None,
    ) -> None:
        """Call function on every spec and `done` with each result as it arrives; the first failure is raised."""
        if self.backend == "local":
            for spec in specs:
                done(function(spec))
        elif self.backend == "process":
            self._run_in_processes(function, specs, done)
        else:
            raise InputError(f"unknown shard backend {self.backend!r}: use 'local' or 'process'")

    def _run_in_processes(
        self, function: Callable[[Spec], Result], specs: Iterable[Spec], done: Callable[[Result], None]
    ) -> None:
        n_cores = os.cpu_count() or 1
        n_workers = self.n_workers or n_cores
        spawn = multiprocessing.get_context("spawn")
        threads = max(1, n_cores // n_workers)
        with ProcessPoolExecutor(n_workers, mp_context=spawn, initializer=_use_threads, initargs=(threads,)) as pool:
            futures = [pool.submit(function, spec) for spec in specs]
            try:
                for future in as_completed(futures):
                    done(future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _use_threads(n_threads: int) -> None:
    import torch

    torch.set_num_threads(n_threads)
