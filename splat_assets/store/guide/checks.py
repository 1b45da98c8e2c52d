"""Checks that the guide's formats equal the store. Each function reads the files again and returns the differences.

Sampled functions draw seeded features or samples and return those that are wrong, rising; a sample as large as the whole
looks at everything. Damage to the files themselves (a lost chunk, a flipped bit) comes as the reader's own error.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.store.activations import ActivationReader, equal
from splat_assets.store.errors import LayoutError
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.guide.batches import EMBEDDINGS, Embeddings, batch_metadata
from splat_assets.store.guide.dense_arrays import DenseArray
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.tables import read_table, spot_check_ids
from splat_assets.store.vocabulary import Vocabulary
from splat_assets.text.wording import counted


def mismatched_features(expected: ActivationReader, actual: ActivationReader, n_sampled: int, seed: int) -> list[int]:
    """Of n_sampled seeded features, those whose sample ids or values differ in any bit.

    Raises LayoutError when the two are not of the same shape.
    """
    _must_have_same_shape(expected, actual)
    chosen = spot_check_ids(expected.n_features, n_sampled, seed)
    return [f for f in chosen if not equal(expected.read(f), actual.read(f))]


def mismatched_batch_rows(expected: SparseReader, folder: Path, n_sampled: int, seed: int) -> list[int]:
    """Of n_sampled seeded samples, those whose row in the batch tree at folder differs in any bit; LayoutError as above.

    A row costs one chunk, so that many samples of a large tree are looked at in seconds; a feature would cost all of it.
    """
    actual = BatchReader(folder)
    _must_have_same_shape(expected, actual)
    chosen = spot_check_ids(expected.n_samples, n_sampled, seed)
    return [i for i in chosen if not equal(expected.sample(i), actual.sample(i))]


def mismatched_batch_metadata(samples: pl.DataFrame, vocabulary: Vocabulary, folder: Path) -> list[int]:
    """All samples whose metadata row is not the one they have in samples: `global_index`, tokens, names, every column.

    Raises LayoutError naming a table that is missing, has other columns, or another number of rows than its batch.
    """
    tree = BatchReader(folder)
    wrong: list[int] = []
    for i, (start, stop) in enumerate(zip(tree.starts[:-1].tolist(), tree.starts[1:].tolist(), strict=True)):
        path = tree.metadata_path(i)
        expected = batch_metadata(samples.slice(start, stop - start), i, vocabulary)
        if not path.is_file():
            raise LayoutError(f"{path} is missing: samples {start} to {stop - 1} lack metadata; convert again")
        table = read_table(path)
        if table.schema != expected.schema or table.height != expected.height:
            raise LayoutError(
                f"{path} does not have the columns and the {counted(stop - start, 'rows')} of its batch; convert again"
            )
        if not table.equals(expected):
            differing = [table[name].ne_missing(expected[name]).to_numpy() for name in table.columns]
            wrong += (start + np.flatnonzero(np.any(differing, axis=0))).tolist()
    return wrong


def mismatched_embeddings(expected: Embeddings, folder: Path) -> list[str]:
    """Names of embeddings below folder that are missing, too many, or differ in any bit from the expected rows."""
    there = {path.stem for path in (folder / EMBEDDINGS).glob("*.zarr")}
    wrong = there ^ set(expected)
    for name in there & set(expected):
        array = DenseArray(folder / EMBEDDINGS / f"{name}.zarr")
        if not _holds_just(array, expected[name]):
            wrong.add(name)
    return sorted(wrong)


def _holds_just(array: DenseArray, blocks: Iterable[npt.NDArray[np.float32]]) -> bool:
    n_rows, width = array.shape
    at = 0
    for block in blocks:
        stop = at + len(block)
        if stop > n_rows or not np.array_equal(array.read(slice(at, stop), slice(0, width)), block):
            return False
        at = stop
    return at == n_rows


def _must_have_same_shape(expected: ActivationReader, actual: ActivationReader) -> None:
    shapes = [(reader.n_samples, reader.n_features) for reader in (expected, actual)]
    if shapes[0] != shapes[1]:
        raise LayoutError(
            f"{counted(shapes[1][0], 'samples')} x {counted(shapes[1][1], 'features')} differ from the store's "
            f"{shapes[0][0]} x {shapes[0][1]}; write them again"
        )
