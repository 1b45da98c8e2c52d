"""The runs that are served, and the open version of each: `CURRENT` is checked on every request, without a restart.

A request holds its database until it ends; a version that was replaced is closed when its last request has ended.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from splat_assets.errors import InputError
from splat_assets.store.documents import is_folder, is_regular
from splat_assets.store.errors import LayoutError, NotPublishedError
from splat_assets.store.files import FileMark, file_mark
from splat_assets.store.layout import DataRoot, RunLayout, checked_name, is_name
from splat_assets.store.manifest import VERSION_ID
from splat_assets.store.published.publishing import current_version, newest_run, open_store
from splat_serving.database.aliases import Alias, alias_named
from splat_serving.database.errors import UnknownNameError
from splat_serving.database.folder import Folder
from splat_serving.database.home import Home
from splat_serving.database.local import LocalDatabase

_log = logging.getLogger(__name__)
_MOST_OPEN_RUNS = 16
_MOST_OLD_VERSIONS = 2


class PublishedRun:
    """The store of a run (or a store elsewhere), always at its current version."""

    def __init__(self, name: str, store: Path) -> None:
        """store: the folder of CURRENT."""
        self.name = name
        self.store = store
        self._lock = threading.Lock()
        self._open: tuple[FileMark, LocalDatabase] | None = None
        self._old: OrderedDict[str, LocalDatabase] = OrderedDict()

    @property
    def layout(self) -> RunLayout | None:
        """The folders of the run that the store belongs to; None for a store by itself."""
        layout = RunLayout(self.store.absolute().parent)
        return layout if layout.store == self.store.absolute() and layout.config.is_file() else None

    @property
    def home(self) -> Home | None:
        """Where its labels, scorecard and model are."""
        return self.layout

    @property
    def ready(self) -> LocalDatabase | None:
        """The current version if it is open already, None if `current` would have to open one."""
        opened = self._open
        return opened[1] if opened and opened[0] == self._mark() else None

    def current(self) -> LocalDatabase:
        """The current version, opened if need be; NotPublishedError, CorruptStoreError."""
        with self._lock:
            if (database_ := self.ready) is not None:
                return database_
            mark = self._mark()
            database = LocalDatabase(open_store(self.store), self.name)
            if mark is not None:
                self._open = (mark, database)
            _log.info("run %s: version %s is served", self.name, database.version)
            return database

    @property
    def opened(self) -> LocalDatabase | None:
        """The version that was current at the last request, without reading the disk; None before."""
        opened = self._open
        return opened[1] if opened else None

    def ready_version(self, version: str) -> LocalDatabase | None:
        """That version if it is open already, None if `version` would have to open it."""
        opened = self._open
        if opened is not None and opened[1].version == version:
            return opened[1]
        with suppress(KeyError):  # dropped by another thread meanwhile
            self._old.move_to_end(version)
        return self._old.get(version)

    def current_id(self) -> str:
        """The id of the current version, which need not be open; NotPublishedError, CorruptStoreError."""
        return current_version(self.store)

    def version(self, version: str) -> LocalDatabase:
        """That version, current or not; UnknownNameError when it is not there."""
        if not VERSION_ID.fullmatch(version):
            raise UnknownNameError(f"{version[:40]!r} is not a version id: version ids are 16 hexadecimal digits")
        with self._lock:
            if self._open is not None and self._open[1].version == version:
                return self._open[1]
            if version in self._old:
                self._old.move_to_end(version)
                return self._old[version]
            try:
                database = LocalDatabase(open_store(self.store / "versions" / version), self.name)
            except (NotPublishedError, LayoutError) as error:
                current = current_version(self.store)
                raise UnknownNameError(f"version {version} does not exist; the current one is {current}") from error
            self._old[version] = database
            while len(self._old) > _MOST_OLD_VERSIONS:
                self._old.popitem(last=False)
            return database

    def _mark(self) -> FileMark | None:
        return file_mark(self.store / "CURRENT")


class OpenFolder:
    """A folder of guide formats, opened once: nothing in it marks changes."""

    layout = None
    """Not part of a run."""

    def __init__(self, name: str, folder: Folder, alias: str | None = None) -> None:
        """alias: its alias, if it was opened by that."""
        self.name = name
        self.alias = alias
        self.home: Home | None = folder.home
        self.ready = self.opened = LocalDatabase(folder, name)

    def current(self) -> LocalDatabase:
        """The database."""
        return self.ready

    def current_id(self) -> str:
        """The fingerprint of the folder."""
        return self.ready.version

    def version(self, version: str) -> LocalDatabase:
        """The database, if that is its fingerprint; UnknownNameError."""
        if version != self.ready.version:
            raise UnknownNameError(f"this folder has the version {self.ready.version}, not {version[:40]!r}")
        return self.ready

    ready_version = version


Run = PublishedRun | OpenFolder


@dataclass(frozen=True, slots=True)
class Target:
    """What to serve: a default, and the runs of a data root."""

    default: Run | None
    root: DataRoot | None

    @classmethod
    def of(cls, name: str | None, root: DataRoot) -> "Target":
        """What a name stands for: a run of the root, a folder by path, or the target of an alias.

        Args:
            name: None for all runs of the root, of which the one that was published last is the default.
            root: Its other runs are served beside a run; those of a folder are not.

        Raises:
            InputError: For a name that stands for nothing, for two things, or for a server.
            LayoutError: For a folder without activations in a known format.
        """
        if name is None:
            return cls(None, root)
        if (alias := alias_named(name, root)) is not None:
            return cls._of_alias(alias, root)
        if is_folder(name):
            return cls(_at(Path(name)), None)
        try:
            layout = root.run(name)
        except InputError:
            raise InputError(f"{name[:200]} is neither a run of {root.path} nor a folder nor an alias") from None
        if not layout.root.is_dir():
            known = ", ".join(_run_names(root)[:8]) or "none"
            raise InputError(
                f"{name} is neither a run of {root.path} (it has {known}) nor a folder nor an alias (`splat alias` lists those)"
            )
        return cls(PublishedRun(name, layout.store), root)

    @classmethod
    def _of_alias(cls, alias: Alias, root: DataRoot) -> "Target":
        if alias.is_url:
            raise InputError(f"{alias.name} is an alias of the server {alias.target}, which is not on this machine")
        path = Path(alias.target)
        if not path.is_absolute():
            return cls(PublishedRun(alias.target, root.run(alias.target).store), root)
        if not path.is_dir():
            raise InputError(
                f"{alias.name} is an alias of {path}, which no longer exists: update it with `splat alias {alias.name} PATH`"
            )
        if not alias.parts and Folder.is_published(path):
            return cls(_at(path), None)
        return cls(OpenFolder(alias.name, folder_of(path, alias.parts), alias.name), None)


def folder_of(path: Path, parts: Mapping[str, Path | None]) -> Folder:
    """A folder of the guide's formats with its options by name (`aliases.ALIAS_OPTIONS`); errors as `Folder.open`."""
    folders = [
        path,
        *(folder for name in ("transposed_dir", "neuron_acts_dir") if (folder := parts.get(name)) is not None),
    ]
    files = {"vocab": "vocab_path", "weapon_vocab": "weapon_vocab_path"}
    files |= {name: name for name in ("model_checkpoint", "sae_checkpoint")}
    return Folder.open(
        *folders,
        vocab=parts.get("vocab_path"),
        weapon_vocab=parts.get("weapon_vocab_path"),
        examples=parts.get("examples_dir"),
        files={name: place for name, part in files.items() if (place := parts.get(part)) is not None},
    )


def _at(path: Path) -> Run:
    name = path.resolve().name
    for folder in (path, path / "store"):
        if (folder / "CURRENT").is_file() or (folder / "versions").is_dir():
            return PublishedRun(name if folder == path / "store" else path.resolve().parent.name, folder)
    if (path / "manifest.json").is_file():
        return PublishedVersion(name, path)
    return OpenFolder(name, Folder.open(path))


class PublishedVersion(PublishedRun):
    """One version's folder, served as it is."""

    @property
    def layout(self) -> RunLayout | None:
        """The folders of the run that the version belongs to; None for a version by itself."""
        return PublishedRun(self.name, self.store.absolute().parent.parent).layout

    def _mark(self) -> FileMark | None:
        return file_mark(self.store / "manifest.json")

    def ready_version(self, version: str) -> LocalDatabase | None:
        """That version if it is this one and open; None if `version` would have to open it or fail."""
        opened = self.opened
        return opened if opened is not None and opened.version == version else None

    def current_id(self) -> str:
        """The id of the version."""
        return self.current().version

    def version(self, version: str) -> LocalDatabase:
        """The database, if that is its id; UnknownNameError."""
        database = self.current()
        if version != database.version:
            raise UnknownNameError(f"only version {database.version} is served here, not {version[:40]!r}")
        return database


class Catalogue:
    """The runs that are served, by name; the one without a name is the default. Safe to use from threads.

    A database stays usable for who holds it, also when another version becomes the current one.

    Examples:
        >>> from pathlib import Path
        >>> from splat_assets.store.layout import DataRoot
        >>> from splat_serving.database.catalogue import Catalogue, Target
        >>> catalogue = Catalogue(Target.of(None, DataRoot(Path("data"))))
        >>> (catalogue.names(), catalogue.run().name)
        (['demo'], 'demo')
        >>> catalogue.run().current().version == catalogue.run("demo").current_id()
        True
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._default = target.default

    @property
    def opened(self) -> LocalDatabase | None:
        """The version of the default run at the last request, without reading the disk; None before the first."""
        return self._default.opened if self._default else None

    def names(self) -> list[str]:
        """The names of the served runs, the default included."""
        named = _run_names(self._target.root) if self._target.root else []
        own = [self._target.default.name] if self._target.default else []
        return sorted({*named, *own})

    def run(self, name: str | None = None) -> Run:
        """The run of that name, or the default one.

        Raises:
            UnknownNameError: Lists the names.
            NotPublishedError: When the default one is wanted and no run of the root is published.
        """
        if name is None:
            return self._target.default or self._latest()
        default = self._target.default
        if default is not None and name == default.name:
            return default
        with self._lock:
            if name in self._runs:
                self._runs.move_to_end(name)
                return self._runs[name]
            run_ = self._open_run(name)
            self._runs[name] = run_
            while len(self._runs) > _MOST_OPEN_RUNS:
                self._runs.popitem(last=False)
            return run_

    def _open_run(self, name: str) -> Run:
        if self._target.root is not None:
            try:
                checked_name(name, "run")
            except InputError as error:
                raise UnknownNameError(str(error)) from None
            layout = self._target.root.run(name)
            if is_regular(layout.config) or is_regular(layout.store / "CURRENT"):
                return PublishedRun(name, layout.store)
        there = ", ".join(self.names()[:20]) or "none"
        raise UnknownNameError(f"unknown run {name[:60]!r}; served runs are: {there}")

    def _latest(self) -> Run:
        """Of the root's runs the one that was published last."""
        assert self._target.root is not None
        root = self._target.root
        name = newest_run(root)
        if name is None:
            for each in _run_names(root):  # an unreadable store is not a missing one
                is_regular(root.run(each).store / "CURRENT")
            raise NotPublishedError(f"no run of {root.path} is published yet: `splat materialize RUN` publishes one")
        self._default = self.run(name)
        return self._default


def _run_names(root: DataRoot) -> list[str]:
    """The runs of the root; folders with other names are ignored."""
    return [name for name in root.run_names() if is_name(name)]
