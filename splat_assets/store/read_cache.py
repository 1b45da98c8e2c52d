"""Bytes that were read from far away, kept in a folder of bounded size: what was not used longest goes first.

Each entry ends with its crc32c; one that is damaged or cut short is read again from where it came. Several processes may share
the folder.
"""

import contextlib
import hashlib
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from splat_assets.errors import InputError
from splat_assets.store.checksums import crc32c_of_bytes

CACHE_BYTES = "SPLAT_CACHE_BYTES"
_DEFAULT_BYTES = 4 * 2**30
_SUFFIX = ".part"
_SEAL_BYTES = 4


class ReadCache:
    """The cache in one folder. most_bytes bounds what all entries take together."""

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        """most_bytes: what SPLAT_CACHE_BYTES says, or 4 GiB, if left out. InputError where that is no whole number."""
        self.folder = folder
        self.most_bytes = _bound() if most_bytes is None else most_bytes
        self._lock = threading.Lock()
        self._size: int | None = None

    def __reduce__(self) -> tuple[type["ReadCache"], tuple[Path, int]]:
        return ReadCache, (self.folder, self.most_bytes)

    def get(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """The bytes of a key: kept ones, else what `fetch` brings, which is kept if it fits. key: never of other bytes later."""
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}{_SUFFIX}"
        kept = _kept(path)
        if kept is not None:
            return kept
        content = fetch()
        if len(content) + _SEAL_BYTES <= self.most_bytes:
            self._keep(path, content)
        return content

    @property
    def size_bytes(self) -> int:
        """What all entries take now."""
        return sum(size for _, size, _ in self._entries())

    def clear(self) -> None:
        """Keep nothing of what was kept so far."""
        for _, _, path in self._entries():
            path.unlink(missing_ok=True)
        self._size = None

    def _keep(self, path: Path, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{uuid.uuid4().hex}")
        try:
            aside.write_bytes(content + _seal(content))
            os.replace(aside, path)
        except OSError:  # a full disk costs speed, never an answer
            aside.unlink(missing_ok=True)
            return
        with self._lock:
            self._size = self.size_bytes if self._size is None else self._size + len(content) + _SEAL_BYTES
            if self._size > self.most_bytes:
                self._size = self._make_room()

    def _make_room(self) -> int:
        """Remove what was not used longest until a tenth is free; the bytes left."""
        entries = sorted(self._entries())
        size = sum(one for _, one, _ in entries)
        for _, one, path in entries:
            if size <= self.most_bytes * 0.9:
                break
            path.unlink(missing_ok=True)
            size -= one
        return size

    def _entries(self) -> list[tuple[int, int, Path]]:
        """When each was last used (ns), its size, where it is."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                with contextlib.suppress(FileNotFoundError):
                    if entry.name.endswith(_SUFFIX):
                        facts = entry.stat()
                        found.append((facts.st_mtime_ns, facts.st_size, Path(entry.path)))
        return found


def _kept(path: Path) -> bytes | None:
    try:
        whole = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    content = whole[:-_SEAL_BYTES]
    return content if whole[-_SEAL_BYTES:] == _seal(content) and len(whole) >= _SEAL_BYTES else None


def _seal(content: bytes) -> bytes:
    return int(crc32c_of_bytes(np.frombuffer(content, dtype=np.uint8))).to_bytes(_SEAL_BYTES, "little")


def _bound() -> int:
    given = os.environ.get(CACHE_BYTES) or str(_DEFAULT_BYTES)
    if not (given.isascii() and given.isdigit()):
        raise InputError(f"{CACHE_BYTES}={given[:40]!r} is no number of bytes, as {_DEFAULT_BYTES} (4 GiB)")
    return int(given)
