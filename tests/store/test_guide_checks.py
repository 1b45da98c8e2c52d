"""Each check of the guide's formats passes on what was written and goes red for a planted fault."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zarr

from splat_assets.store.errors import LayoutError
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.guide.checks import (
    mismatched_batch_metadata,
    mismatched_batch_rows,
    mismatched_embeddings,
    mismatched_features,
)
from splat_assets.store.guide.neuron_acts import NeuronActsReader, write_neuron_acts
from splat_assets.store.guide.transposed import TransposedReader, write_transposed
from splat_assets.store.sparse.merge import write_sparse_store
from splat_assets.store.sparse.reader import SparseReader
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random

DENSE = sparse_random(60, 12, 0.4)
VECTORS = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> SparseReader:
    write_sparse_store(DenseSource(DENSE), tmp_path / "activations.zarr")
    return SparseReader(tmp_path / "activations.zarr")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "activations_efficient"
    write_batches(DenseSource(DENSE), sample_table(60), {"sae_input": [VECTORS]}, VOCABULARY, folder, 25)
    return folder


def test_what_was_written_passes_every_check(store: SparseReader, tree: Path, tmp_path: Path) -> None:
    write_transposed(store, tmp_path / "transposed")
    write_neuron_acts(store, tmp_path / "neuron_acts")

    assert mismatched_batch_rows(store, tree, 1_000, seed=0) == []
    assert mismatched_batch_metadata(sample_table(60), VOCABULARY, tree) == []
    assert mismatched_embeddings({"sae_input": [VECTORS[:7], VECTORS[7:]]}, tree) == []
    assert mismatched_features(store, TransposedReader(tmp_path / "transposed"), 1_000, seed=0) == []
    assert mismatched_features(store, NeuronActsReader(tmp_path / "neuron_acts"), 1_000, seed=0) == []


def test_swapped_rows_of_a_batch_are_detected(store: SparseReader, tree: Path) -> None:
    array = zarr.open_array(str(tree / "activations/batch_0001.zarr"), mode="r+")
    rows = array[:]
    rows[[3, 9]] = rows[[9, 3]]
    array[:] = rows

    assert mismatched_batch_rows(store, tree, 1_000, seed=0) == [28, 34]


def test_one_changed_value_of_a_transposed_array_is_detected(store: SparseReader, tmp_path: Path) -> None:
    write_transposed(store, tmp_path / "transposed")
    zarr.open_array(str(tmp_path / "transposed/transposed_activations.zarr"), mode="r+")[7, 5] = 0.125

    assert mismatched_features(store, TransposedReader(tmp_path / "transposed"), 1_000, seed=0) == [7]


def test_swapped_features_of_neuron_acts_are_detected(store: SparseReader, tmp_path: Path) -> None:
    folder = tmp_path / "neuron_acts"
    write_neuron_acts(store, folder)
    for a, b in (("neuron_0002", "aside"), ("neuron_0005", "neuron_0002"), ("aside", "neuron_0005")):
        (folder / a).rename(folder / b)

    assert mismatched_features(store, NeuronActsReader(folder), 1_000, seed=0) == [2, 5]


def test_another_shape_is_refused(store: SparseReader, tmp_path: Path) -> None:
    write_transposed(DenseSource(DENSE[:50]), tmp_path / "transposed")

    with pytest.raises(LayoutError, match="50 samples x 12 features differ from the store's 60 x 12"):
        mismatched_features(store, TransposedReader(tmp_path / "transposed"), 10, seed=0)


def test_the_same_seed_draws_the_same_sample(store: SparseReader) -> None:
    other = DenseSource(sparse_random(60, 12, 0.4, seed=9))

    drawn = [mismatched_features(store, other, 5, seed=3) for _ in range(2)]

    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 5


@pytest.mark.parametrize(
    "fault",
    [
        pl.col("global_index") + 1,
        pl.col("sample_id").reverse(),
        pl.col("ability_tokens").reverse(),
        pl.col("abilities").list.head(0),
        pl.col("weapon_name").replace("weapon 1", "weapon 2"),
        pl.col("split").replace("test", "train"),
    ],
)
def test_any_changed_metadata_column_is_detected(fault: pl.Expr, tree: Path) -> None:
    path = tree / "metadata/batch_0001.parquet"
    pl.read_parquet(path).with_columns(fault).write_parquet(path)

    wrong = mismatched_batch_metadata(sample_table(60), VOCABULARY, tree)

    assert wrong
    assert set(wrong) <= set(range(25, 50))


def test_missing_and_short_metadata_is_refused(tree: Path) -> None:
    path = tree / "metadata/batch_0002.parquet"
    pl.read_parquet(path).head(4).write_parquet(path)
    with pytest.raises(LayoutError, match="the 10 rows of its batch"):
        mismatched_batch_metadata(sample_table(60), VOCABULARY, tree)

    path.unlink()
    with pytest.raises(LayoutError, match="samples 50 to 59 lack metadata"):
        mismatched_batch_metadata(sample_table(60), VOCABULARY, tree)


def test_changed_missing_and_unexpected_embeddings_are_named(tree: Path) -> None:
    changed = VECTORS.copy()
    changed[59, 2] += 1

    assert mismatched_embeddings({"sae_input": [changed]}, tree) == ["sae_input"]
    assert mismatched_embeddings({"sae_input": [VECTORS[:59]]}, tree) == ["sae_input"]
    assert mismatched_embeddings({"sae_input": [VECTORS], "sae_recon": [VECTORS]}, tree) == ["sae_recon"]
    assert mismatched_embeddings({}, tree) == ["sae_input"]
