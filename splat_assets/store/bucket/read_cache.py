"""Bytes read from a bucket, cached in a folder of bounded size; the least recently used go first.

Each entry ends with its crc32c; one that is damaged or cut short is read again from where it came. Several processes
may share the folder: a writer holds its lock and counts in its `.size`, so that the bound holds for all
of them together.
A folder that cannot be made, written or locked costs speed and never an answer. When an entry was used last is its
file's time, which decides what goes first and nothing else: after a copy other entries go, and every answer is the
same.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from splat_assets.errors import InputError
from splat_assets.store.checksums import crc32c_of_bytes
from splat_assets.store.documents import read_bytes
from splat_assets.store.errors import AccessDeniedError
from splat_assets.store.files import staging_path

logger = logging.getLogger(__name__)

CACHE_BYTES = "SPLAT_CACHE_BYTES"
_DEFAULT_BYTES = 4 * 2**30
_SUFFIX = ".part"
_LOCK = ".lock"
_SIZE = ".size"
_LEFT = re.compile(r"\.(staging-)?[0-9a-f]{32}(-.*)?")
"""What an entry is called while it is written, by this program or an older one."""
_SEAL_BYTES = 4
_LONGEST_WAIT_SECONDS = 1.0


class ReadCache:
    """The cache in one folder. most_bytes bounds what all entries take together."""

    def __init__(self, folder: Path | None, most_bytes: int | None = None) -> None:
        """folder: None keeps nothing. most_bytes: SPLAT_CACHE_BYTES, or 4 GiB, if left out; InputError for no whole number."""
        self.folder = folder
        self.most_bytes = _bound() if most_bytes is None else most_bytes
        self._is_counted = False
        self._is_read = True

    def __reduce__(self) -> tuple[type["ReadCache"], tuple[Path | None, int]]:
        return ReadCache, (self.folder, self.most_bytes)

    def get(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """The bytes of a key: kept ones, else what `fetch` returns, which is kept if it fits. Safe for threads and processes.

        Args:
            key: names the bytes; must never stand for other bytes later.
            fetch: reads them; what it raises is raised here.

        Examples:
            >>> cache = ReadCache(folder)
            >>> cache.get("a", lambda: b"read once"), cache.get("a", lambda: b"never called")
            (b'read once', b'read once')
        """
        if self.folder is None:
            return fetch()
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}{_SUFFIX}"
        kept = _kept(path) if self._is_read else None
        if kept is not None:
            return kept
        content = fetch()
        if len(content) + _SEAL_BYTES <= self.most_bytes:
            try:
                self._keep(self.folder, path, content)
            except OSError as error:
                _warn_once(self.folder, error.strerror or str(error))
        return content

    @property
    def size_bytes(self) -> int:
        """What all entries take now."""
        return sum(size for _, size, _ in _entries(self.folder)) if self.folder else 0

    def clear(self) -> None:
        """Keep nothing of what was kept so far; where that cannot be removed, read nothing of it."""
        if self.folder is None or not self.folder.is_dir():
            return
        try:
            with _alone(self.folder):
                for _, _, path in _entries(self.folder):
                    path.unlink(missing_ok=True)
                (self.folder / _SIZE).unlink(missing_ok=True)
        except OSError as error:
            self._is_read = False
            _warn_once(self.folder, error.strerror or str(error))

    def _keep(self, folder: Path, path: Path, content: bytes) -> None:
        n_bytes = len(content) + _SEAL_BYTES
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            size = _recorded_size(folder) if self._is_counted else None
            if size is None or size + n_bytes > self.most_bytes:
                size = _make_room(folder, n_bytes, self.most_bytes)
                self._is_counted = True
            # Counted before it is there: who is killed in between leaves a count that is too high, and room is made too early.
            (folder / _SIZE).write_text(str(size + n_bytes), encoding="ascii")
            aside = staging_path(path)
            try:
                aside.write_bytes(content + _seal(content))
                os.replace(aside, path)
            finally:
                aside.unlink(missing_ok=True)


def _make_room(folder: Path, n_bytes: int, most_bytes: int) -> int:
    """Remove what killed writers left and, if n_bytes more do not fit, what was not used longest; the bytes left.

    A tenth is freed at once. The caller holds the lock, so that no other process writes.
    """
    for left in folder.iterdir():
        if _LEFT.fullmatch(left.name):
            left.unlink(missing_ok=True)
    entries = sorted(_entries(folder))
    size = sum(one for _, one, _ in entries)
    if size + n_bytes > most_bytes:
        for _, one, path in entries:
            if size <= most_bytes * 0.9 - n_bytes:
                break
            path.unlink(missing_ok=True)
            size -= one
    return size


def _recorded_size(folder: Path) -> int | None:
    """Total size of all entries, as counted by the last writer; None where there is none or the count cannot be read."""
    try:
        text = (folder / _SIZE).read_text(encoding="ascii")
        return int(text) if text.isdigit() else None
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _entries(folder: Path) -> list[tuple[int, int, Path]]:
    """When each was last used (ns), its size, where it is."""
    entries = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                    facts = entry.stat()
                    entries.append((facts.st_mtime_ns, facts.st_size, Path(entry.path)))
    return entries


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; BlockingIOError where another process does not release it: no answer waits for one that hangs."""
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    with (folder / _LOCK).open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        yield


@lru_cache(maxsize=256)
def _warn_once(folder: Path, why: str) -> None:
    logger.warning("the cache %s cannot be used (%s): every read goes to the bucket", folder, why)


def _kept(path: Path) -> bytes | None:
    try:
        whole = read_bytes(path)
    except (OSError, ValueError, AccessDeniedError):
        return None
    with contextlib.suppress(OSError):  # a folder that may only be read
        os.utime(path)
    content = whole[:-_SEAL_BYTES]
    return content if whole[-_SEAL_BYTES:] == _seal(content) and len(whole) >= _SEAL_BYTES else None


def _seal(content: bytes) -> bytes:
    return int(crc32c_of_bytes(np.frombuffer(content, dtype=np.uint8))).to_bytes(_SEAL_BYTES, "little")


def _bound() -> int:
    text = os.environ.get(CACHE_BYTES) or str(_DEFAULT_BYTES)
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{CACHE_BYTES}={text[:40]!r} is not a number of bytes, such as {_DEFAULT_BYTES} (4 GiB)")
    return int(text)
