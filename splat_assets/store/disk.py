"""Disk errors of writers and readers: no space, no permission, a truncated file."""

import errno
import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.store.errors import CorruptStoreError, StoreError
from splat_assets.store.limits import file_size, process_limit

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
"""What numpy says of a write that did not go to its end, whatever the reason."""


class DiskFullError(StoreError):
    """The disk is full."""


@contextmanager
def explaining_write_errors(what: str, where: Path) -> Iterator[None]:
    """Turn "no space" and "permission denied" of writes inside into one sentence with the remedy."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        limit = process_limit(error) or (file_size() if _is_too_large(error, where) else None)
        if limit is not None:
            raise StoreError(f"{what} cannot be written in {where}: {limit}; finished work is untouched") from error
        if _says_no_space(error):
            raise DiskFullError(
                f"no space left for {what} in {where} ({_free_bytes(where) / 2**20:,.1f} MiB free): free some space and run "
                "the step again; finished work is untouched"
            ) from error
        if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
            raise StoreError(f"{what} cannot be written in {where}: {error.strerror}; allow writing there") from error
        raise


def _says_no_space(error: Exception) -> bool:
    """By number where there is one; polars and numpy pass on only a text (numpy's tofile that of a write cut short)."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_SPACE
    return "No space left on device" in str(error) or bool(_CUT_SHORT.search(str(error)))


def _is_too_large(error: Exception, where: Path) -> bool:
    """Whether a write was cut short by the limit of a file's size: there is one, and the disk has room."""
    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    return limited and bool(_CUT_SHORT.search(str(error))) and _free_bytes(where) > 2**20


def _free_bytes(where: Path) -> int:
    there = next(path for path in (where, *where.parents) if path.exists())
    return shutil.disk_usage(there).free


def read_exactly(descriptor: int, into: npt.NDArray[Any], offset: int, where: Path | str) -> None:
    """Fill the C-contiguous array with the file's bytes from offset on; CorruptStoreError when it ends before that."""
    view = into.view(np.uint8).data
    done = 0
    while done < len(view):
        got = os.preadv(descriptor, [view[done:]], offset + done)
        if got == 0:
            raise CorruptStoreError(
                f"{where} ends at byte {offset + done} where bytes {offset} to {offset + len(view)} were expected: "
                "it was cut short; make it again from its source"
            )
        done += got
