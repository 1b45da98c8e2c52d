"""A whole run, killed at random moments and resumed each time.

The next run ends where an undisturbed one ends, and nobody who reads meanwhile sees anything but whole versions.
"""

import multiprocessing
import random
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import status_of
from splat_assets.runs import Run, open_run
from splat_assets.store import open_store
from splat_assets.store.errors import NotPublishedError
from splat_assets.store.layout import DataRoot
from tests.assets.faults.planting import change_recipe
from tests.assets.whole_run import make_whole_run
from tests.small_run import new_small_run

N_KILLS = 25
KILLS_PER_VERSION = 4
_SEED = 0
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.assets.whole_run", "matplotlib.backends.backend_agg"])


def start(root: Path) -> BaseProcess:
    process = _PROCESSES.Process(target=make_whole_run, args=(root,))
    process.start()
    return process


def finish(root: Path) -> float:
    """Let a process make the run to its end; returns the seconds it took."""
    began = time.monotonic()
    process = start(root)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def killed_after(seconds: float, root: Path) -> bool:
    """Start a process on the run and kill it then; whether it was still at work."""
    process = start(root)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode != 0


def another_recipe(run: Run) -> None:
    """From here on the run asks for another SAE, so that another version is published."""
    change_recipe(run, "lr = 0.01", "lr = 0.012")


def described(root: Path) -> Run:
    return new_small_run(DataRoot(root))


def n_up_to_date(run: Run) -> int:
    """How far a run has come."""
    run = open_run(run.root, run.name)
    return sum(status_of(asset, run).is_up_to_date for asset in ASSETS)


class Reader(threading.Thread):
    """Opens the store over and over, as a server would, and notes what it saw and what was wrong with it."""

    def __init__(self, run: Path) -> None:
        super().__init__(daemon=True)
        self._run = run
        self._over = threading.Event()
        self.seen: list[str] = []
        self.problems: list[str] = []

    def run(self) -> None:
        while not self._over.is_set():
            time.sleep(0.01)
            try:
                store = open_store(self._run)
            except NotPublishedError as error:
                if self.seen:
                    self.problems.append(str(error))
                continue
            if not self.seen or self.seen[-1] != store.version:
                self.seen.append(store.version)
                self.problems += store.verify(deep=True)
            if store.sample(0).feature_ids.size == 0 or store.samples.height != store.n_samples:
                self.problems.append(f"{store.version} lacks rows")

    def stop(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_any_moment_a_run_ends_with_the_same_version(tmp_path: Path) -> None:
    """Two versions after each other in each root, killed on the way to both, until there were 25 kills."""
    first, second = described(tmp_path / "first"), described(tmp_path / "second")
    another_recipe(second)
    finish(first.root.path)
    seconds = finish(second.root.path)
    expected = [open_store(run.layout.root).version for run in (first, second)]
    moments = random.Random(_SEED)
    n_kills = 0
    killed_at = set[tuple[str, int]]()

    while n_kills < N_KILLS:
        run = described(tmp_path / f"killed-{n_kills}")
        reader = Reader(run.layout.root)
        reader.start()
        for version in expected:
            for _ in range(min(KILLS_PER_VERSION, N_KILLS - n_kills)):
                n_kills += killed_after(moments.uniform(0, seconds / 3), run.root.path)
                killed_at.add((version, n_up_to_date(run)))
            finish(run.root.path)
            assert open_store(run.layout.root).version == version
            if version == expected[0]:
                another_recipe(run)
        reader.stop()

        assert reader.problems == []
        assert reader.seen == expected
        assert sorted(path.name for path in (run.layout.store / "versions").iterdir()) == sorted(expected)
        assert list(run.root.path.rglob(".staging-*")) == [], "a killed writer left something behind"

    assert n_kills == N_KILLS
    # How far a run gets in a given time depends on the machine, so only this much can be asked of the spread.
    assert len(killed_at) >= 2, f"the kills were not spread over the run: {killed_at}"
