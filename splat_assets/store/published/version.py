"""One published version of a store, opened for reading: activations, samples, and every table that was computed."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt
import polars as pl

from splat_assets.store.activations import Activations, SampleFeatures, SparseRows
from splat_assets.store.bucket.remote import RemoteFiles
from splat_assets.store.errors import CorruptStoreError, LayoutError, StoreError
from splat_assets.store.manifest import MANIFEST, Manifest
from splat_assets.store.published.verify import sample_problems, sparse_problems, table_problems
from splat_assets.store.samples import SampleTable
from splat_assets.store.sealed_files import SealedFiles
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.tables import read_rows, read_table, table_facts
from splat_assets.store.vocabulary import Contexts, Vocabulary

ACTIVATIONS = "activations.zarr"


class Store:
    """A version of a store. It never changes while it is open, whatever is published meanwhile."""

    def __init__(self, folder: Path, remote: RemoteFiles | None = None) -> None:
        """Open the version in folder: read its manifest and see that every file is there with its size.

        remote: its files, where they lie in a bucket; folder then only names it.
        Offsets, counts and checksums of the activations are compared with the manifest when they are opened, and each
        range of activations with its checksum on every read. Of any other file the bytes that are compared with its
        sha256 are those that are used: what an answer is made of again and again is kept, so that nothing done to the
        file later is in an answer.
        Raises LayoutError when folder is not a version, CorruptStoreError when a file is missing or of another size.
        """
        self.folder = folder
        self._remote = remote
        if remote is None:
            self.manifest = Manifest.load(folder)
            problems = self.manifest.problems(folder, deep=False)
        else:
            self.manifest = Manifest.parsed(remote.read(MANIFEST), folder)
            problems = self.manifest.mismatched_sizes(remote.sizes, remote.bucket.url)
        if problems:
            raise CorruptStoreError(f"{problems[0]}: the version is damaged; go back to another or publish again")
        self._files = sealed_files(folder, self.manifest, remote)
        inside = None if remote is None else remote.below(ACTIVATIONS)
        self.reader = SparseReader(folder / ACTIVATIONS, inside, self._files.below(ACTIVATIONS))
        self._kept: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Store {self.version}: {self.n_samples:,} samples x {self.n_features:,} features at {self.folder}>"

    def __reduce__(self) -> tuple[type["Store"], tuple[Path, RemoteFiles | None]]:
        return Store, (self.folder, self._remote)

    @property
    def version(self) -> str:
        """The id of the version."""
        return self.manifest.version

    @property
    def n_samples(self) -> int:
        """The number of samples."""
        return self.reader.n_samples

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        return self.reader.n_features

    def feature(self, feature_id: int) -> Activations:
        """The activations of one feature; FeatureNotFoundError, CorruptStoreError."""
        return self.reader.read(feature_id)

    def sample(self, sample_id: int) -> SampleFeatures:
        """The features of one sample; SampleNotFoundError, CorruptStoreError."""
        return self.reader.sample(sample_id)

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples in blocks of block_rows."""
        return self.reader.rows(block_rows)

    @cached_property
    def samples(self) -> pl.DataFrame:
        """The sample table (`SAMPLE_SCHEMA`), row number = sample id."""
        return self.sample_table.all()

    def take_samples(self, sample_ids: npt.ArrayLike) -> pl.DataFrame:
        """The rows of these samples, in this order, without reading the others; SampleNotFoundError, InputError for a mask."""
        return self.sample_table.take(sample_ids)

    @property
    def has_samples(self) -> bool:
        """Whether the version has a table of samples."""
        return self.has("samples.arrow")

    @cached_property
    def sample_table(self) -> SampleTable:
        """The samples as Arrow, in memory: for taking single columns and rows."""
        return SampleTable.of_bytes(self._bytes("samples.arrow"), self.folder / "samples.arrow")

    @cached_property
    def features(self) -> pl.DataFrame:
        """Statistics per feature."""
        return self.table("features")

    @cached_property
    def histograms(self) -> pl.DataFrame:
        """Histograms per feature: edges and exact counts."""
        return self.table("histograms")

    @cached_property
    def idf(self) -> pl.DataFrame:
        """Document frequency and IDF per token."""
        return self.table("idf")

    @cached_property
    def influences(self) -> pl.DataFrame:
        """Direct effect of each feature on each output token's logit."""
        return self.table("influences")

    @cached_property
    def examples(self) -> pl.DataFrame:
        """Chosen samples per feature: the strongest, some of each band, some at random."""
        return self.table("examples")

    @cached_property
    def neighbours(self) -> pl.DataFrame:
        """Nearest neighbours of each feature, by decoder direction and by co-activation."""
        return self.table("neighbours")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the base model."""
        return Vocabulary.load(self.folder / "vocabulary.json", self._bytes("vocabulary.json"))

    @cached_property
    def contexts(self) -> Contexts:
        """The contexts (weapons) of the base model."""
        return Contexts.load(self.folder / "contexts.json", self._bytes("contexts.json"))

    def table(self, name: str) -> pl.DataFrame:
        """`<name>.parquet` of this version; LayoutError when it was not computed, CorruptStoreError when it was damaged."""
        file = f"{name}.parquet"
        return read_table(self.folder / file, content=self._bytes(file))

    def rows_of(self, name: str, feature_id: int) -> pl.DataFrame:
        """The rows of one feature in `<name>.parquet`, of which only the row groups that can hold it are read; as `table`."""
        file = f"{name}.parquet"
        if file not in self._kept:
            self._kept[file] = self._bytes(file)
        return read_rows(self.folder / file, "feature_id", feature_id, self._kept[file])

    def facts(self, name: str) -> dict[str, Any]:
        """The facts that were written with `<name>.parquet`; as `table`."""
        file = f"{name}.parquet"
        return table_facts(self.folder / file, content=self._bytes(file))

    def has(self, name: str) -> bool:
        """Whether the file or folder called name is part of this version."""
        return self._files.has(name)

    def _bytes(self, name: str) -> bytes:
        """The bytes of the file called name, which are those that were published."""
        if name not in self._files:
            raise LayoutError(
                f"{name} was not computed for version {self.version} in {self.folder}: publish one that has it"
            )
        return self._files.content(name)

    def verify(self, deep: bool = True) -> list[str]:
        """The problems of this version's bytes; everything is read again from disk, or from the bucket.

        Args:
            deep: also hash every file.

        Returns:
            One sentence per problem, naming file, feature or sample; empty when sound.

        Examples:
            >>> store = open_store(published)
            >>> store.verify()
            []
        """
        if self._remote is None:
            return version_problems(self.folder, deep)
        with self._remote.downloaded(self.version) as folder:
            return version_problems(folder, deep)


def version_problems(folder: Path, deep: bool = True) -> list[str]:
    """The problems of the version in folder, whether or not it can be opened; see `Store.verify`."""
    try:
        manifest = Manifest.load(folder)
    except StoreError as error:
        return [str(error)]
    problems = manifest.problems(folder, deep)
    if folder.name != manifest.version:
        problems.append(f"{folder / MANIFEST} was changed: its content is that of version {manifest.version}")
    return problems or content_problems(folder, sealed_files(folder, manifest))


def sealed_files(folder: Path, manifest: Manifest, remote: RemoteFiles | None = None) -> SealedFiles:
    """The files of a version with the sha256 that its manifest states."""
    return SealedFiles(folder, {file.path: file.sha256 for file in manifest.files}, remote)


def content_problems(folder: Path, files: SealedFiles | None = None) -> list[str]:
    """Where the parts in folder contradict themselves or each other: activations, samples, tables.

    files: those of the folder, where a manifest says what they must hold.
    """
    try:
        reader = SparseReader(folder / ACTIVATIONS, sealed=files.below(ACTIVATIONS) if files else None)
        problems = sparse_problems(reader)
    except StoreError as error:
        return [str(error)]
    if (folder / "samples.parquet").exists() or (folder / "samples.arrow").exists():
        problems += sample_problems(folder, reader.n_samples)
    return problems + table_problems(folder, reader)
