"""Any folder with activations opens, the fastest layout first, and mixtures are refused."""

import logging
from pathlib import Path

import numpy as np
import pytest

from splat_assets.store.activations import ActivationReader
from splat_assets.store.errors import LayoutError
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.guide.neuron_acts import DESCRIPTION, NeuronActsReader, write_neuron_acts
from splat_assets.store.guide.transposed import TransposedReader, write_transposed
from splat_assets.store.opening import Layout, as_reader, layouts_in, open_reader
from splat_assets.store.raw import RawActivations, begin_raw_activations, write_shard
from splat_assets.store.sparse.merge import write_sparse_store
from splat_assets.store.sparse.reader import SparseReader
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random

DENSE = sparse_random(30, 6, 0.4)


def write_everything(run: Path, dense: np.ndarray = DENSE) -> None:
    source = DenseSource(dense)
    write_sparse_store(source, run / "store/staged/activations.zarr")
    write_neuron_acts(source, run / "neuron_acts")
    write_transposed(source, run / "activations_transposed")
    write_batches(source, sample_table(len(dense)), None, VOCABULARY, run / "activations_efficient", 10)
    write_raw(run / "raw_activations", dense)


def write_raw(folder: Path, dense: np.ndarray) -> None:
    block = next(DenseSource(dense).rows(len(dense)))
    begin_raw_activations(folder, len(dense), 1)
    write_shard(folder / "shard-00000", block, sample_table(len(dense)), {}, dense.shape[1], {"sae": "abc"})


def assert_reads(reader: ActivationReader, dense: np.ndarray = DENSE) -> None:
    assert (reader.n_samples, reader.n_features) == dense.shape
    for feature_id in range(dense.shape[1]):
        result = reader.read(feature_id)
        np.testing.assert_array_equal(result.sample_ids, np.flatnonzero(dense[:, feature_id]))
        np.testing.assert_array_equal(result.values, dense[result.sample_ids, feature_id])


def test_a_run_offers_its_layouts_fastest_first(tmp_path: Path) -> None:
    write_everything(tmp_path)

    assert [one.layout for one in layouts_in(tmp_path)] == [
        Layout.SPARSE,
        Layout.NEURON_ACTS,
        Layout.TRANSPOSED,
        Layout.BATCHES,
        Layout.RAW,
    ]


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ([], SparseReader),
        (["store"], NeuronActsReader),
        (["store", "neuron_acts"], TransposedReader),
        (["store", "neuron_acts", "activations_transposed"], BatchReader),
    ],
)
def test_the_fastest_layout_present_is_opened_and_the_log_says_so(
    gone: list[str], expected: type, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_everything(tmp_path / "run")
    for name in gone:
        (tmp_path / "run" / name).rename(tmp_path / name)

    with caplog.at_level(logging.INFO):
        reader = open_reader(tmp_path / "run")

    assert isinstance(reader, expected)
    assert_reads(reader)
    assert "the fastest layout there" in caplog.text


def test_neuron_acts_without_a_description_come_after_the_transposed_array(tmp_path: Path) -> None:
    write_everything(tmp_path)
    (tmp_path / "neuron_acts" / DESCRIPTION).unlink()

    assert isinstance(open_reader(tmp_path / "neuron_acts", tmp_path / "activations_transposed"), TransposedReader)


def test_neuron_acts_without_a_description_are_not_read_when_something_faster_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_everything(tmp_path)
    (tmp_path / "neuron_acts" / DESCRIPTION).unlink()
    (tmp_path / "neuron_acts/neuron_0000/idxs.npy").unlink()

    assert_reads(open_reader(tmp_path))
    assert "cannot be used" not in caplog.text


def test_folders_of_different_runs_are_refused(tmp_path: Path) -> None:
    write_transposed(DenseSource(DENSE), tmp_path / "a")
    write_neuron_acts(DenseSource(DENSE[:, :5]), tmp_path / "b")

    with pytest.raises(LayoutError, match="come from different runs"):
        open_reader(tmp_path / "a", tmp_path / "b")


def test_a_broken_slower_layout_does_not_stop_the_faster_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_everything(tmp_path)
    (tmp_path / "activations_efficient/conversion_metadata.json").unlink()

    assert_reads(open_reader(tmp_path))
    assert "cannot be used" in caplog.text


def test_a_folder_without_activations_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no activations; expected published store, .*batch tree"):
        open_reader(tmp_path)


def test_raw_activations_alone_are_not_readable_by_feature(tmp_path: Path) -> None:
    write_raw(tmp_path, DENSE)

    with pytest.raises(LayoutError, match="only raw activations"):
        open_reader(tmp_path)


@pytest.mark.parametrize(
    "name", ["neuron_acts", "activations_transposed", "activations_efficient", "raw_activations", "store"]
)
def test_any_folder_serves_as_a_reader(name: str, tmp_path: Path) -> None:
    write_everything(tmp_path / "run")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = tmp_path / "run" / name

    with as_reader(folder if name != "store" else folder / "staged", scratch) as reader:
        assert_reads(reader)
        assert not isinstance(reader, BatchReader | RawActivations)

    assert list(scratch.iterdir()) == []


def test_the_sparse_matrices_themselves_open_too(tmp_path: Path) -> None:
    write_everything(tmp_path)

    assert_reads(open_reader(tmp_path / "store/staged/activations.zarr"))
    assert_reads(open_reader(tmp_path / "activations_transposed/transposed_activations.zarr"))
