"""What a process does that is to be killed: make everything of a run."""

from pathlib import Path

import torch

from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot
from tests.small_run import make_all


def make_whole_run(root: Path) -> None:
    """Make every artifact of the run `small` below root."""
    torch.set_num_threads(1)  # with more, processes that share the cores wait for each other most of the time
    make_all(open_run(DataRoot(root), "small"))
