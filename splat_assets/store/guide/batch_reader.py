"""The guide's batch tree, read: by sample in order, and by feature with a scan of every batch. The slowest of the readers.

Sample ids are positions (batch after batch); the `global_index` column of the metadata is never used to find a row.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from splat_assets.store.activations import Activations, BlockRows, SampleFeatures, SparseRows, sample_id_dtype
from splat_assets.store.documents import entries, read_json
from splat_assets.store.errors import CorruptStoreError, FeatureNotFoundError, LayoutError, SampleNotFoundError
from splat_assets.store.guide.batches import ACTIVATIONS, METADATA, SEAL
from splat_assets.store.guide.dense_arrays import DenseArray
from splat_assets.text.wording import counted


class BatchReader:
    """All batches of a tree as one run of samples, by feature or by row."""

    def __init__(self, folder: Path | str, sealed: bool = True) -> None:
        """Open every batch.

        Args:
            folder: the batch tree.
            sealed: require `conversion_metadata.json`, which a converter writes last. If present, it must agree with the batches.

        Raises:
            LayoutError: a batch is missing, or batches have different numbers of features.
        """
        self.folder = Path(folder)
        if not (self.folder / ACTIVATIONS).is_dir():
            raise LayoutError(f"{folder} is not a batch tree: it lacks the folder {ACTIVATIONS}")
        self.batches = [_opened(path) for path in batch_paths(self.folder / ACTIVATIONS, ".zarr")]
        heights = [batch.shape[0] for batch in self.batches]
        self.starts = np.cumsum([0, *heights])
        self.seal = _read_seal(self.folder, sealed)
        widths = [batch.shape[1] for batch in self.batches] or [self.seal.get("n_features", 0)]
        self._n_features = widths[0]
        for batch, width in zip(self.batches, widths, strict=False):
            if width != self._n_features:
                raise LayoutError(
                    f"{batch.path} has {counted(width, 'features')}, {self.batches[0].path.name} has "
                    f"{self._n_features}: "
                    "the batches come from different SAEs; keep those of one"
                )
        self._check_seal()

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        return self._n_features

    @property
    def n_samples(self) -> int:
        """The number of rows in all batches."""
        return int(self.starts[-1])

    def read(self, feature_id: int) -> Activations:
        """One feature, from every batch: decodes the whole tree.

        Args:
            feature_id: 0 to n_features - 1.

        Returns:
            Its activations above 0: ascending sample ids and float32 values.

        Raises:
            FeatureNotFoundError: the id is outside the valid range.
            CorruptStoreError: a chunk is lost or damaged.
        """
        if not 0 <= feature_id < self._n_features:
            raise FeatureNotFoundError(feature_id, self._n_features, self.folder)
        dtype = sample_id_dtype(self.n_samples)
        sample_ids, values = [np.empty(0, dtype)], [np.empty(0, np.float32)]
        for batch, start in zip(self.batches, self.starts.tolist(), strict=False):
            column = batch.read(slice(0, batch.shape[0]), slice(feature_id, feature_id + 1)).reshape(-1)
            active = Activations.from_dense(column, f"{batch.path}, feature {feature_id}")
            sample_ids.append((active.sample_ids + start).astype(dtype))
            values.append(active.values)
        return Activations(np.concatenate(sample_ids), np.concatenate(values))

    def sample(self, sample_id: int) -> SampleFeatures:
        """One row; SampleNotFoundError names the valid range."""
        if not 0 <= sample_id < self.n_samples:
            raise SampleNotFoundError(sample_id, self.n_samples, self.folder)
        i = int(np.searchsorted(self.starts, sample_id, side="right")) - 1
        row = sample_id - int(self.starts[i])
        block = self.batches[i].read(slice(row, row + 1), slice(0, self._n_features))
        return SparseRows.from_dense(block, str(self.batches[i].path), row).row(0)

    def rows(self, block_rows: int) -> Iterator[SparseRows]:
        """All samples from 0 on in blocks of block_rows (the last may be shorter)."""
        return BlockRows(self.n_samples, self._n_features, self._decoded).rows(block_rows)

    def metadata_path(self, batch: int) -> Path:
        """Where the sample table of a batch is, whether or not it is there."""
        return self.folder / METADATA / f"{self.batches[batch].path.stem}.parquet"

    def _decoded(self) -> Iterator[SparseRows]:
        for batch in self.batches:
            for start, block in batch.row_blocks():
                yield SparseRows.from_dense(block, str(batch.path), start)

    def _check_seal(self) -> None:
        for key, actual in (("n_batches", len(self.batches)), ("total_samples", self.n_samples)):
            if self.seal and self.seal.get(key, actual) != actual:
                raise LayoutError(
                    f"{self.folder / SEAL} says {key} = {self.seal[key]}, but {actual} are in "
                    f"{self.folder / ACTIVATIONS}; copy the missing files, or convert again"
                )


def batch_paths(folder: Path, suffix: str) -> list[Path]:
    """`batch_0000<suffix>`, `batch_0001<suffix>`, .. of folder in order.

    Raises LayoutError for one that is missing between others, and for a number that is not written as a converter does.
    """
    candidates = [path for path in entries(folder) if path.name.startswith("batch_") and path.name.endswith(suffix)]
    numbered = {_number(path, suffix): path for path in candidates}
    paths = [numbered[number] for number in sorted(numbered)]
    for i, number in enumerate(sorted(numbered)):
        if i != number:
            raise LayoutError(
                f"{folder} has batches up to {max(numbered):04d} but not batch_{i:04d}{suffix} "
                f"({max(numbered) + 1 - len(numbered)} missing): samples are addressed by position; copy the "
                f"missing ones, or convert again"
            )
    return paths


def _number(path: Path, suffix: str) -> int:
    digits = path.name.removeprefix("batch_").removesuffix(suffix)
    if not digits.isdecimal() or path.name != f"batch_{int(digits):04d}{suffix}":
        raise LayoutError(
            f"{path} is not numbered like batch_0000{suffix}: rename it, or move it elsewhere if it does not "
            f"belong here"
        )
    return int(digits)


def _opened(path: Path) -> DenseArray:
    array = DenseArray(path)
    for key, actual in zip(("n_samples", "n_features"), array.shape, strict=True):
        stated = array.attributes.get(key, actual)
        if stated != actual:
            raise CorruptStoreError(f"{path} says {key} = {stated}, its shape says {actual}; copy the batch again")
    return array


def _read_seal(folder: Path, required: bool) -> dict[str, int]:
    path = folder / SEAL
    try:
        seal = read_json(path)
    except FileNotFoundError as error:
        if required:
            raise LayoutError(f"{folder} lacks {SEAL}, which a converter writes last: convert again") from error
        return {}
    except ValueError as error:
        raise CorruptStoreError(f"{path} is not JSON: {error}") from error
    if not isinstance(seal, dict):
        return {}
    for key in ("n_batches", "total_samples", "n_features"):
        if not isinstance(seal.get(key, 0), int):
            raise CorruptStoreError(f"{path} says {key} = {seal[key]}, which is not a count; convert again")
    return seal
