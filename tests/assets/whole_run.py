"""What a process does that is to be killed: make everything of a run; and how it dies at one commit, before or after it."""

import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import matplotlib.backends.backend_agg  # noqa: F401
import matplotlib.figure  # noqa: F401
import numpy as np
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import torch
from scipy.sparse import csr_array
from sknetwork.clustering import Louvain  # noqa: F401

from splat_assets.compute.feature_map import _laid_out
from splat_assets.runs import open_run
from splat_assets.store import files
from splat_assets.store.layout import DataRoot
from tests.small_run import make_all

KILLED = 77
"""The exit code of a process that died at its commit."""
Moment = Literal["before", "after"]


def make_whole_run(root: Path) -> None:
    """Make every artifact of the run `small` below root."""
    torch.set_num_threads(1)  # with more, processes that share the cores wait for each other most of the time
    make_all(open_run(DataRoot(root), "small"))


def make_and_note_commits(root: Path, notes: Path) -> None:
    """Make the run, and write to notes what took its place meanwhile: a path below root a line, in the order of the commits."""
    commits: list[str] = []

    def noted(commit: Callable[[], Any], name: str) -> Any:
        done = commit()
        commits.append(name)
        return done

    _watch_commits(root, noted)
    make_whole_run(root)
    notes.write_text("".join(f"{name}\n" for name in commits), encoding="utf-8")


def make_and_die(root: Path, name: str, moment: Moment) -> None:
    """Make the run and end, without another instruction, just before or just after `name` takes its place for the first time."""

    def deadly(commit: Callable[[], Any], committed: str) -> Any:
        if committed == name and moment == "before":
            os._exit(KILLED)
        done = commit()
        if committed == name:
            os._exit(KILLED)
        return done

    _watch_commits(root, deadly)
    make_whole_run(root)


def answer_with_exit_codes(asked: Connection) -> None:
    """For each root, commit and moment: let a child die there, and answer with its exit code.

    This process itself only forks, so that its children have what it imported and compiled, and no thread that they have not.
    """
    _compile_umap()
    while True:
        try:
            root, name, moment = asked.recv()
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            try:
                make_and_die(root, name, moment)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        asked.send(os.waitstatus_to_exitcode(status))


def _compile_umap() -> None:
    """UMAP's loops are compiled anew in each process, which takes longer than all else that a child does."""
    n = 20
    ring = np.eye(n, k=1) + np.eye(n, k=-1)
    _laid_out(csr_array(ring.astype(np.float32)), np.random.default_rng(0).random((n, 2), dtype=np.float32), seed=0)


def _watch_commits(root: Path, around: Callable[[Callable[[], Any], str], Any]) -> None:
    """Call `around` in place of each rename or exchange that makes something below root appear.

    What is renamed within a folder that is itself still aside does not count: nobody sees it before that folder's own commit.
    """

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def instead(source: Any, target: Any, **options: Any) -> Any:
            place = Path(target)
            if not place.is_relative_to(root) or any(part.startswith(".staging-") for part in place.parts):
                return function(source, target, **options)
            return around(lambda: function(source, target, **options), place.relative_to(root).as_posix())

        return instead

    for module, name in ((os, "rename"), (os, "replace"), (files, "_exchanged")):
        setattr(module, name, watched(getattr(module, name)))
