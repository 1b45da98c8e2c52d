"""Atomic files: write aside, flush to disk, rename. And the hashes that seal them."""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import Any

from splat_assets.errors import InputError

_STAGING_PREFIX = ".staging-"
_STAGING = re.compile(r"\.staging-[0-9a-f]{32}(-(?P<name>.*))?")
_OLD = "old-"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_MANY_ENTRIES = 1_000
FileMark = tuple[int, int, int, int]


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of path to write to; on success it is synced and takes path's place in one step.

    A symbolic link stays: what it points to is replaced.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _staged(path, lambda aside: aside.touch(exist_ok=False)) as aside:
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

    Where the operating system can exchange two folders (Linux can) that is one step; elsewhere there is a moment at which
    nothing is at path, and readers that must never see that use a version directory and a pointer instead. A symbolic link
    stays: what it points to is replaced.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _staged(path, lambda aside: aside.mkdir()) as aside:
        try:
            yield aside
            sync_tree(aside)
            if not path.exists():
                os.rename(aside, path)
            elif not _exchanged(aside, path):
                _swap_by_renaming(aside, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def staging_path(path: Path) -> Path:
    """An unused sibling of path, named so that `remove_leftovers` knows its owner."""
    return path.parent / f"{_STAGING_PREFIX}{uuid.uuid4().hex}-{path.name}"


@contextmanager
def _staged(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A staging sibling of path, made and held: as long as this process lives, it is not a leftover."""
    while True:
        aside = staging_path(path)
        make(aside)
        try:
            held = os.open(aside, os.O_RDONLY)
        except FileNotFoundError:  # taken for a leftover before it was held
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            if aside.exists():
                yield aside
                return
        finally:
            os.close(held)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the call, or its support by the file system, is missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _swap_by_renaming(aside: Path, path: Path) -> None:
    old = staging_path(path.with_name(f"{_OLD}{path.name}"))
    os.rename(path, old)
    try:
        os.rename(aside, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def replaceable_folder(folder: Path, is_ours: Callable[[str], bool]) -> Path:
    """The folder, which a writer may replace: absent, or holding nothing but what the writer makes.

    is_ours: whether a file or folder of this name is the writer's. Raises InputError for a file, for the folder one stands
    in, for a mount point, and for a folder that holds anything else.
    """
    there = folder.resolve()
    if not there.exists():
        return folder
    if not there.is_dir():
        raise InputError(f"{folder} is a file; choose a folder")
    if Path.cwd().is_relative_to(there) or there.is_mount():
        raise InputError(
            f"{folder} cannot be replaced while it is the current folder or a mount point; choose one below it"
        )
    foreign = sorted(path.name for path in there.iterdir() if not is_ours(path.name))
    if foreign:
        raise InputError(
            f"{folder} holds {', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}, which would be "
            f"lost; choose a new or empty folder"
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

    name: only what was to become this file or folder. What a living writer is at work on stays, and a folder that was moved
    aside when its writer was killed, before the new one took its place, is put back.
    """
    if not folder.is_dir():
        return []
    removed = []
    for left in sorted(folder.glob(f"{_STAGING_PREFIX}*")):
        match = _STAGING.fullmatch(left.name)
        if not match or name not in ("", match["name"], (match["name"] or "").removeprefix(_OLD)) or _is_held(left):
            continue
        replaced = folder / (match["name"] or "").removeprefix(_OLD)
        if (match["name"] or "").startswith(_OLD) and not replaced.exists():
            os.rename(left, replaced)
            continue
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        removed.append(left)
    return removed


def _is_held(path: Path) -> bool:
    """Whether a living process is writing there."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_json(path: Path, value: Any) -> None:
    """Write value as indented JSON with sorted keys, atomically. NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def file_mark(path: Path) -> FileMark | None:
    """What is another one after the content of a file changed: times, inode and size; None where no regular file can be seen.

    It tells changes and nothing else. It is not an order (copies change it, and content may stay), and it holds for this
    place alone: compare contents where two marks differ. A mark of the time of writing alone would miss a file of the same
    size that was put there with its old time (`cp -p`, `tar`, `rsync`); nobody sets the time of the last change of an inode.
    """
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_size) if S_ISREG(facts.st_mode) else None


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
    files: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_refuse_closed):
        folders[:] = [name for name in folders if not name.startswith(_STAGING_PREFIX)]
        paths = (Path(place, name) for name in names if not name.startswith(_STAGING_PREFIX))
        files += [path for path in paths if path.is_file()]
    return sorted(files)


def _refuse_closed(error: OSError) -> None:
    """A folder that may not be listed is not an empty one; one that is not there is."""
    if isinstance(error, PermissionError):
        raise error


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
    """Flush the whole file system that holds folder; False where the call is missing."""
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
