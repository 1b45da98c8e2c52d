"""A whole run, killed before and after each of its commits and at a few random moments, and resumed each time.

The next run ends where an undisturbed one ends, and nobody who reads meanwhile sees anything but whole versions.
"""

import multiprocessing
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from splat_assets.assets import ASSETS
from splat_assets.runs import ActivationsRecipe, Run
from splat_assets.store import open_store
from splat_assets.store.errors import NotPublishedError
from splat_assets.store.layout import DataRoot
from splat_assets.text.wording import counted
from tests.assets.faults.planting import change_recipe
from tests.assets.whole_run import KILLED, answer_with_exit_codes, make_and_note_commits, make_whole_run
from tests.small_run import RECIPE, make_inputs, new_small_run

N_KILLS = 266
"""Two for each commit of both versions: a new commit raises it, and a lower number is a kill point lost."""
N_RANDOM_KILLS = 3
CURRENT = "runs/small/store/CURRENT"
RECEIPT = re.compile(r"runs/small/receipts/\w+\.json")
OF_INPUTS_ALONE = {"dataset", "base_model"}
_SEED = 0
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.assets.whole_run"])


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = _PROCESSES.Process(target=work, args=arguments)
    process.start()
    return process


def exit_code(work: Callable[..., None], *arguments: Any) -> int | None:
    """Let a process do the work to its end, whatever that is."""
    process = start(work, *arguments)
    process.join()
    return process.exitcode


@pytest.fixture
def deaths() -> Iterator[Connection]:
    """Takes a root, a commit and a moment, and gives the exit code of the process that had to die there."""
    here, there = _PROCESSES.Pipe()
    process = start(answer_with_exit_codes, there)
    there.close()
    yield here
    here.close()
    process.join()


def described(root: Path) -> Run:
    """The smallest run: few builds and features, and an SAE that is trained for one epoch and kept after every step."""
    make_inputs(DataRoot(root), n_builds=300)
    return new_small_run(
        DataRoot(root),
        sae=replace(RECIPE, d_sae=24, k=4, epochs=1, checkpoint_every_seconds=0),
        activations=ActivationsRecipe(shard_items=128, batch_size=64),
    )


def another_recipe(run: Run) -> None:
    """From here on the run asks for another SAE, so that another version is published."""
    change_recipe(run, "lr = 0.01", "lr = 0.012")


def commits_of(run: Run, notes: Path) -> list[str]:
    """Make the run undisturbed; what took its place on the way, in order."""
    assert exit_code(make_and_note_commits, run.root.path, notes) == 0
    return notes.read_text(encoding="utf-8").splitlines()


class Reader:
    """Opens the store over and over, as a server would, and notes what it saw and what was wrong with it."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self.seen: list[str] = []
        self.problems: list[str] = []

    def look(self) -> None:
        try:
            store = open_store(self._run)
        except NotPublishedError as error:
            if self.seen:
                self.problems.append(str(error))
            return
        if not self.seen or self.seen[-1] != store.version:
            self.seen.append(store.version)
            self.problems += store.verify(deep=True)
        if store.sample(0).feature_ids.size == 0 or store.samples.height != store.n_samples:
            self.problems.append(f"{store.version} lacks rows")


class Watcher(threading.Thread):
    """A reader that looks all the time."""

    def __init__(self, run: Path) -> None:
        super().__init__(daemon=True)
        self.reader = Reader(run)
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.reader.look()

    def stop(self) -> Reader:
        self._over.set()
        self.join()
        self.reader.look()
        return self.reader


def assert_nothing_is_left(run: Run, versions: list[str]) -> None:
    assert sorted(path.name for path in (run.layout.store / "versions").iterdir()) == sorted(versions)
    assert list(run.root.path.rglob(".staging-*")) == [], "a killed writer left something behind"


@pytest.mark.slow
@pytest.mark.long
def test_killed_before_and_after_each_commit_a_run_ends_with_the_same_version(
    tmp_path: Path, deaths: Connection
) -> None:
    """Each process takes the run up where the one before it died, and dies one moment later; twice, for two versions."""
    undisturbed, run = described(tmp_path / "undisturbed"), described(tmp_path / "killed")
    reader = Reader(run.layout.root)
    expected: list[str] = []
    killed_at: list[tuple[str, str]] = []

    for n_made_anew in (len(ASSETS), len(ASSETS) - len(OF_INPUTS_ALONE)):
        commits = commits_of(undisturbed, tmp_path / "commits")
        expected.append(open_store(undisturbed.layout.root).version)
        assert len([name for name in commits if RECEIPT.fullmatch(name)]) == n_made_anew
        assert {CURRENT, f"runs/small/store/versions/{expected[-1]}"} <= set(commits)

        is_public = False
        for name in commits:
            for moment in ("before", "after"):
                deaths.send((run.root.path, name, moment))
                assert deaths.recv() == KILLED, (moment, name)
                killed_at.append((moment, name))
                reader.look()
                assert reader.problems == [], (moment, name)
                is_public = is_public or (moment, name) == ("after", CURRENT)
                assert reader.seen == (expected if is_public else expected[:-1]), (moment, name)

        assert exit_code(make_whole_run, run.root.path) == 0
        assert reader.seen == expected == [*expected[:-1], open_store(run.layout.root).version]
        assert_nothing_is_left(run, expected)
        another_recipe(undisturbed)
        another_recipe(run)

    print(counted(len(killed_at), "kills"))
    assert len(killed_at) == N_KILLS


def killed_after(seconds: float, run: Run) -> bool:
    """Start a process on the run and kill it then; whether it was still at work."""
    process = start(make_whole_run, run.root.path)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode != 0


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_with_the_same_version(tmp_path: Path) -> None:
    """Within the work, not at its commits, and while somebody reads all the time."""
    undisturbed = described(tmp_path / "undisturbed")
    began = time.monotonic()
    assert exit_code(make_whole_run, undisturbed.root.path) == 0
    seconds = time.monotonic() - began
    expected = open_store(undisturbed.layout.root).version
    moments = random.Random(_SEED)
    n_kills = 0

    while n_kills < N_RANDOM_KILLS:
        run = described(tmp_path / f"killed-{n_kills}")
        watcher = Watcher(run.layout.root)
        watcher.start()
        for _ in range(N_RANDOM_KILLS - n_kills):
            n_kills += killed_after(moments.uniform(0, seconds / N_RANDOM_KILLS), run)
        assert exit_code(make_whole_run, run.root.path) == 0
        reader = watcher.stop()

        assert reader.problems == []
        assert reader.seen == [expected]
        assert_nothing_is_left(run, [expected])
