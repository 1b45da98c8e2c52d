"""A folder that holds only the guide's formats, opened like a store: activations, sample metadata, and precomputed tables.

Nothing in it is sealed, so its `version` is a fingerprint of the names, sizes and parts of the content of its files when it was
opened: a copy of the folder has the same. `state` also covers changes that these parts do not show, by the marks of the
files; it is specific to this path, and part of the ETag.
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.store.activations import ActivationReader
from splat_assets.store.errors import CorruptStoreError, LayoutError, NotPublishedError
from splat_assets.store.files import file_mark, files_below
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.guide.batches import recorded_source
from splat_assets.store.importing.samples import imported_samples, metadata_tables, read_metadata
from splat_assets.store.layout import RunLayout
from splat_assets.store.opening import Layout, layouts_in, open_fastest
from splat_assets.store.origin import ORIGIN, Origin, origin_of, read_origin
from splat_assets.store.published.publishing import open_store
from splat_assets.store.published.version import Store
from splat_assets.store.samples import SampleTable
from splat_assets.store.tables import read_rows, read_table, table_facts
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.wording import counted
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import Home

PRECOMPUTED = "precomputed"
_GUIDE_FOLDERS = ("activations_efficient", "activations_transposed", "neuron_acts")
_log = logging.getLogger(__name__)
EXAMPLES = "examples"
"""The guide's folder of examples, in that of the activations."""
_MOST_SAMPLED = 512
_SAMPLED_BYTES = 32 * 2**10


class Folder:
    """One or more folders of one run's guide formats. Activations and metadata are matched by position, never by an index."""

    def __init__(
        self,
        folders: tuple[Path, ...],
        layout: str,
        reader: ActivationReader,
        vocabulary: Vocabulary | None,
        contexts: Contexts | None,
        origin: Origin | None = None,
        examples: Path | None = None,
    ) -> None:
        """reader: of the fastest layout; the others may differ and are not read.

        origin: provenance of the activations, if recorded. examples: a folder that `splat examples` wrote.
        """
        self.folders = folders
        self.layout = layout
        self.reader = reader
        self.vocabulary = vocabulary
        self.contexts = contexts
        self.origin = origin
        self._examples = examples
        self.version, self.state = _fingerprints(folders)

    @classmethod
    def open(
        cls,
        *folders: Path | str,
        vocab: Path | None = None,
        weapon_vocab: Path | None = None,
        examples: Path | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> "Folder":
        """The fastest layout that the folders offer, with its own vocabularies or the ones passed.

        Of one folder, faster formats of the same activations that stand beside it under the guide's names are read too.

        Args:
            folders: Of one run.
            vocab: The user's vocab.json.
            weapon_vocab: The user's weapon_vocab.json.
            examples: A folder with examples.parquet; without it, examples are drawn from the activations on demand.
            files: Current paths of files that the origin records, as `Origin.at`.

        Raises:
            LayoutError: When a folder or every layout is missing.
            InputError: For an invalid vocabulary.
            FingerprintMismatchError: For folders that were made from different things.

        Examples:
            >>> from splat_serving.database.folder import Folder
            >>> folder = Folder.open("data/runs/demo/activations_efficient")
            >>> (folder.layout, folder.reader.n_features, folder.has_samples)
            ('batch tree', 96, True)
        """
        paths = tuple(Path(folder) for folder in folders)
        for path in paths:
            if not path.is_dir():
                raise LayoutError(f"folder {path} does not exist")
        origin = origin_of(paths)
        if origin is not None and len(paths) == 1:
            paths += _beside(paths[0], origin)
        fastest, reader = open_fastest(*paths)
        return cls(
            paths,
            fastest.layout.title,
            reader,
            read_vocabulary(vocab) if vocab else recorded(paths, "vocabulary.json", Vocabulary),
            read_contexts(weapon_vocab) if weapon_vocab else recorded(paths, "contexts.json", Contexts),
            origin.at(files or {}) if origin else None,
            examples,
        )

    @property
    def home(self) -> Home | None:
        """Location of labels, scorecard and model of these activations; None if not recorded."""
        return self.origin or (self._exported[0] if self._exported else None)

    @property
    def provenance(self) -> dict[str, Any]:
        """Provenance of the activations; empty if not recorded."""
        if self.origin is not None:
            return self.origin.provenance
        return self._exported[1] if self._exported else {}

    @cached_property
    def _exported(self) -> tuple[RunLayout, dict[str, Any]] | None:
        """The run whose current version these batches were exported from, and what that was made from."""
        layout = RunLayout(self.folders[0].resolve().parent)
        if not layout.config.is_file() or (source := recorded_source(self.folders[0])) is None:
            return None
        try:
            provenance = open_store(layout.store).manifest.provenance
        except NotPublishedError:
            return None
        return (layout, provenance) if provenance.get("raw_activations") == source else None

    @staticmethod
    def is_published(folder: Path) -> bool:
        """Whether the folder is a published store."""
        return any(candidate.layout is Layout.STORE for candidate in layouts_in(folder))

    @property
    def has_samples(self) -> bool:
        """Whether there is sample metadata."""
        return bool(self._metadata)

    @cached_property
    def sample_table(self) -> SampleTable:
        """The samples; NotComputedError without metadata, LayoutError if its number of rows differs."""
        if not self._metadata:
            raise NotComputedError(
                f"{self._where} lacks sample metadata (metadata/batch_0000.parquet): it only has global_index and activation"
            )
        tables = [read_metadata(path) for path in self._metadata]
        samples = imported_samples(tables, [path.name for path in self._metadata], self.vocabulary, self.contexts)[0]
        if samples.height != self.reader.n_samples:
            raise LayoutError(
                f"the metadata of {self._where} has {counted(samples.height, 'rows')} for "
                f"{counted(self.reader.n_samples, 'samples')}: they are matched by "
                "position; use the metadata that belongs to these activations"
            )
        return SampleTable.of(samples, self._metadata[0].parent)

    @cached_property
    def by_sample(self) -> BatchReader | None:
        """The batch tree, which alone of the guide's formats is read by sample; None where there is none."""
        for candidate in (candidate for folder in self.folders for candidate in layouts_in(folder)):
            if candidate.layout is Layout.BATCHES:
                return BatchReader(candidate.path)
        return None

    def has(self, name: str) -> bool:
        """Whether the folder's `precomputed` has the file."""
        return self._table(name) is not None

    def table(self, name: str) -> pl.DataFrame:
        """`precomputed/<name>.parquet`; LayoutError if it does not exist."""
        return read_table(self._path(name))

    def rows_of(self, name: str, feature_id: int) -> pl.DataFrame:
        """The rows of one feature in `precomputed/<name>.parquet`."""
        return read_rows(self._path(name), "feature_id", feature_id)

    def facts(self, name: str) -> dict[str, Any]:
        """Metadata of the table."""
        return table_facts(self._path(name))

    def _path(self, name: str) -> Path:
        path = self._table(f"{name}.parquet")
        if path is None:
            raise NotComputedError(f"{name} was not computed: {self._where} has no {PRECOMPUTED}/{name}.parquet")
        return path

    def _table(self, name: str) -> Path | None:
        places = [folder / PRECOMPUTED for folder in self.folders]
        if name == "examples.parquet":
            named = [self._examples] if self._examples else []
            places = [*named, *(folder / EXAMPLES for folder in self.folders), *places]
        return next((path for place in places if (path := place / name).is_file()), None)

    @cached_property
    def _metadata(self) -> list[Path]:
        for folder in self.folders:
            if (folder / "metadata").is_dir():
                return metadata_tables(folder)
        return []

    @property
    def _where(self) -> str:
        return " and ".join(str(folder) for folder in self.folders)


Source = Store | Folder
"""What a database on this machine is read from."""


def _beside(folder: Path, origin: Origin) -> tuple[Path, ...]:
    """The guide's other folders beside this one that were made from the same activations, as both record."""
    places = [folder.absolute().parent / name for name in _GUIDE_FOLDERS]
    others = [place for place in places if place != folder.absolute() and (place / ORIGIN).is_file()]
    return tuple(place for place in others if _provenance_of(place) == origin.provenance)


def _provenance_of(folder: Path) -> dict[str, Any] | None:
    try:
        origin = read_origin(folder)
    except CorruptStoreError as error:
        _log.warning("%s is not read: %s", folder, error)
        return None
    return origin.provenance if origin else None


def recorded(folders: tuple[Path, ...], name: str, kind: type[Any]) -> Any:
    """The vocabulary (of this kind) in the first of the folders that has the file; None without one."""
    path = next((path for folder in folders if (path := folder / name).is_file()), None)
    return kind.load(path) if path else None


def _fingerprints(folders: tuple[Path, ...]) -> tuple[str, str]:
    """16 hex digits each: of names, sizes and content, which a copy keeps, and of the marks of all files, which it does not.

    Of the content, both ends of at most 512 files, evenly spread: a folder may hold hundreds of gigabytes in 50,000 files.
    """
    version, state = hashlib.sha256(), hashlib.sha256()
    for folder in folders:
        paths = files_below(folder)
        every = -(-len(paths) // _MOST_SAMPLED) or 1
        for at, path in enumerate(paths):
            mark = file_mark(path)
            size = mark[3] if mark else 0
            version.update(f"{path.relative_to(folder)} {size}\n".encode(errors="surrogateescape"))
            state.update(f"{mark}\n".encode())
            if at % every == 0:
                version.update(_both_ends(path, size))
    return version.hexdigest()[:16], state.hexdigest()[:16]


def _both_ends(path: Path, size: int) -> bytes:
    """The first and the last bytes of a file; empty for an unreadable file, which is reported when it is needed."""
    try:
        with path.open("rb") as file:
            first = file.read(_SAMPLED_BYTES)
            file.seek(max(0, size - _SAMPLED_BYTES), os.SEEK_SET)
            return first + file.read(_SAMPLED_BYTES)
    except OSError:
        return b""
