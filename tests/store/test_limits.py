"""Limits of a process are named as what they are: no disk is full, no file damaged, nothing forbidden."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.disk import DiskFullError, explaining_write_errors
from splat_assets.store.errors import CorruptStoreError, StoreError
from splat_assets.store.layout import DataRoot
from splat_assets.store.limits import process_limit


@contextmanager
def limited(which: int, value: int) -> Iterator[None]:
    """Meanwhile this process has no more than that."""
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


@pytest.mark.parametrize("write", ["write_bytes", "tofile"])
def test_a_file_that_may_not_become_so_large_names_that_limit(write: str, tmp_path: Path) -> None:
    content = np.zeros(200_000, dtype=np.uint8)

    with limited(resource.RLIMIT_FSIZE, 100_000), pytest.raises(StoreError) as caught:
        with explaining_write_errors("the store", tmp_path):
            if write == "tofile":
                content.tofile(tmp_path / "file")
            else:
                (tmp_path / "file").write_bytes(content.tobytes())

    assert not isinstance(caught.value, DiskFullError)
    assert "at most 100,000 bytes (ulimit -f)" in str(caught.value)
    assert "allow writing" not in str(caught.value)


def test_too_many_open_files_are_no_missing_run_and_no_traceback(
    finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))
    assert CliRunner().invoke(main, ["run", "list"]).exit_code == 0  # everything is imported
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)

    with limited(resource.RLIMIT_NOFILE, free):
        result = CliRunner().invoke(main, ["run", "list"])

    assert result.exit_code == 2, result.output
    assert f"this process may have {free} open (ulimit -n)" in result.output


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENFILE, "Too many open files in system"), "fs.file-max"),
        (OSError("IO error: Too many open files (os error 24)"), "ulimit -n"),
        (MemoryError(), "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "out of memory"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
    ],
)  # fmt: skip
def test_the_limit_is_known_whatever_a_fault_was_taken_for(cause: Exception, message: str) -> None:
    try:
        try:
            raise cause
        except type(cause) as error:
            raise CorruptStoreError("a file is damaged: make it again") from error
    except CorruptStoreError as error:
        limit = process_limit(error)

    assert limit is not None and message in limit


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), CorruptStoreError("damaged"), RuntimeError("x")]
)
def test_other_faults_are_of_no_limit(error: Exception) -> None:
    assert process_limit(error) is None
