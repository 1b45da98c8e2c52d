"""The guide's per-feature files: names and dtypes, folders that somebody else made, and damage."""

import json
from pathlib import Path

import numpy as np
import pytest

from splat_assets.store.activations import ActivationReader
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError, LayoutError
from splat_assets.store.files import files_below, sha256_of_file, staging_path
from splat_assets.store.guide.neuron_acts import DESCRIPTION, NeuronActsReader, feature_folder_name, write_neuron_acts
from tests.contracts.reader import Dense, ReaderContract
from tests.contracts.sources import DenseSource, sparse_random


def written(dense: Dense, root: Path) -> Path:
    target = root / "neuron_acts"
    write_neuron_acts(DenseSource(dense), target)
    return target


class TestNeuronActsReader(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        return NeuronActsReader(written(dense, root))


class TestNeuronActsReaderOnAFolderWithoutMetadata(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        folder = written(dense, root)
        (folder / DESCRIPTION).unlink()
        return NeuronActsReader(folder, n_features=dense.shape[1], n_samples=dense.shape[0])


def test_a_feature_is_two_files_of_the_guides_dtypes(tmp_path: Path) -> None:
    dense = np.array([[0, 2], [0.5, 0], [0.25, 0]], dtype=np.float32)

    target = written(dense, tmp_path)

    assert np.load(target / "neuron_0000/acts.npy").tolist() == [0.5, 0.25]
    assert np.load(target / "neuron_0000/idxs.npy").tolist() == [1, 2]
    assert np.load(target / "neuron_0001/acts.npy").dtype == np.float32
    assert np.load(target / "neuron_0001/idxs.npy").dtype == np.int64
    described = json.loads((target / DESCRIPTION).read_text())
    assert described == {"format_version": 1, "n_features": 2, "n_samples": 3, "nnz": 3}


def test_a_dead_feature_has_empty_files(tmp_path: Path) -> None:
    target = written(np.zeros((3, 2), np.float32), tmp_path)

    assert np.load(target / "neuron_0001/acts.npy").shape == (0,)
    assert np.load(target / "neuron_0001/idxs.npy").dtype == np.int64


def test_ids_from_ten_thousand_on_get_five_digits() -> None:
    assert feature_folder_name(9_999) == "neuron_9999"
    assert feature_folder_name(10_000) == "neuron_10000"
    assert feature_folder_name(24_575) == "neuron_24575"


def test_writing_again_replaces_and_gives_the_same_bytes(tmp_path: Path) -> None:
    written(sparse_random(13, 9, 0.4), tmp_path)
    dense = sparse_random(13, 6, 0.4)
    target = written(dense, tmp_path)
    before = {path: sha256_of_file(path) for path in files_below(target)}

    written(dense, tmp_path)

    assert {path: sha256_of_file(path) for path in files_below(target)} == before
    assert NeuronActsReader(target).n_features == 6


def test_what_a_killed_writer_left_is_gone_and_what_others_are_writing_stays(tmp_path: Path) -> None:
    left, others = staging_path(tmp_path / "neuron_acts"), staging_path(tmp_path / "of_a_run_neuron_acts")
    left.mkdir()
    others.mkdir()

    written(sparse_random(13, 6, 0.4), tmp_path)

    assert not left.exists()
    assert others.exists()


def test_more_files_than_are_flushed_one_by_one_read_back(tmp_path: Path) -> None:
    dense = sparse_random(5, 400, 0.5)

    reader = NeuronActsReader(written(dense, tmp_path))

    for feature_id in range(400):
        np.testing.assert_array_equal(reader.read(feature_id).values, dense[:, feature_id][dense[:, feature_id] > 0])


def test_a_folder_without_metadata_says_what_is_assumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dense = np.array([[0, 2, 0], [0.5, 0, 0], [0, 0, 0]], dtype=np.float32)
    target = written(dense, tmp_path)
    (target / DESCRIPTION).unlink()
    for name in ("acts.npy", "idxs.npy"):
        (target / "neuron_0002" / name).unlink()
    (target / "neuron_0002").rmdir()

    reader = NeuronActsReader(target)

    assert (reader.n_features, reader.n_samples) == (2, 2)
    assert any("n_features is taken as 2" in sentence for sentence in reader.assumptions)
    assert any("n_samples is taken as 2" in sentence for sentence in reader.assumptions)
    assert "samples after the last active one cannot be seen" in caplog.text


def test_a_gap_without_metadata_is_assumed_dead_and_reported(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.9), tmp_path)
    (target / DESCRIPTION).unlink()
    for name in ("acts.npy", "idxs.npy"):
        (target / "neuron_0002" / name).unlink()
    (target / "neuron_0002").rmdir()

    reader = NeuronActsReader(target)

    assert reader.read(2).n_active == 0
    assert any("neuron_0002" in sentence for sentence in reader.assumptions)


def test_with_metadata_nothing_is_assumed_and_a_lost_folder_is_an_error(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.9), tmp_path)
    assert NeuronActsReader(target).assumptions == ()
    (target / "neuron_0002").rename(tmp_path / "elsewhere")

    with pytest.raises(LayoutError, match="lost neuron_0002"):
        NeuronActsReader(target)


def test_a_stray_folder_with_a_huge_number_decides_the_feature_count_only_if_passed(tmp_path: Path) -> None:
    target = written(sparse_random(13, 3, 0.9), tmp_path)
    (target / DESCRIPTION).unlink()
    (target / "neuron_0002").rename(target / "neuron_1700000000")

    with pytest.raises(LayoutError, match="neuron_1700000000 implies 1,700,000,001 features for 3 folders"):
        NeuronActsReader(target)
    assert NeuronActsReader(target, n_features=1_700_000_001).read(1_000_000_000).n_active == 0


def test_a_description_of_far_more_features_than_there_are_is_refused_at_once(tmp_path: Path) -> None:
    target = written(sparse_random(13, 3, 0.9), tmp_path)
    (target / DESCRIPTION).write_text(json.dumps({"n_features": 10**9, "n_samples": 13}))

    with pytest.raises(LayoutError, match=r"lost neuron_0003 \(999999997 missing\)"):
        NeuronActsReader(target)


@pytest.mark.parametrize("n_samples", [2_000_000_000, 2**63])
def test_one_strange_sample_id_decides_the_sample_count_only_if_passed(n_samples: int, tmp_path: Path) -> None:
    target = written(sparse_random(13, 3, 0.9), tmp_path)
    (target / DESCRIPTION).unlink()
    np.save(target / "neuron_0001/idxs.npy", np.array([0, n_samples - 1], np.uint64))
    np.save(target / "neuron_0001/acts.npy", np.ones(2, np.float32))

    with pytest.raises(LayoutError, match=f"{n_samples:,} samples for .* activations"):
        NeuronActsReader(target)
    assert NeuronActsReader(target, n_samples=n_samples).read(1).sample_ids.tolist() == [0, n_samples - 1]


@pytest.mark.parametrize("name", ["neuron_0", "neuron_00001", "neuron_0001_old"])
def test_a_folder_whose_number_is_written_otherwise_is_refused_by_name(name: str, tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.9), tmp_path)
    (target / "neuron_0002").rename(target / name)

    with pytest.raises(LayoutError, match=f"{name} is not numbered like neuron_0000"):
        NeuronActsReader(target)


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        ([1, 1], [1.0, 2.0], "entry 1 .*strictly increasing"),
        ([2, 1], [1.0, 2.0], "entry 1"),
        ([1, 13], [1.0, 2.0], "entry 1 .*within 0 to 12"),
        ([-1, 1], [1.0, 2.0], "entry 0"),
        ([0, 1], [1.0, 0.0], "entry 1 is 0.0"),
        ([0, 1], [np.nan, 1.0], "entry 0 is nan"),
        ([0, 1], [1.0, -1.0], "entry 1 is -1.0"),
    ],
)
def test_files_that_break_a_promise_are_refused(
    ids: list[int], values: list[float], message: str, tmp_path: Path
) -> None:
    target = written(sparse_random(13, 6, 0.9), tmp_path)
    np.save(target / "neuron_0003/idxs.npy", np.array(ids, np.int64))
    np.save(target / "neuron_0003/acts.npy", np.array(values, np.float32))

    with pytest.raises(InvalidActivationsError, match=f"neuron_0003: {message}"):
        NeuronActsReader(target).read(3)


@pytest.mark.parametrize(("value", "message"), [(1e300, "entry 1 is inf"), (1e-60, "entry 1 is 0.0")])
def test_values_that_float32_cannot_hold_are_refused(value: float, message: str, tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.9), tmp_path)
    np.save(target / "neuron_0003/idxs.npy", np.array([0, 1]))
    np.save(target / "neuron_0003/acts.npy", np.array([1.0, value]))

    with pytest.raises(InvalidActivationsError, match=f"neuron_0003: {message}"):
        NeuronActsReader(target).read(3)


def test_a_missing_a_cut_and_a_pickled_file_are_refused(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.9), tmp_path)
    (target / "neuron_0000/acts.npy").unlink()
    cut = target / "neuron_0001/idxs.npy"
    cut.write_bytes(cut.read_bytes()[:-4])
    np.save(target / "neuron_0002/acts.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(target / "neuron_0003/acts.npy", np.zeros(1, np.float32))
    reader = NeuronActsReader(target)

    for feature_id, message in (
        (0, "No such file"),
        (1, "has .* bytes where"),
        (2, "not a plain"),
        (3, "of one length"),
    ):
        with pytest.raises(CorruptStoreError, match=message):
            reader.read(feature_id)


def test_a_zip_under_the_name_of_an_array_is_refused(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.9), tmp_path)
    np.savez(tmp_path / "a.npz", np.ones(2))
    (tmp_path / "a.npz").replace(target / "neuron_0000/acts.npy")

    with pytest.raises(CorruptStoreError, match=r"acts\.npy cannot be read as a \.npy file"):
        NeuronActsReader(target).read(0)
