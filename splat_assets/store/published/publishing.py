"""Publishing: finished parts become an immutable version, and one pointer says which version is current.

    store/CURRENT             one line: the id of the version that readers open
    store/versions/<id>/      files that never change, sealed by manifest.json
    store/publications.json   when each version was published, see `publications`
    store/PINNED              ids of versions that are never deleted, one a line; where there are any

A version is put together aside, hashed, re-opened and verified, flushed to disk and renamed; then its publication is
recorded, and only then CURRENT is replaced. Killed in between, the record tells of a version that is whole and not yet
current.
A reader that opened a version before can go on reading it.
"""

import errno
import logging
import os
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from splat_assets.errors import InputError, SplatError
from splat_assets.store.activations import feature_id_dtype, sample_id_dtype
from splat_assets.store.bucket.bucket import SCHEME, Bucket, BucketError, MissingObjectError
from splat_assets.store.bucket.read_cache import ReadCache
from splat_assets.store.bucket.remote import RemoteFiles
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import access_denied, read_bytes
from splat_assets.store.errors import CorruptStoreError, LayoutError, NotPublishedError, StoreError
from splat_assets.store.files import (
    FileMark,
    file_mark,
    files_below,
    locked,
    remove_leftovers,
    replacing_file,
    staging_path,
    sync_folder,
    sync_tree,
)
from splat_assets.store.layout import DataRoot, is_name
from splat_assets.store.manifest import MANIFEST, VERSION_ID, Manifest, described_files
from splat_assets.store.published.publications import (
    PUBLICATIONS,
    highest_sequence,
    publication_order,
    read_publications,
    stores_beside,
    with_publication,
    write_publications,
)
from splat_assets.store.published.shared_store import SharedStore
from splat_assets.store.published.version import ACTIVATIONS, Store, content_problems
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.text.progress import Progress, SilentProgress

_CURRENT = "CURRENT"
_PINNED = "PINNED"
_VERSIONS = "versions"
_LOCK = ".lock"
_LONGEST_POINTER = 64
_NO_HARD_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK)


def publish(
    store: Path | str,
    staged: Mapping[str, Path],
    facts: Mapping[str, Any],
    progress: Progress | None = None,
) -> str:
    """Make a version of the staged parts, verify it, make it the current one, and return its id.

    The same content again gives the same id and changes nothing. In the working copy of a bucket the version is published
    there, too, before it is the current one here. After an error the previous version is still the current one.

    Args:
        store: the folder of CURRENT and versions/.
        staged: files and folders by their name in the version (`activations.zarr`, `samples.parquet`). They are hard-linked,
            so replace a staged file, never change it in place.
        facts: what the version was made from, as JSON values without times.
        progress: where to report progress.

    Returns:
        The id of the version: 16 hex digits of the sha256 of its content.

    Raises:
        LayoutError: a staged part is missing.
        CorruptStoreError: the parts contradict each other.
        DiskFullError: the disk is full.
        BucketError: the bucket refused or did not answer.
        PublishedMeanwhileError: another writer published this run meanwhile.

    Examples:
        >>> version = publish(folder / "store", {"activations.zarr": sparse}, {"sae": "an example"})
        >>> version == current_version(folder / "store")
        True
    """
    store, progress = Path(store), progress or SilentProgress()
    _check_staged(staged)
    read_publications(store)
    versions = store / _VERSIONS
    shared = SharedStore.of(store)
    before = shared.pointer() if shared else None
    with explaining_write_errors("a version of the store", store), locked(store / _LOCK):
        remove_leftovers(versions)
        aside = staging_path(versions / "version")
        try:
            aside.mkdir(parents=True)
            manifest = _put_together(aside, staged, facts, progress)
            if not _is_sound_copy(versions / manifest.version, manifest, aside):
                if problems := content_problems(aside):
                    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                    raise CorruptStoreError(
                        f"not published, because {problems[0]}{more}; the previous version stays current"
                    )
                _move_into_place(aside, versions / manifest.version)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        if shared and before:
            with progress.step(f"pushing version {manifest.version} to {shared.copy.bucket.url}"):
                write_publications(store, shared.publish(manifest.version, before))
        else:
            _record(store, manifest.version)
        with replacing_file(store / _CURRENT) as pointer:
            pointer.write_text(f"{manifest.version}\n", encoding="ascii")
    return manifest.version


def open_store(path: Path | str) -> Store:
    """The newest published version of a store, opened for reading.

    Args:
        path: the folder of a run, its `store` folder, one version's folder, or the URL of any of these in a bucket.

    Returns:
        The version that CURRENT names now; a later publication is seen by opening again. In the working copy of a bucket, a
        version that is not whole here is read from the bucket.

    Raises:
        NotPublishedError: nothing was published at path.
        CorruptStoreError: the version is damaged or cannot be read.

    Examples:
        >>> version = publish(folder / "store", {"activations.zarr": sparse}, {})
        >>> open_store(folder / "store").feature(1).values
        array([2.5, 0.5], dtype=float32)
    """
    if str(path).startswith(SCHEME):
        return _open_there(str(path))
    path = Path(path)
    try:
        if (path / MANIFEST).is_file():
            return _version_at(path)
        for folder in (path, path / "store"):
            if os.path.lexists(folder / _CURRENT):
                return _open_current(folder)
    except PermissionError as error:
        raise access_denied(error, path) from error
    except OSError as error:
        raise CorruptStoreError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    raise NotPublishedError(
        f"{path} holds no published store: neither {_CURRENT} nor store/{_CURRENT} is there; `splat materialize RUN` publishes "
        "a run, and `splat import FOLDER --out DIR` makes a store of a folder in the guide's formats"
    )


def current_version(store: Path | str) -> str:
    """The id of the current version of the store folder.

    Raises:
        NotPublishedError: nothing was published there.
        CorruptStoreError: the pointer cannot be read, or does not hold an id.
    """
    try:
        version = read_bytes(Path(store) / _CURRENT)[:_LONGEST_POINTER].decode("ascii", errors="replace").strip()
    except FileNotFoundError as error:
        raise NotPublishedError(
            f"{store} does not have a published version yet; `splat materialize RUN` publishes it"
        ) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CorruptStoreError(f"{Path(store) / _CURRENT} cannot be read: {why}") from error
    if not VERSION_ID.fullmatch(version):
        raise CorruptStoreError(f"{Path(store) / _CURRENT} says {version!r}, which is not a version id; publish again")
    return version


logger = logging.getLogger(__name__)


def newest_run(root: DataRoot) -> str | None:
    """The default run; None when no run has a published version.

    Two runs of the same number were published at the same moment by machines that did not see each other: the time, then the
    name decides. Runs without a record are older than all others, and the last by name is the newest of them. One whose
    pointer or record cannot be read comes after those.
    """
    ranks = {}
    for name in root.run_names():
        if is_name(name):
            store = root.run(name).store
            pointer = file_mark(store / "CURRENT")
            if pointer is not None:
                ranks[name] = _rank(store, pointer, file_mark(store / PUBLICATIONS))
    return max(ranks, key=lambda name: (*ranks[name], name), default=None)


@lru_cache(maxsize=4_096)
def _rank(store: Path, pointer: FileMark, record: FileMark | None) -> tuple[int, str]:
    """The number and the time of the current version's publication; read once per state of the files that say so."""
    try:
        version = current_version(store)
    except SplatError:
        return -2, ""  # whoever opens it says why
    try:
        publication = read_publications(store).get(version)
    except SplatError as error:
        logger.warning("%s", error)
        return -1, ""
    if publication is None:
        return -1, ""
    return publication.sequence, publication.at.isoformat() if publication.at else ""


def remove_old_versions(store: Path | str, keep_last: int) -> list[str]:
    """Delete all but the current version, pinned ones, and the keep_last - 1 others published last; the ids of the deleted.

    What was published last is in the store's record, see `publications`; CorruptStoreError when that cannot be read.
    Who has a deleted version open keeps what was opened of it (the activations by feature, as a rule) and nothing else: keep
    as many as readers may hold.
    """
    store = Path(store)
    if keep_last < 1:
        raise InputError(f"keep_last is {keep_last}: at least the current version must be kept")
    shared = SharedStore.of(store)
    with locked(store / _LOCK):
        if shared is None:
            current, publications, there = current_version(store), read_publications(store), _versions_in(store)
        else:
            current, publications, there = shared.pointer().version, shared.publications()[0], shared.versions()
        others = there - {current, *pinned_versions(store)}
        old = sorted(others, key=publication_order(publications), reverse=True)[keep_last - 1 :]
        for version in old:
            if shared is not None:
                shared.remove(version)
            folder = store / _VERSIONS / version
            if folder.exists():
                doomed = staging_path(folder)
                os.rename(folder, doomed)
                shutil.rmtree(doomed)
    return sorted(old)


def _record(store: Path, version: str) -> None:
    """Record that a version is published, before CURRENT is switched; after a kill in between, the next call repeats it."""
    try:
        current = current_version(store)
    except StoreError:  # none, or a pointer that cannot be read and is replaced now
        current = None
    highest = highest_sequence(stores_beside(store))
    write_publications(store, with_publication(read_publications(store), version, current, highest))


def pinned_versions(store: Path | str) -> tuple[str, ...]:
    """The versions that are never deleted, by id; CorruptStoreError when `PINNED` cannot be read."""
    path = Path(store) / _PINNED
    try:
        return tuple(line for line in read_bytes(path).decode("ascii").split() if VERSION_ID.fullmatch(line))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise CorruptStoreError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def pin_version(store: Path | str, version: str, pinned: bool = True) -> None:
    """Pin or unpin a version; InputError lists the versions there are when it is none of them."""
    store = Path(store)
    with locked(store / _LOCK):
        there = sorted(_versions_in(store))
        if version not in there:
            raise InputError(f"version {version[:40]!r} is not in {store}; there are {', '.join(there) or 'none'}")
        others = [one for one in pinned_versions(store) if one != version]
        with replacing_file(store / _PINNED) as aside:
            aside.write_text("".join(f"{one}\n" for one in [*others, *([version] if pinned else [])]), encoding="ascii")


def _check_staged(staged: Mapping[str, Path]) -> None:
    if ACTIVATIONS not in staged:
        raise LayoutError(f"{ACTIVATIONS} is not among what is to be published: write the sparse store first")
    for name, path in staged.items():
        parts = PurePosixPath(name).parts
        if (
            name == MANIFEST
            or not parts
            or PurePosixPath(name).is_absolute()
            or any(part.startswith(".") for part in parts)
        ):
            raise InputError(f"{name!r} cannot be the name of a part of a version")
        if not path.exists():
            raise LayoutError(f"{path}, to be published as {name}, is not there: run the step that writes it")


def _put_together(aside: Path, staged: Mapping[str, Path], facts: Mapping[str, Any], progress: Progress) -> Manifest:
    for name, path in staged.items():
        _link(path, aside / name)
    reader = SparseReader(aside / ACTIVATIONS)
    manifest = Manifest(
        n_samples=reader.n_samples,
        n_features=reader.n_features,
        nnz=reader.nnz,
        profile=reader.profile,
        dtypes={
            "sample_id": sample_id_dtype(reader.n_samples).__name__,
            "feature_id": feature_id_dtype(reader.n_features).__name__,
            "value": "float32",
            "indptr": "int64",
        },
        provenance=dict(facts),
        files=described_files(aside, progress),
    )
    sync_tree(aside)
    manifest.save(aside)
    return manifest


def _link(source: Path, target: Path) -> None:
    files = [(path, target / path.relative_to(source)) for path in files_below(source)] if source.is_dir() else []
    for path, linked in files or [(source, target)]:
        linked.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path.resolve(), linked)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            shutil.copyfile(path, linked)


def _is_sound_copy(version: Path, manifest: Manifest, aside: Path) -> bool:
    """Whether the same version was published before and is still whole; files that were just hashed are not read again."""
    if not _is_version(version) or read_bytes(version / MANIFEST) != read_bytes(aside / MANIFEST):
        return False
    if manifest.problems(version, deep=False):
        return False
    same = all((version / file.path).samefile(aside / file.path) for file in manifest.files)
    return same or not manifest.problems(version, deep=True)


def _move_into_place(aside: Path, version: Path) -> None:
    if version.exists():
        # The same id with other bytes: a version that was damaged. Readers that have it open keep their files.
        damaged = staging_path(version)
        os.rename(version, damaged)
        os.rename(aside, version)
        shutil.rmtree(damaged)
    else:
        os.rename(aside, version)
    sync_folder(version.parent)


def _version_at(folder: Path) -> Store:
    """The version in a folder; from the bucket where the folder is in a working copy that has not all of it."""
    copy = WorkingCopy.containing(folder.absolute())
    if copy is None:
        return Store(folder)
    if _is_version(folder) and not Manifest.load(folder).problems(folder, deep=False):
        return Store(folder)
    return Store(folder, copy.files_of(folder))


def _open_there(url: str) -> Store:
    """A run, store or version by its URL, without a working copy: what is read is kept in a folder of the user's cache."""
    cache = ReadCache(_cache_of_user())
    at = Bucket(url)
    for prefix in ("", "store/"):
        try:
            version = at.read(f"{prefix}{_CURRENT}")[:_LONGEST_POINTER].decode("ascii", errors="replace").strip()
        except MissingObjectError:
            continue
        if not VERSION_ID.fullmatch(version):
            raise CorruptStoreError(f"{url}/{prefix}{_CURRENT} says {version!r}, which is not a version id")
        return Store(Path(version), RemoteFiles(at.below(f"{prefix}{_VERSIONS}/{version}"), cache))
    if not any(name == MANIFEST for name in at.listed()):
        raise NotPublishedError(f"{url} holds no published store: neither {_CURRENT} nor store/{_CURRENT} is there")
    return Store(Path(at.prefix.rpartition("/")[2]), RemoteFiles(at, cache))


def _cache_of_user() -> Path | None:
    """The folder of the read cache; None for a user without a home folder."""
    try:
        return Path.home() / ".cache" / "splat" / "read"
    except RuntimeError:
        return None


def _versions_in(store: Path) -> set[str]:
    return {folder.name for folder in (store / _VERSIONS).glob("*") if _is_version(folder)}


def _is_version(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _open_current(store: Path) -> Store:
    version = current_version(store)
    try:
        return _version_at(store / _VERSIONS / version)
    except (StoreError, OSError) as error:
        # Between reading CURRENT and opening, a newer version may have been published and this one removed.
        if current_version(store) != version:
            return _version_at(store / _VERSIONS / current_version(store))
        if isinstance(error, BucketError):
            raise
        if not _is_version(store / _VERSIONS / version):
            raise CorruptStoreError(
                f"{store / _CURRENT} names version {version}, which is not in {store / _VERSIONS}: publish again"
            ) from error
        raise
