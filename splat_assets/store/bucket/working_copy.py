"""A data root in a bucket, worked on in a folder: inputs are pulled, finished outputs are pushed.

The folder knows its bucket by the file `.bucket`, as a checkout knows its repository; every path in it is an ordinary
path.
Published versions are not pulled: they are read in place, by range (`remote`), and published with a condition
(`shared_store`).

    SPLAT_DATA          s3://bucket/prefix
    SPLAT_WORKING_COPY  the folder; ~/.cache/splat/<bucket>/<prefix> where it is not set
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from splat_assets.errors import InputError
from splat_assets.store.bucket.bucket import Bucket, MissingFileError, MissingObjectError, Object
from splat_assets.store.bucket.read_cache import ReadCache
from splat_assets.store.bucket.remote import RemoteFiles
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.files import (
    FileMark,
    file_mark,
    locked,
    remove_leftovers,
    replacing_file,
    sha256_of_file,
    write_json,
)

logger = logging.getLogger(__name__)

MARK = ".bucket"
FOLDER = "SPLAT_WORKING_COPY"
_STATE = ".brought.json"
_THERE = ".there.json"
_LOCK = ".bucket.lock"
_CACHE = "read"
_AT_ONCE = 8
_OWN = ("cache", "dagster", "labels", _CACHE)
"""Folders of the data root that stay on this machine, or, as labels, are synced in their own way."""
_HEAVY = ("raw_activations", "activations_efficient", "activations_transposed", "neuron_acts", "dataset")
"""Folders of a run that only its steps need."""

Wanted = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Shared:
    """A file as it was when folder and bucket had the same. tag: there. mark, sha256: here.

    The mark says quickly that nothing was changed. Where it is another one, the content decides: a working copy that was itself
    copied has other marks everywhere, and nothing in it was changed. sha256: empty where an older program wrote this down.
    """

    tag: str
    mark: FileMark
    sha256: str


_Known = dict[str, _Shared]
"""By name."""
_NO_MARK: FileMark = (-1, -1, -1, -1)


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """The working copy of a bucket."""

    root: Path
    bucket: Bucket

    @classmethod
    def of(cls, bucket: Bucket, environment: Mapping[str, str] = os.environ) -> "WorkingCopy":
        """The one of a bucket on this machine, its folder made if need be; InputError where it is of another bucket."""
        named = environment.get(FOLDER)
        root = (Path(named) if named else _home() / bucket.name / (bucket.prefix or "root")).absolute()
        mark = root / MARK
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not mark.exists():
                if any(root.iterdir()):
                    raise InputError(
                        f"{root} is to be the working copy of {bucket.url} but holds other files: choose an empty "
                        f"{FOLDER}"
                    )
                mark.write_text(f"{bucket.url}\n", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{root}, the working copy of {bucket.url}, cannot be created ({error.strerror}): choose another "
                f"in {FOLDER}"
            ) from error
        enclosing = cls.containing(root)
        if enclosing is None or enclosing.bucket.url != bucket.url:
            raise InputError(
                f"{root} is the working copy of another bucket than {bucket.url}: choose another folder in {FOLDER}"
            )
        return enclosing

    @classmethod
    def containing(cls, path: Path) -> "WorkingCopy | None":
        """The working copy that contains a path; None outside of any."""
        for folder in (path, *path.parents):
            mark = folder / MARK
            if mark.is_file():
                return cls(folder, Bucket(mark.read_text(encoding="utf-8").strip()))
        return None

    @property
    def cache(self) -> ReadCache:
        """The cache of published versions."""
        return ReadCache(self.root / _CACHE)

    def name_of(self, path: Path) -> str:
        """The name in the bucket of a path here."""
        return path.absolute().relative_to(self.root).as_posix()

    def files_of(self, folder: Path) -> RemoteFiles:
        """The files of a version, in the bucket."""
        return RemoteFiles(self.bucket.below(self.name_of(folder)), self.cache)

    def pull(self, wanted: Wanted | None = None) -> list[str]:
        """Fetch what the bucket has and this folder has not, or has as it was once.

        Local changes not yet pushed stay. What was removed from the bucket is removed here too. One process at a time pulls or
        pushes; others wait.

        Args:
            wanted: which names; those that a server needs if left out (`is_light`).

        Returns:
            The names of the files that were fetched.

        Raises:
            BucketError: the bucket refused or did not answer.
        """
        wanted = wanted or is_light
        with locked(self.root / _LOCK):
            there = {name: one for name, one in self.bucket.listed().items() if _is_shared(name)}
            write_json(self.root / _THERE, {name: one.size_bytes for name, one in there.items()})
            listed = {name: one for name, one in there.items() if wanted(name)}
            known = self._known()
            for name in [one for one in known if wanted(one) and one not in listed]:
                self._forget(name, known)
            new = [name for name, one in listed.items() if self._is_older(name, one, known)]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for part in _in_turns(new):
                    for name, fact in pool.map(lambda name: (name, self._fetched(name)), part):
                        known[name] = fact
            if new:
                logger.info("%d files pulled from %s", len(new), self.bucket.url)
            self._remember(known)
        return new

    def pull_run(self, name: str) -> list[str]:
        """Fetch a run whole, of its versions the current one, and everything that runs are made from; the names. BucketError."""
        start = f"runs/{name}/"
        try:
            version = self.bucket.read(f"{start}store/CURRENT").decode("ascii", errors="replace").strip()
        except MissingObjectError:
            version = ""
        current = f"{start}store/versions/{version}/"

        def wanted(one: str) -> bool:
            return (
                is_light(one)
                or one.startswith(("datasets/", current))
                or one.startswith(start)
                and not _is_published(one)
            )

        return self.pull(wanted)

    def exists_remotely(self, path: Path, n_files: int, size_bytes: int) -> bool:
        """Whether the bucket had, when it was last looked at, so many files at or below a path, with so many bytes in all."""
        name = self.name_of(path)
        try:
            sizes = dict(read_json(self.root / _THERE))
        except (FileNotFoundError, *WRONG_CONTENT):
            return False
        own = [size for one, size in sizes.items() if one == name or one.startswith(f"{name}/")]
        return (len(own), sum(own)) == (n_files, size_bytes)

    def push(self, remade: Iterable[Path] = ()) -> list[str]:
        """Write what is new or changed here to the bucket: bytes first, then receipts, then what says which version is current.

        Args:
            remade: files and folders that were made anew here and whole, so that what the bucket has below them and this folder
                has not is of an earlier make: it is removed there. Nothing else ever is: a folder like this one may be emptied
                to make room.

        Returns:
            The names of what was written or removed.

        Raises:
            BucketError: the bucket refused or did not answer; a later call goes on.
        """
        with locked(self.root / _LOCK):
            known = self._known()
            here = dict(self._here())
            new = [name for name in here if not self._is_as_shared(name, known)]
            for name in [name for name in known if name not in here and _is_sent(name)]:
                del known[name]
            gone = [name for path in remade for name in self.bucket.listed(self.name_of(path)) if name not in here]
            # What says that something is finished goes last: whoever brings it brings what it speaks of.
            for part in _in_turns(new):
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    for name, fact in pool.map(lambda name: (name, self._sent(name, here[name])), part):
                        if fact is not None:
                            known[name] = fact
                self._remember(known)
            self.bucket.delete([name for name in gone if _is_sent(name)])
            self._remember(known)
            if new or gone:
                logger.info("%d files pushed to %s, %d removed there", len(new), self.bucket.url, len(gone))
        return [*new, *gone]

    def _sent(self, name: str, mark: FileMark) -> _Shared | None:
        """None for a file that was removed since it was listed."""
        path = self.root / name
        try:
            sha256 = sha256_of_file(path)  # before it is sent: what is changed meanwhile is sent again
            return _Shared(self.bucket.write(name, path), mark, sha256)
        except (FileNotFoundError, MissingFileError):
            return None

    def _here(self) -> Iterator[tuple[str, FileMark]]:
        """Name and mark of every shared file."""
        for folder, folders, files in os.walk(self.root):
            within = Path(folder).relative_to(self.root)
            folders[:] = [one for one in folders if _is_sent((within / one / "x").as_posix())]
            for one in files:
                name = (within / one).as_posix()
                if _is_sent(name) and (mark := file_mark(Path(folder) / one)) is not None:
                    yield name, mark

    def _is_older(self, name: str, there: Object, known: _Known) -> bool:
        """Whether the folder is empty, or holds only files that the bucket no longer has."""
        path = self.root / name
        if not path.is_file():
            return True
        is_same_there = name in known and known[name].tag == there.tag
        if is_same_there or _is_pointer(name):  # a pointer is written there first
            return not is_same_there
        return self._is_as_shared(name, known)

    def _is_as_shared(self, name: str, known: _Known) -> bool:
        """Whether a file here is what the bucket had once, and not changed since; a new mark of the same content is noted."""
        fact, mark = known.get(name), file_mark(self.root / name)
        if fact is None or mark is None:
            return False
        if mark == fact.mark:
            return True
        if not fact.sha256 or sha256_of_file(self.root / name) != fact.sha256:
            return False
        known[name] = replace(fact, mark=mark)
        return True

    def _fetched(self, name: str) -> _Shared:
        path = self.root / name
        remove_leftovers(path.parent, path.name)
        with replacing_file(path) as aside:
            tag = self.bucket.fetch(name, aside)
            sha256, inode = sha256_of_file(aside), aside.stat().st_ino
        mark = file_mark(path)  # renaming changed it
        return _Shared(tag, mark if mark is not None and mark[2] == inode else _NO_MARK, sha256)

    def _forget(self, name: str, known: _Known) -> None:
        if self._is_as_shared(name, known):
            (self.root / name).unlink()
        del known[name]

    def _known(self) -> _Known:
        try:
            facts = read_json(self.root / _STATE)
            return {name: self._as_shared(name, *fact) for name, fact in facts.items()}
        except FileNotFoundError:
            return {}
        except WRONG_CONTENT:
            logger.warning("%s cannot be read: all files are compared again", self.root / _STATE)
            return {}

    def _as_shared(self, name: str, tag: str, *facts: Any) -> _Shared:
        """The record of a file: tag, mark and sha256; by an older program, tag, size and time of writing."""
        if type(facts[0]) is list:
            (mtime, ctime, inode, size), sha256 = facts
            return _Shared(tag, (mtime, ctime, inode, size), sha256)
        mark = file_mark(self.root / name)
        is_same = mark is not None and (mark[3], mark[0]) == facts
        return _Shared(tag, mark if mark is not None and is_same else _NO_MARK, "")

    def _remember(self, known: _Known) -> None:
        write_json(self.root / _STATE, {name: [one.tag, one.mark, one.sha256] for name, one in known.items()})


def _home() -> Path:
    """The folder of this user's working copies."""
    try:
        return Path.home() / ".cache" / "splat"
    except RuntimeError as error:
        raise InputError(f"this user does not have a home folder: set HOME, or set a folder in {FOLDER}") from error


def display_location(path: Path) -> str:
    """The display name of a path: the path itself, or its URL in the bucket."""
    copy = WorkingCopy.containing(path)
    if copy is None:
        return str(path)
    return f"{copy.bucket.url}/{copy.name_of(path)}".removesuffix("/.")


@contextmanager
def sharing(path: Path) -> Iterator[WorkingCopy | None]:
    """In a working copy, push the changes made inside at the end, also after a failure; elsewhere nothing happens."""
    copy = WorkingCopy.containing(path)
    try:
        yield copy
    finally:
        if copy is not None:
            copy.push()


def is_light(name: str) -> bool:
    """Whether readers of runs need it: descriptions, models, scorecards, pointers, manifests."""
    parts = name.split("/")
    if parts[0] == "datasets":
        return False
    if parts[0] != "runs" or len(parts) < 4:
        return True
    if parts[2] == "store":
        return parts[3:] in (["CURRENT"], ["publications.json"], ["PINNED"]) or (
            parts[3] == "versions" and parts[5:] == ["manifest.json"]
        )
    return parts[2] not in _HEAVY


def _is_shared(name: str) -> bool:
    """Whether a name of the bucket may become a file here: no hidden one, none of this machine's own folders."""
    parts = name.split("/")
    return all(part and not part.startswith(".") for part in parts) and parts[0] not in _OWN


def _is_sent(name: str) -> bool:
    """Whether a file here belongs into the bucket by way of `send`: published versions, their pointer and record do not."""
    return _is_shared(name) and not _is_pointer(name) and not _is_published(name)


def _is_pointer(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "runs" and parts[2:] in (["store", "CURRENT"], ["store", "publications.json"])


def _is_published(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "runs" and parts[2:4] == ["store", "versions"]


def _in_turns(names: list[str]) -> list[list[str]]:
    """Bytes first, then receipts and what describes a run, then what says which version is the current one."""
    turns: tuple[list[str], ...] = ([], [], [])
    for name in names:
        describes = "/receipts/" in name or name.endswith(("/run.toml", "/publications.json"))
        turns[2 if name.endswith("/CURRENT") else 1 if describes else 0].append(name)
    return [part for part in turns if part]
