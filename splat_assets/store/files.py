"""Files that appear whole or not at all: write aside, flush to disk, rename. And the hashes that seal them."""

import ctypes
import fcntl
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from splat_assets.errors import InputError

_STAGING_PREFIX = ".staging-"
_MANY_ENTRIES = 1_000


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of path to write to; on success it is synced and takes path's place in one step.

    A symbolic link stays: what it points to is replaced.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f"{_STAGING_PREFIX}{uuid.uuid4().hex}-{path.name}"
    try:
        yield aside
        sync_file(aside)
        os.replace(aside, path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling folder; on success every file in it is synced and it takes path's place.

    Between the removal of the old folder and the rename nothing is at path: readers that must never see that use a
    version directory and a pointer instead. A symbolic link stays: what it points to is replaced.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f"{_STAGING_PREFIX}{uuid.uuid4().hex}-{path.name}"
    aside.mkdir()
    try:
        yield aside
        sync_tree(aside)
        if path.exists():
            old = path.parent / f"{_STAGING_PREFIX}{uuid.uuid4().hex}-old-{path.name}"
            os.rename(path, old)
            os.rename(aside, path)
            shutil.rmtree(old)
        else:
            os.rename(aside, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def replaceable_folder(folder: Path, is_ours: Callable[[str], bool]) -> Path:
    """The folder, which a writer may replace: absent, or holding nothing but what the writer makes.

    is_ours: whether a file or folder of this name is the writer's. Raises InputError for a file, for the folder one stands
    in, for a mount point, and for a folder that holds anything else.
    """
    there = folder.resolve()
    if not there.exists():
        return folder
    if not there.is_dir():
        raise InputError(f"{folder} is a file; name a folder")
    if Path.cwd().is_relative_to(there) or there.is_mount():
        raise InputError(
            f"{folder} cannot be replaced while it is the current folder or a mount point; name one below it"
        )
    foreign = sorted(path.name for path in there.iterdir() if not is_ours(path.name))
    if foreign:
        raise InputError(
            f"{folder} holds {', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}, which would be lost; "
            "name a new or empty folder"
        )
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process is inside with the same path; the lock goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_leftovers(folder: Path, name: str = "") -> list[Path]:
    """Delete what a killed writer left in folder (only names that this module makes) and return what was deleted.

    name: only what was to become this file or folder; other writers may be at work in the same place.
    """
    leftovers = sorted(folder.glob(f"{_STAGING_PREFIX}*{glob.escape(name)}")) if folder.is_dir() else []
    for left in leftovers:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return leftovers


def write_json(path: Path, value: Any) -> None:
    """Write value as indented JSON with sorted keys, atomically. NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """The sha256 of value's canonical JSON (sorted keys, no spaces), in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every regular file below folder, sorted by its relative path; staging leftovers are not counted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(_STAGING_PREFIX) for part in path.relative_to(folder).parts)
    )


def sync_file(path: Path) -> None:
    """Flush a file's bytes to the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below folder, and folder itself.

    A flush takes about a millisecond however little there is to write, so thousands of files are flushed in one call that
    covers their file system, where the operating system has one.
    """
    entries = list(islice(folder.rglob("*"), _MANY_ENTRIES))
    if len(entries) < _MANY_ENTRIES or not _sync_file_system_of(folder):
        for path in folder.rglob("*"):
            sync_folder(path) if path.is_dir() else sync_file(path)
    sync_folder(folder)


def _sync_file_system_of(folder: Path) -> bool:
    """Flush the whole file system that holds folder; False where there is no such call."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
    return True
