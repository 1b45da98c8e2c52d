"""The files of a published version that lie in a bucket: sizes from one listing, bytes by range, cached on this machine.

A version never changes, so its cached bytes stay valid.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.store.bucket.bucket import Bucket, MissingObjectError
from splat_assets.store.bucket.read_cache import ReadCache
from splat_assets.store.errors import CorruptStoreError


class RemoteFiles:
    """Files below a prefix, by name. Safe for threads and to send to other processes."""

    def __init__(self, bucket: Bucket, cache: ReadCache, folder: str = "") -> None:
        """bucket: of the version. folder: that of the version in which the names lie."""
        self.bucket = bucket
        self._cache = cache
        self._folder = folder

    def __reduce__(self) -> tuple[type["RemoteFiles"], tuple[Bucket, ReadCache, str]]:
        return RemoteFiles, (self.bucket, self._cache, self._folder)

    def below(self, folder: str) -> "RemoteFiles":
        """The files in a folder of these."""
        return RemoteFiles(self.bucket, self._cache, self._named(folder))

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The size of each file by name, as one listing says."""
        start = f"{self._folder}/" if self._folder else ""
        listed = self.bucket.listed(self._folder)
        return {name.removeprefix(start): one.size_bytes for name, one in listed.items()}

    def read(self, name: str) -> bytes:
        """A whole file; CorruptStoreError where it is gone, BucketError."""
        where = self._named(name)
        return self._kept(where, lambda: self.bucket.read(where))

    def read_into(self, name: str, into: npt.NDArray[Any], offset: int) -> None:
        """Fill the C-contiguous array with the file's bytes from offset on, in one request; errors as `read`."""
        where, n_bytes = self._named(name), into.nbytes
        if not n_bytes:
            return
        content = self._kept(f"{where}:{offset}+{n_bytes}", lambda: self.bucket.read_range(where, offset, n_bytes))
        if len(content) != n_bytes:
            raise CorruptStoreError(f"{self.bucket.url}/{where} ends before byte {offset + n_bytes}: it was cut short")
        into.view(np.uint8).reshape(-1)[:] = np.frombuffer(content, dtype=np.uint8)

    def _kept(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        try:
            return self._cache.get(f"{self.bucket.url}/{key}", fetch)
        except MissingObjectError as error:
            raise CorruptStoreError(f"{error}: the version was removed or damaged; open the store again") from error

    def forget(self) -> None:
        """Drop the cache: a cached entry fails its checksum."""
        self._cache.clear()

    @contextmanager
    def downloaded(self, name: str) -> Iterator[Path]:
        """All of them in a temporary folder of that name, past what is kept."""
        with tempfile.TemporaryDirectory(prefix="splat-") as scratch:
            folder = Path(scratch) / name
            for one in self.bucket.listed(self._folder):
                path = folder / one.removeprefix(f"{self._folder}/" if self._folder else "")
                path.parent.mkdir(parents=True, exist_ok=True)
                self.bucket.fetch(one, path)
            yield folder

    def zarr_store(self) -> Any:
        """These files as a store that zarr reads."""
        from zarr.storage import ObjectStore

        return ObjectStore((self.bucket.below(self._folder) if self._folder else self.bucket).objects, read_only=True)

    def _named(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name


class RemoteFile:
    """One file of these, as `ranges` reads it."""

    def __init__(self, files: RemoteFiles, root: Path, path: Path) -> None:
        """root: what the files are called from; path: below it."""
        self._files = files
        self._name = PurePosixPath(path.relative_to(root)).as_posix()
        self._path = path
        if self._name not in files.sizes:
            raise CorruptStoreError(f"{path} is missing in {files.bucket.url}")

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self._files.sizes[self._name]

    def read_into(self, into: npt.NDArray[Any], offset: int) -> None:
        """As `RemoteFiles.read_into`."""
        self._files.read_into(self._name, into, offset)

    def close(self) -> None:
        """No-op: nothing is open."""
