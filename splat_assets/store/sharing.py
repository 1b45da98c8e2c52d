"""Commands and steps on a data root in a bucket: inputs are pulled before, outputs pushed after.

On a plain folder nothing happens.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splat_assets.errors import SplatError
from splat_assets.store.bucket.working_copy import WorkingCopy, is_light
from splat_assets.store.layout import DataRoot

logger = logging.getLogger(__name__)

_EVERY_SECONDS = 10.0


@contextmanager
def synced_root(root: DataRoot, every_seconds: float = _EVERY_SECONDS) -> Iterator[None]:
    """Pull the changes of others, at once and repeatedly while the work inside lasts; push what it made at its end."""
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
                logger.warning("changes of others cannot be pulled, retrying every %g s: %s", every_seconds, error)
            fault = type(error)
        else:
            if fault is not None:
                logger.warning("changes of others are pulled again from %s", copy.bucket.url)
            fault = None


@contextmanager
def synced_run(root: DataRoot, name: str) -> Iterator[list[Path]]:
    """Pull a whole run before work on it, and push the result, also after a failure.

    Entries of the list were remade as a whole: older copies in the bucket are removed.
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
    """Pull all inputs of runs, and what a server needs."""
    copy = WorkingCopy.containing(root.path)
    if copy is not None:
        copy.pull(lambda name: is_light(name) or name.startswith("datasets/"))


def remove_there(root: DataRoot, name: str) -> None:
    """Remove a run from the bucket, including what was never pulled."""
    copy = WorkingCopy.containing(root.path)
    if copy is not None:
        copy.bucket.delete(list(copy.bucket.listed(f"runs/{name}")))
