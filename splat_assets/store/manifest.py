"""The seal of a published version: its contents, its origin, and the sha256 of every file.

The version's id is the hash of this content, so it holds no times: the same content published twice is the same version.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from splat_assets.store.documents import WRONG_CONTENT, json_of, read_bytes
from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.files import files_below, sha256_of_file, sha256_of_json, write_json
from splat_assets.text.progress import Progress, SilentProgress

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_FORMAT = "splat-store"
_ID_LENGTH = 16
VERSION_ID = re.compile(r"[0-9a-f]{16}")
_HASHERS = 4


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a version: its path below the version's folder, its size, and the sha256 of its bytes."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a version. provenance: whatever the publisher states (fingerprints, settings), as JSON values."""

    n_samples: int
    n_features: int
    nnz: int
    profile: str
    dtypes: dict[str, str]
    provenance: dict[str, Any]
    files: tuple[ManifestFile, ...]
    format: str = field(default=_FORMAT)
    format_version: int = field(default=FORMAT_VERSION)

    @property
    def version(self) -> str:
        """The id of the version: the first 16 hex digits of the sha256 of this content."""
        return sha256_of_json(asdict(self))[:_ID_LENGTH]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.bytes for file in self.files)

    def save(self, folder: Path) -> None:
        """Write `manifest.json` in folder."""
        write_json(folder / MANIFEST, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """The manifest in a version's folder.

        Raises:
            LayoutError: `manifest.json` is missing or of another format version.
            CorruptStoreError: it is damaged, or the folder is named after other content.
        """
        try:
            content = read_bytes(folder / MANIFEST)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise LayoutError(f"{folder} is not a version of a store: {MANIFEST} is missing") from error
        except ValueError as error:
            raise CorruptStoreError(f"{folder / MANIFEST} is not a store's manifest: {error}") from error
        return cls.parsed(content, folder)

    @classmethod
    def parsed(cls, content: bytes, folder: Path) -> "Manifest":
        """The manifest stated to be of the version in folder; errors as `load`."""
        path = folder / MANIFEST
        try:
            raw: dict[str, Any] = json_of(content)
            form = (raw["format"], raw["format_version"])
            if form != (_FORMAT, FORMAT_VERSION):
                raise LayoutError(
                    f"{path} is of format {form[0]} {form[1]}; this program reads {_FORMAT} {FORMAT_VERSION}"
                )
            manifest = cls(**{**raw, "files": tuple(ManifestFile(**file) for file in raw["files"])})
            _refuse_strange_content(manifest)
        except WRONG_CONTENT as error:
            raise CorruptStoreError(f"{path} is not a store's manifest: {error}") from error
        if VERSION_ID.fullmatch(folder.name) and folder.name != manifest.version:
            raise CorruptStoreError(
                f"{path} was changed: the version's id is the hash of its content, which is {manifest.version}, "
                f"not {folder.name}"
            )
        return manifest

    def mismatched_sizes(self, sizes: Mapping[str, int], where: str) -> list[str]:
        """The files that are missing or have another size, one sentence each. sizes: by path, of what is there."""
        return [
            f"{where}/{file.path} {'is missing' if size is None else f'has {size} bytes instead of {file.bytes}'}"
            for file in self.files
            if (size := sizes.get(file.path)) != file.bytes
        ]

    def problems(self, folder: Path, deep: bool) -> list[str]:
        """The problems of the files below folder: missing, of another size, or not listed; one sentence each.

        deep: where sizes agree, also compare every file's sha256.
        """
        there = {file.path: path for file in self.files if (path := folder / file.path).is_file()}
        problems = self.mismatched_sizes({name: path.stat().st_size for name, path in there.items()}, str(folder))
        listed = {file.path for file in self.files} | {MANIFEST}
        extra = [path.relative_to(folder).as_posix() for path in files_below(folder)]
        problems += [f"{folder / name} is not in the manifest" for name in extra if name not in listed]
        if deep and not problems:
            hashes = _hashes([folder / file.path for file in self.files], SilentProgress())
            problems = [
                f"{folder / file.path} holds other bytes than were published: sha256 {sha256} instead of {file.sha256}"
                for file, sha256 in zip(self.files, hashes, strict=True)
                if sha256 != file.sha256
            ]
        return problems


def _refuse_strange_content(manifest: Manifest) -> None:
    """Raise ValueError or TypeError for what no manifest of ours holds: paths that leave the folder, numbers that are none."""
    counts = [manifest.n_samples, manifest.n_features, manifest.nnz, *(file.bytes for file in manifest.files)]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("its counts must be whole numbers of 0 or more")
    for file in manifest.files:
        parts = PurePosixPath(file.path).parts
        if not parts or file.path.startswith("/") or ".." in parts:
            raise ValueError(f"{file.path!r} is not a file of the version")
    sha256_of_json(asdict(manifest))


def described_files(folder: Path, progress: Progress) -> tuple[ManifestFile, ...]:
    """Every file below folder, sorted by path, hashed."""
    paths = files_below(folder)
    hashes = _hashes(paths, progress)
    return tuple(
        ManifestFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256)
        for path, sha256 in zip(paths, hashes, strict=True)
    )


def _hashes(paths: Sequence[Path], progress: Progress) -> list[str]:
    """The sha256 of each file, several at a time: hashing lets other threads run."""
    hashes, n_bytes = [], sum(path.stat().st_size for path in paths)
    with ThreadPoolExecutor(_HASHERS) as pool, progress.task("hash files", n_bytes, "bytes") as task:
        for path, sha256 in zip(paths, pool.map(sha256_of_file, paths), strict=True):
            hashes.append(sha256)
            task.advance(path.stat().st_size)
    return hashes
