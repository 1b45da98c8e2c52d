"""Commands and steps on a data root in a bucket: what they need is brought before, what they made is sent after.

On a data root that is a folder nothing here does anything.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splat_assets.errors import SplatError
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.layout import DataRoot

logger = logging.getLogger(__name__)

_EVERY_SECONDS = 10.0


@contextmanager
def synced_root(root: DataRoot, every_seconds: float = _EVERY_SECONDS) -> Iterator[None]:
    """What others did is brought, at once and again and again while the work inside lasts; what it made is sent at its end."""
    copy = WorkingCopy.containing(root.path)
    if copy is None:
        yield
        return
    copy.pull()
    stop = threading.Event()
    follower = threading.Thread(target=_follow, args=(copy, stop, every_seconds), daemon=True)
    follower.start()
    try:
        yield
    finally:
        stop.set()
        follower.join()
        copy.push()


def _follow(copy: WorkingCopy, stop: threading.Event, every_seconds: float) -> None:
    """Bring again and again. A fault, of the bucket or of this machine, is logged when it begins and when it ends."""
    fault: type[Exception] | None = None
    while not stop.wait(every_seconds):
        try:
            copy.pull()
        except (SplatError, OSError) as error:
            if type(error) is not fault:
                logger.warning("what others did is not brought, and tried again every %g s: %s", every_seconds, error)
            fault = type(error)
        else:
            if fault is not None:
                logger.warning("what others did is brought again from %s", copy.bucket.url)
            fault = None


@contextmanager
def synced_run(root: DataRoot, name: str) -> Iterator[list[Path]]:
    """A run is brought whole before it is worked on, and what became of it is sent, also where the work failed.

    What is put into the list was made anew, whole: what the bucket has of an earlier make of it goes.
    """
    copy = WorkingCopy.containing(root.path)
    remade: list[Path] = []
    if copy is None:
        yield remade
        return
    copy.pull_run(name)
    try:
        yield remade
    finally:
        copy.push(remade)


def pull_inputs(root: DataRoot) -> None:
    """Everything that runs are made from is brought."""
    copy = WorkingCopy.containing(root.path)
    if copy is not None:
        copy.pull_inputs()


def remove_there(root: DataRoot, name: str) -> None:
    """A run is removed from the bucket, what was never brought of it included."""
    copy = WorkingCopy.containing(root.path)
    if copy is not None:
        copy.bucket.delete(list(copy.bucket.listed(f"runs/{name}")))
