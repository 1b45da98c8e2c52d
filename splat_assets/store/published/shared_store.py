"""Publishing into a bucket: a version's files, its manifest last, its publication, then the pointer, by conditional writes.

store/CURRENT             written only if it is still what it was when publishing began
store/publications.json   written only if it is still what was read, and read again where it is not: nobody's record is lost
store/versions/<id>/      never changed; the id is the hash of the manifest, so the same content is the same objects
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from splat_assets.store.bucket.bucket import MissingObjectError, PreconditionFailedError
from splat_assets.store.bucket.working_copy import WorkingCopy, display_location
from splat_assets.store.errors import StoreError
from splat_assets.store.files import files_below
from splat_assets.store.manifest import MANIFEST, VERSION_ID
from splat_assets.store.published.publications import (
    PUBLICATIONS,
    Publications,
    encoded_publications,
    highest_sequence,
    parsed_publications,
    stores_beside,
    with_publication,
)

_AT_ONCE = 8
_TRIES = 8


class PublishedMeanwhileError(StoreError):
    """Another writer published another version of the same run meanwhile, which is now current."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """The content of CURRENT. tag: of the object, empty where there was none."""

    version: str
    tag: str


@dataclass(frozen=True, slots=True)
class SharedStore:
    """The store of a run in a bucket. folder: where it lies in the working copy."""

    copy: WorkingCopy
    folder: Path

    @classmethod
    def of(cls, folder: Path) -> "SharedStore | None":
        """The one that a store's folder stands for; None where it stands for itself."""
        copy = WorkingCopy.containing(folder.absolute())
        return None if copy is None else cls(copy, folder.absolute())

    def pointer(self) -> Pointer:
        """The current pointer; BucketError."""
        try:
            content, tag = self.copy.bucket.read_tagged(self._named("CURRENT"))
        except MissingObjectError:
            return Pointer("", "")
        return Pointer(content[:64].decode("ascii", errors="replace").strip(), tag)

    def publish(self, version: str, before: Pointer) -> Publications:
        """Send a version that lies in the folder and make it the current one; the publications in the bucket after that.

        before: CURRENT's content when the work on this version began. PublishedMeanwhileError where it has changed by
        now; BucketError. In both cases what was current stays so.
        """
        self._send(version)
        publications = self._record(version, before)
        content = f"{version}\n".encode("ascii")
        bucket, name = self.copy.bucket, self._named("CURRENT")
        try:
            bucket.replace(name, content, before.tag) if before.tag else bucket.create(name, content)
        except PreconditionFailedError as error:
            theirs = self.pointer().version
            if theirs != version:
                raise PublishedMeanwhileError(
                    f"version {theirs} of {display_location(self.folder)} was published by another writer while "
                    f"{version} was being made and is now current; run the step again to publish yours after it"
                ) from error
        return publications

    def versions(self) -> set[str]:
        """The ids of the complete versions."""
        start = self._named("versions")
        ends = [name.removeprefix(f"{start}/") for name in self.copy.bucket.listed(start)]
        whole = {name.partition("/")[0] for name in ends if name.endswith(f"/{MANIFEST}")}
        return {version for version in whole if VERSION_ID.fullmatch(version)}

    def publications(self) -> tuple[Publications, str]:
        """The publications in the bucket, and the tag of the record (empty without one); CorruptStoreError, BucketError."""
        name = self._named(PUBLICATIONS)
        try:
            content, tag = self.copy.bucket.read_tagged(name)
        except MissingObjectError:
            return {}, ""
        return parsed_publications(content, f"{self.copy.bucket.url}/{name}"), tag

    def _record(self, version: str, before: Pointer) -> Publications:
        """Record in the bucket that a version is published, with a number above those of all runs there."""
        self.copy.pull(lambda name: name.endswith(f"/store/{PUBLICATIONS}"))
        highest = highest_sequence(stores_beside(self.folder))
        current = before.version if VERSION_ID.fullmatch(before.version) else None
        bucket, name = self.copy.bucket, self._named(PUBLICATIONS)
        for _ in range(_TRIES):
            known, tag = self.publications()
            publications = with_publication(known, version, current, highest)
            if publications == known:
                return known
            content = encoded_publications(publications)
            try:
                bucket.replace(name, content, tag) if tag else bucket.create(name, content)
            except PreconditionFailedError:
                continue
            return publications
        raise PublishedMeanwhileError(
            f"{bucket.url}/{name} was changed by other writers {_TRIES} times while version {version} was being "
            f"recorded; run the step "
            "again"
        )

    def remove(self, version: str) -> None:
        """Delete a version: its manifest first, so that half of it is none."""
        start = self._named(f"versions/{version}")
        names = list(self.copy.bucket.listed(start))
        self.copy.bucket.delete([f"{start}/{MANIFEST}"])
        self.copy.bucket.delete([name for name in names if not name.endswith(f"/{MANIFEST}")])

    def _send(self, version: str) -> None:
        """The files of a version that are not there with their size; the manifest after all others."""
        folder, start = self.folder / "versions" / version, self._named(f"versions/{version}")
        there = {name: one.size_bytes for name, one in self.copy.bucket.listed(start).items()}
        if f"{start}/{MANIFEST}" in there:
            return
        parts = [(path, f"{start}/{path.relative_to(folder).as_posix()}") for path in files_below(folder)]
        new = [one for one in parts if there.get(one[1]) != one[0].stat().st_size and one[0].name != MANIFEST]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda one: self.copy.bucket.write(one[1], one[0]), new))
        self.copy.bucket.write(f"{start}/{MANIFEST}", folder / MANIFEST)

    def _named(self, name: str) -> str:
        return f"{self.copy.name_of(self.folder)}/{name}".rstrip("/")
