"""The files of a version by name, each compared with the sha256 that the version's manifest states before its bytes are used."""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.store.bucket.remote import RemoteFiles
from splat_assets.store.documents import read_bytes
from splat_assets.store.errors import CorruptStoreError


class SealedFiles:
    """Files below a folder whose sha256 is known. Safe for threads and to send to other processes."""

    def __init__(self, folder: Path, sha256: Mapping[str, str], remote: RemoteFiles | None = None) -> None:
        """sha256: by path below folder, in hex. remote: the files, where they lie in a bucket; folder then only names them."""
        self.folder = folder
        self._sha256 = dict(sha256)
        self._remote = remote

    def __contains__(self, name: str) -> bool:
        return name in self._sha256

    def has(self, name: str) -> bool:
        """Whether a file, or a folder with files, is called name."""
        return name in self._sha256 or any(path.startswith(f"{name}/") for path in self._sha256)

    def below(self, name: str) -> "SealedFiles":
        """Those in a folder of these."""
        inside = {
            path.removeprefix(f"{name}/"): sha256
            for path, sha256 in self._sha256.items()
            if path.startswith(f"{name}/")
        }
        return SealedFiles(self.folder / name, inside, None if self._remote is None else self._remote.below(name))

    def content(self, name: str) -> bytes:
        """The bytes of a file, which are those that were published; CorruptStoreError, BucketError."""
        path = self.folder / name
        if name not in self._sha256:
            raise CorruptStoreError(f"{path} is not in the manifest of its version: publish again")
        content, sha256 = self._read(name)
        if sha256 != self._sha256[name] and self._remote is not None:
            self._remote.forget()  # bytes that were kept may be those of before the bucket was repaired
            content, sha256 = self._read(name)
        if sha256 != self._sha256[name]:
            raise CorruptStoreError(
                f"{path} holds other bytes than were published: sha256 {sha256} instead of {self._sha256[name]}; "
                "go back to another version or publish again"
            )
        return content

    def opened(self, path: Path) -> "HeldFile":
        """The file at a path below folder, in memory; errors as `content`."""
        return HeldFile(path, self.content(PurePosixPath(path.relative_to(self.folder)).as_posix()))

    def _read(self, name: str) -> tuple[bytes, str]:
        path = self.folder / name
        try:
            content = read_bytes(path) if self._remote is None else self._remote.read(name)
        except FileNotFoundError as error:
            raise CorruptStoreError(
                f"{path} no longer exists: its version was removed or damaged while it was open; open the store again"
            ) from error
        except (OSError, ValueError) as error:
            raise CorruptStoreError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        return content, hashlib.sha256(content).hexdigest()


class HeldFile:
    """The bytes of a file, as `ranges` reads one."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        self._content = content

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return len(self._content)

    def read_into(self, into: npt.NDArray[Any], offset: int) -> None:
        """Fill the C-contiguous array with its bytes from offset on; CorruptStoreError when it ends before that."""
        part = self._content[offset : offset + into.nbytes]
        if len(part) != into.nbytes:
            raise CorruptStoreError(f"{self._path} ends before byte {offset + into.nbytes}: it was cut short")
        into.view(np.uint8).reshape(-1)[:] = np.frombuffer(part, dtype=np.uint8)

    def close(self) -> None:
        """Nothing is open."""
