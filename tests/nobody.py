"""Being somebody who may read little: a test that runs as root goes on as `nobody` for a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def as_nobody(*reachable: Path) -> Iterator[None]:
    """Go on as nobody, who may enter the folders above the reachable paths; a test that cannot change its user is skipped."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user and come back")
    opened = {folder: folder.stat().st_mode for path in reachable for folder in (path, *path.parents)}
    for folder, mode in opened.items():
        if not mode & 0o001:
            folder.chmod(mode | 0o011)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for folder, mode in opened.items():
            if not mode & 0o001:
                folder.chmod(mode)
