"""Running the same function over many shards: one after the other, in processes that share the cores out, or on a Ray cluster.

A shard function takes one plain, picklable argument and writes its own result atomically, so work that was lost with a
process or a machine is simply done again, there or elsewhere. It never touches Dagster.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from splat_assets.compute.threads import usable_cpus
from splat_assets.distribution import install_line
from splat_assets.errors import InputError, SplatError
from splat_assets.model.device import CPU, DEVICE, requested_device

Spec = TypeVar("Spec")
Result = TypeVar("Result")
Backend = Literal["local", "process", "ray"]
SHARDS, GPUS = "SPLAT_SHARDS", "SPLAT_SHARD_GPUS"
"""Environment variables: how shards are run, and the share of a GPU that each gets on Ray."""
_MOST_DEATHS = 3
"""Deaths of workers of one shard; the next one gives the shard up."""
_MOST_IN_A_ROW = 3
"""Shards given up with none finished between: then the shards are not at fault."""
_MOST_NAMED = 10
_SHARE_OF_MEMORY = 0.8
_PATIENCE_SECONDS = 10


class LostWorkersError(SplatError):
    """Processes or machines that ran a shard were lost too often. shards: the names of those that were given up."""

    def __init__(self, text: str, shards: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.shards = tuple(shards)


@dataclass(frozen=True, slots=True)
class ShardRunner:
    """How shards are run: in this process, in several, or on a Ray cluster.

    `local` uses all cores for one shard at a time, `process` one core for each of n_workers, `ray` one core of a cluster for
    each shard under way.

    A runner can be pickled; one call of `run` is for one thread. Results arrive in any order.

    Examples:
        >>> results = []
        >>> ShardRunner().run(len, ["one", "three"], done=results.append)
        >>> results
        [3, 5]
    """

    backend: Backend = "local"
    n_workers: int = 0
    """Processes; 0 means one per core, fewer where memory is short. On Ray: shards under way, 0 for one per core."""
    address: str = ""
    """Of the Ray cluster, host and port; empty for the one that RAY_ADDRESS names, or one of this machine alone for as long."""
    n_gpus: float = 0.0
    """GPUs that each shard requests from Ray, besides a core."""
    device: str = CPU
    """Where torch computes in a shard; the shard function takes it from here."""

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            raise InputError(f"unknown shard backend {self.backend!r}: use {', '.join(get_args(Backend))}")
        if self.n_workers < 0:
            raise InputError(f"the number of processes must be 0 (one per core) or more, not {self.n_workers}")
        if self.n_gpus < 0:
            raise InputError(f"a shard requests 0 GPUs or more, not {self.n_gpus}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "ShardRunner":
        """The runner that SPLAT_SHARDS describes (`local`, `process`, `process:4`, `ray`, `ray:HOST:PORT`); InputError otherwise.

        Where each shard asks Ray for GPUs, it computes there unless SPLAT_DEVICE says otherwise.
        """
        setting = environment.get(SHARDS, "") or "local"
        backend, _, rest = setting.partition(":")
        gpus = environment.get(GPUS, "") or "0"
        try:
            n_workers = int(rest) if backend == "process" and rest else 0
            runner = cls(backend, n_workers, rest if backend == "ray" else "", float(gpus))  # type: ignore[arg-type]
        except (ValueError, InputError) as error:
            there_are = "local, process, process:4, ray or ray:HOST:PORT, and a number"
            raise InputError(
                f"{SHARDS} is {setting!r} and {GPUS} {gpus!r} ({error}): allowed are {there_are}"
            ) from error
        asks_for_gpus = backend == "ray" and runner.n_gpus > 0
        device = requested_device(environment, otherwise="cuda" if asks_for_gpus else CPU)
        if asks_for_gpus and device == CPU:
            raise InputError(f"{GPUS} is {gpus} and {DEVICE} {CPU}: each shard would hold a GPU and leave it idle")
        return replace(runner, device=device)

    def run(
        self,
        function: Callable[[Spec], Result],
        specs: Iterable[Spec],
        done: Callable[[Result], None] = lambda result: None,
        bytes_each: int = 0,
        name: Callable[[Spec], str] = str,
    ) -> None:
        """Call a function on every spec.

        Args:
            function: the work on one shard; sent to other processes, so a module-level function.
            specs: the shards, taken as they are needed.
            done: called in this process with each result as it arrives.
            bytes_each: memory of one call in bytes; no more processes are started than memory has room for. 0: no such limit.
            name: the name of a shard in messages.

        Raises:
            LostWorkersError: the process or machine of a shard died again and again. All other shards are finished first, unless
                several in a row fail this way. Any error of function itself is raised as it is.
        """
        if self.backend == "local":
            for spec in specs:
                done(function(spec))
        elif self.backend == "process":
            _in_processes(function, iter(specs), done, self.n_processes(bytes_each), name)
        else:
            self._on_ray(function, iter(specs), done, bytes_each, name)

    def n_processes(self, bytes_each: int = 0) -> int:
        """The number of processes: n_workers, or one per core, and never more than memory has room for."""
        n_requested = self.n_workers or usable_cpus()
        free = free_memory()
        if bytes_each <= 0 or free is None:
            return n_requested
        return max(1, min(n_requested, int(_SHARE_OF_MEMORY * free) // bytes_each))

    def _on_ray(
        self,
        function: Callable[[Spec], Result],
        specs: Iterator[Spec],
        done: Callable[[Result], None],
        bytes_each: int,
        name: Callable[[Spec], str],
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as it will be; else it warns of that
        try:
            import ray
        except ImportError as error:
            raise InputError(f"{SHARDS} requires Ray, which is not installed: `{install_line('ray')}`") from error
        began_here = not ray.is_initialized()
        if began_here:
            _join_ray(ray, self.address)
        try:
            needs: dict[str, Any] = {"num_cpus": 1, "num_gpus": self.n_gpus, "max_retries": _MOST_DEATHS}
            if bytes_each > 0:
                needs["memory"] = bytes_each
            cluster: Any = ray
            task = cluster.remote(**needs)(_with_one_thread)
            most = self.n_workers or max(2, 2 * int(cluster.cluster_resources().get("CPU", 1)))
            under_way: dict[Any, Spec] = {}
            given_up = _GivenUp("Ray workers", f"smaller shards, or fewer at a time ({SHARDS}), take less memory")
            while True:
                for spec in specs:
                    under_way[task.remote(function, spec)] = spec
                    if len(under_way) >= most:
                        break
                if not under_way:
                    break
                (ready, *_), _ = ray.wait(list(under_way), num_returns=1)
                spec = under_way.pop(ready)
                try:
                    result = _result_of(ray, ready)
                except _WorkerDiedError as error:
                    given_up.add(name(spec), error)
                    continue
                given_up.finished()
                done(result)
            given_up.refuse()
        finally:
            if began_here:
                ray.shutdown()


def free_memory() -> int | None:
    """Bytes that new work may take without swapping: of the machine, and of the container if that is less; None if not known."""
    limits = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        if limit.isdigit():
            used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
            limits.append(max(0, int(limit) - used))
    except (OSError, ValueError, IndexError):
        pass
    return min(limits, default=None)


class _WorkerDiedError(Exception):
    """The worker of a shard died as often as it may."""


class _GivenUp:
    """The shards that were given up. workers, remedy: for the sentence that names them."""

    def __init__(self, workers: str, remedy: str) -> None:
        self._workers = workers
        self._remedy = remedy
        self._names: list[str] = []
        self._in_a_row = 0

    def finished(self) -> None:
        """A shard was done: the fault is not one of all shards."""
        self._in_a_row = 0

    def add(self, name: str, error: BaseException) -> None:
        """Give a shard up; LostWorkersError where it is one of several with none finished between."""
        self._names.append(name)
        self._in_a_row += 1
        if self._in_a_row >= _MOST_IN_A_ROW:
            raise self._error("the others were not waited for") from error

    def refuse(self) -> None:
        """LostWorkersError where shards were given up."""
        if self._names:
            raise self._error("all others are finished")

    def _error(self, others: str) -> LostWorkersError:
        shown = ", ".join(self._names[:_MOST_NAMED]) + (", …" if len(self._names) > _MOST_NAMED else "")
        return LostWorkersError(
            f"given up, after {1 + _MOST_DEATHS} {self._workers} died of each: {shown}; {others}, and finished shards are "
            f"kept. The usual cause is full memory: {self._remedy}",
            self._names,
        )


def _in_processes(
    function: Callable[[Spec], Result],
    specs: Iterator[Spec],
    done: Callable[[Result], None],
    n_workers: int,
    name: Callable[[Spec], str],
) -> None:
    """Each process is a pool of its own with one shard at a time, so that a death is known to be of that shard."""
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, usable_cpus() // n_workers)
    start = partial(ProcessPoolExecutor, 1, mp_context=spawn, initializer=_use_threads, initargs=(threads,))
    given_up = _GivenUp("processes", f"fewer processes ({SHARDS}=process:1), or smaller shards")
    idle: list[ProcessPoolExecutor] = []
    again: list[tuple[Spec, int]] = []
    under_way: dict[Future[Result], tuple[ProcessPoolExecutor, Spec, int]] = {}
    try:
        while True:
            while len(under_way) < n_workers and (waiting := again.pop() if again else _next(specs)):
                pool, future = _submitted(idle.pop() if idle else start(), start, function, waiting[0])
                under_way[future] = (pool, *waiting)
            if not under_way:
                break
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                pool, spec, deaths = under_way.pop(future)
                idle.append(pool)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    idle.pop().shutdown()
                    if deaths < _MOST_DEATHS:
                        again.append((spec, deaths + 1))
                    else:
                        given_up.add(name(spec), error)
                    continue
                given_up.finished()
                done(result)
    finally:
        for pool in (*idle, *(pool for pool, _, _ in under_way.values())):
            pool.shutdown(cancel_futures=True)
    given_up.refuse()


def _next(specs: Iterator[Spec]) -> tuple[Spec, int] | None:
    """The next shard, for which no process has died yet."""
    for spec in specs:
        return spec, 0
    return None


def _submitted(
    pool: ProcessPoolExecutor, start: Callable[[], ProcessPoolExecutor], function: Callable[[Spec], Result], spec: Spec
) -> tuple[ProcessPoolExecutor, Future[Result]]:
    """The shard in a pool: in another one where the process has died while it had nothing to do."""
    try:
        return pool, pool.submit(function, spec)
    except BrokenProcessPool:
        pool.shutdown()
        fresh = start()
        return fresh, fresh.submit(function, spec)


def _use_threads(n_threads: int) -> None:
    import torch

    torch.set_num_threads(n_threads)


def _with_one_thread(function: Callable[[Spec], Result], spec: Spec) -> Result:
    _use_threads(1)
    return function(spec)


def _join_ray(ray: Any, address: str) -> None:
    where = address or os.environ.get("RAY_ADDRESS", "")
    try:
        if where:
            _refuse_silence(where)  # Ray itself asks for minutes
            ray.init(address=where, log_to_driver=False)
        else:  # alone, and for nobody but this machine
            alone: dict[str, Any] = {
                "num_cpus": usable_cpus(),
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
            }
            ray.init(log_to_driver=False, **alone)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"the Ray cluster {where or 'of this machine'} cannot be reached: {reason}") from error


def _refuse_silence(address: str) -> None:
    """OSError when nothing listens at HOST:PORT; other ways to name a cluster are Ray's to understand."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_PATIENCE_SECONDS).close()


def _result_of(ray: Any, reference: Any) -> Any:
    """The result of a task, or what it raised, as it was; _WorkerDiedError where its workers died."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        raise _WorkerDiedError(type(error).__name__) from error
