"""Configurations are refused when they are built, and own backends are asked first and never believed unchecked."""

import dataclasses
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from splat_assets.errors import InputError
from splat_assets.store.activations import ActivationReader
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError, LayoutError
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.guide.neuron_acts import write_neuron_acts
from splat_assets.store.guide.transposed import write_transposed
from splat_assets.store.layout import DataRoot
from splat_serving.guide.efficient_fs_database import EfficientFSDatabase
from splat_serving.guide.storage_backends import LoaderError, LoadersReader, own_loaders
from splat_serving.guide.storage_config import StorageConfig
from tests.contracts.reader import ReaderContract
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table
from tests.store.making import DENSE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-database.md"
BUILT_IN = "batch tree"
Dense = npt.NDArray[np.float32]


class Held:
    """Dense activations, of which each feature's samples are given last first."""

    def __init__(self, dense: Dense, features: range | None = None) -> None:
        self.dense = dense
        self.features = features if features is not None else range(dense.shape[1])

    @property
    def is_available(self) -> bool:
        return True

    def load(self, feature_id: int) -> tuple[npt.NDArray[np.int64], Dense] | None:
        if feature_id not in self.features:
            return None
        indices = np.flatnonzero(self.dense[:, feature_id])[::-1]
        return indices, self.dense[indices, feature_id]


@dataclasses.dataclass
class Answers:
    """A loader whose answer is what a test wants."""

    answer: Any
    is_available: Any = True

    def load(self, feature_id: int) -> Any:
        return self.answer(feature_id) if callable(self.answer) else self.answer


def tree(folder: Path, dense: Dense = DENSE) -> Path:
    write_batches(DenseSource(dense), sample_table(len(dense)), None, VOCABULARY, folder, 2)
    return folder


class TestLoadersReader(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        first = Held(dense, range(0, dense.shape[1], 2))
        return LoadersReader([first, Held(dense)], dense.shape[1], dense.shape[0], "memory")


def test_a_configuration_takes_texts_and_paths_and_any_model_name(tmp_path: Path) -> None:
    efficient = tree(tmp_path / "efficient")
    write_transposed(DenseSource(DENSE), tmp_path / "transposed")
    write_neuron_acts(DenseSource(DENSE), tmp_path / "neuron_acts")

    config = StorageConfig(
        model_type="neither full nor ultra",
        data_dir=str(efficient),
        transposed_dir=tmp_path / "transposed",
        neuron_acts_dir=str(tmp_path / "neuron_acts"),
    )

    assert config.folders == (efficient, tmp_path / "transposed", tmp_path / "neuron_acts")
    assert dataclasses.replace(config, neuron_acts_dir=None).folders == config.folders[:2]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.data_dir = tmp_path  # type: ignore[misc]


@pytest.mark.parametrize("name", ["data_dir", "transposed_dir", "neuron_acts_dir"])
def test_a_missing_folder_is_named(name: str, tmp_path: Path) -> None:
    folders: dict[str, Any] = {"data_dir": tmp_path} | {name: tmp_path / "absent"}

    with pytest.raises(LayoutError, match=f"{name}: folder {tmp_path / 'absent'} does not exist"):
        StorageConfig("small", **folders)


def test_a_missing_folder_of_examples_is_logged_and_harmless(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    efficient = tree(tmp_path / "efficient")

    with caplog.at_level(logging.WARNING):
        db = EfficientFSDatabase(efficient, examples_dir=efficient / "examples")

    assert f"folder {efficient / 'examples'} does not exist" in caplog.text
    assert db.get_top_examples(0)["index"].to_list() == [3, 0]


def test_a_folder_of_another_layout_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    efficient = tree(tmp_path / "efficient")
    write_transposed(DenseSource(DENSE), tmp_path / "transposed")
    (tmp_path / "empty").mkdir()

    with pytest.raises(
        LayoutError, match=r"neuron_acts_dir: .* holds transposed array instead of the files per feature"
    ):
        StorageConfig("small", efficient, neuron_acts_dir=tmp_path / "transposed")
    with pytest.raises(LayoutError, match="transposed_dir: .* holds no activations instead of the transposed array"):
        StorageConfig("small", efficient, transposed_dir=tmp_path / "empty")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": ""}, "model_type is empty"),
        ({"n_features": -1}, "n_features is -1"),
        ({"loaders": ["ParquetLoader"]}, "loaders: 'ParquetLoader' is not an activation loader"),
        ({"loaders": [object()]}, "is not an activation loader"),
    ],
)
def test_contradictions_are_refused_when_a_configuration_is_built(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"model_type": "small", "data_dir": tmp_path} | changes

    with pytest.raises(InputError, match=message):
        StorageConfig(**given)


def test_own_loaders_are_tried_first_in_their_order_and_the_built_in_last(tmp_path: Path) -> None:
    doubled, tripled = Held(DENSE * 2, range(0, 1)), Held(DENSE * 3, range(0, 3))

    db = EfficientFSDatabase(config=StorageConfig("small", tree(tmp_path / "efficient"), loaders=[doubled, tripled]))

    assert db.loaders == ("Held", "Held", BUILT_IN)
    assert [db.get_feature_stats(feature_id)["max"] for feature_id in (0, 2, 3)] == [4.0, 3.0, 4.0]
    assert db.get_feature_histogram(2)["upper_bound"].max() == 3.0
    assert db.get_all_feature_activations_for_pagerank(0)["activation"].to_list() == [1.0, 4.0]


def test_statistics_are_those_of_the_loader_that_answers_and_not_of_a_table(finished_root: DataRoot) -> None:
    run = finished_root.run("small").root
    there = EfficientFSDatabase(run)
    single = Held(np.zeros((there.n_samples, there.n_features), np.float32))
    single.dense[7, 3] = 2

    db = EfficientFSDatabase(config=StorageConfig("small", run, loaders=[single]))

    assert there.get_feature_stats(3)["n_zeros"] != there.n_samples - 1
    assert db.get_feature_stats(3)["n_zeros"] == db.n_samples - 1
    assert db.get_feature_stats(3)["mean"] == db.get_feature_summary(3)["mean"] == 2


def test_a_class_or_function_makes_a_loader_of_the_configuration(tmp_path: Path) -> None:
    class Own(Held):
        def __init__(self, config: StorageConfig) -> None:
            super().__init__(DENSE * len(config.model_type))

    config = StorageConfig("four", tree(tmp_path / "efficient"), loaders=[Own, lambda config: Held(DENSE)])

    db = EfficientFSDatabase(config=config)

    assert db.loaders == ("Own", "Held", BUILT_IN)
    assert db.get_feature_stats(0)["max"] == 8.0


def test_a_loader_that_is_not_available_is_left_out(tmp_path: Path) -> None:
    absent = Answers(None, is_available=False)

    db = EfficientFSDatabase(config=StorageConfig("small", tree(tmp_path / "efficient"), loaders=[absent]))

    assert db.loaders == (BUILT_IN,)


IDS, VALUES = np.array([0, 3]), np.array([0.5, 2.0], np.float32)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((IDS, VALUES[:1]), "indices have shape (2,) and activations (1,)"),
        ((IDS.reshape(1, 2), VALUES.reshape(1, 2)), "indices have shape (1, 2)"),
        ((np.array([3, 3]), VALUES), "sample 3 occurs more than once"),
        ((np.array([4, 0, 4]), np.ones(3, np.float32)), "sample 4 occurs more than once"),
        ((np.array([0, 5]), VALUES), "index 5 is outside samples 0 to 4"),
        ((np.array([-1, 2]), VALUES), "index -1 is outside samples 0 to 4"),
        ((np.array([0, 2**63], np.uint64), VALUES), "index 9223372036854775808 is outside"),
        ((IDS, np.array([0.5, np.nan], np.float32)), "the activation of sample 3 is nan"),
        ((IDS, np.array([np.inf, 0.5], np.float32)), "the activation of sample 0 is inf"),
        ((IDS, np.array([0.5, 0.0], np.float32)), "the activation of sample 3 is 0.0"),
        ((IDS, np.array([0.5, -1.0], np.float32)), "the activation of sample 3 is -1.0"),
        ((IDS, np.array([0.5, 1e300])), "the activation of sample 3 is 1e+300"),
        ((IDS, np.array([0.5, 1e-300])), "the activation of sample 3 is 1e-300"),
        ((IDS.astype(np.float64), VALUES), "indices are float64"),
        ((IDS == 3, VALUES), "indices are bool"),
        ((IDS, np.ma.masked_less(VALUES, 1.0)), "masked arrays are not expected"),
        ((IDS, VALUES.astype(np.int64)), "activations int64"),
        ((IDS.tolist(), VALUES.tolist()), "a pair of arrays (indices, activations) or None is expected"),
        (IDS, "a pair of arrays (indices, activations) or None is expected"),
        ((IDS, VALUES, VALUES), "a pair of arrays (indices, activations) or None is expected"),
    ],
)
def test_wrong_data_is_an_error_that_names_loader_and_feature(answer: Any, message: str, tmp_path: Path) -> None:
    config = StorageConfig("small", tree(tmp_path / "efficient"), loaders=[Answers(answer)])
    db = EfficientFSDatabase(config=config)
    asks: list[Callable[[int], Any]] = [
        db.get_feature_stats,
        db.get_feature_histogram,
        db.get_top_examples,
        db.get_feature_summary,
        db.get_all_feature_activations_for_pagerank,
    ]

    for ask in asks:
        with pytest.raises(InvalidActivationsError, match="loader Answers, feature 2: .*" + re.escape(message)):
            ask(2)


def test_other_integer_and_float_types_and_empty_arrays_are_taken(tmp_path: Path) -> None:
    narrow = Answers(lambda feature_id: (IDS.astype(np.uint8), VALUES.astype(np.float64)))
    empty = Answers((np.array([]), np.array([])))
    efficient = tree(tmp_path / "efficient")

    some = EfficientFSDatabase(config=StorageConfig("small", efficient, loaders=[narrow]))
    none = EfficientFSDatabase(config=StorageConfig("small", efficient, loaders=[empty]))

    assert some.get_all_feature_activations_for_pagerank(1)["activation"].to_list() == [0.5, 2.0]
    assert none.get_feature_stats(0)["n_zeros"] == 5


def test_the_arrays_that_a_loader_keeps_stay_its_own() -> None:
    ids, values = np.array([0, 3]), np.array([0.5, 2.0], np.float32)

    found = LoadersReader([Answers((ids, values))], 4, 5, "memory").read(0)
    found.values[:] = 7

    assert ids.tolist() == [0, 3]
    assert values.tolist() == [0.5, 2.0]


def test_a_loader_that_fails_is_named_and_what_it_raised_is_kept(tmp_path: Path) -> None:
    def fail(feature_id: int) -> None:
        raise KeyError("no such column")

    db = EfficientFSDatabase(config=StorageConfig("small", tree(tmp_path / "efficient"), loaders=[Answers(fail)]))

    with pytest.raises(LoaderError, match="Answers failed on feature 2 with KeyError: 'no such column'") as caught:
        db.get_feature_stats(2)
    assert isinstance(caught.value.__cause__, KeyError)


def test_what_a_loader_says_of_damaged_bytes_comes_through(tmp_path: Path) -> None:
    def fail(feature_id: int) -> None:
        raise CorruptStoreError("activations.parquet is cut off")

    db = EfficientFSDatabase(config=StorageConfig("small", tree(tmp_path / "efficient"), loaders=[Answers(fail)]))

    with pytest.raises(CorruptStoreError, match="^activations.parquet is cut off$"):
        db.get_feature_stats(2)


def test_a_method_in_place_of_the_property_is_refused_and_not_taken_as_true(tmp_path: Path) -> None:
    class Method:
        def is_available(self) -> bool:
            return False

        def load(self, feature_id: int) -> None:
            return None

    config = StorageConfig("small", tree(tmp_path / "efficient"), loaders=[Method()])  # type: ignore[list-item]

    with pytest.raises(LoaderError, match="loader Method: is_available is .*must be a property"):
        EfficientFSDatabase(config=config)


def test_a_factory_that_fails_or_makes_something_else_is_named(tmp_path: Path) -> None:
    def fail(config: StorageConfig) -> Held:
        raise OSError("no route to the cluster")

    seven: Any = lambda config: 7  # noqa: E731
    efficient = tree(tmp_path / "efficient")

    with pytest.raises(LoaderError, match=r"loaders\[0\] failed .*OSError: no route to the cluster"):
        EfficientFSDatabase(config=StorageConfig("small", efficient, loaders=[fail]))
    with pytest.raises(LoaderError, match=r"loaders\[1\] returned 7, which is not an activation loader"):
        EfficientFSDatabase(config=StorageConfig("small", efficient, loaders=[Held(DENSE), seven]))


def test_own_loaders_alone_serve_a_folder_of_sample_metadata(tmp_path: Path) -> None:
    efficient = tree(tmp_path / "efficient")
    expected = EfficientFSDatabase(efficient).get_feature_activations(2)
    shutil.rmtree(efficient / "activations")

    db = EfficientFSDatabase(config=StorageConfig("small", efficient, loaders=[Held(DENSE, range(3))], n_features=4))

    assert db.loaders == ("Held",)
    assert db.get_feature_activations(2).equals(expected)
    assert db.get_all_feature_ids() == [0, 1, 2, 3]
    with pytest.raises(LoaderError, match="no loader of small has feature 3; tried Held"):
        db.get_feature_stats(3)


def test_own_loaders_alone_cannot_say_how_many_features_there_are(tmp_path: Path) -> None:
    efficient = tree(tmp_path / "efficient")
    shutil.rmtree(efficient / "activations")

    with pytest.raises(InputError, match="pass n_features to StorageConfig"):
        EfficientFSDatabase(config=StorageConfig("small", efficient, loaders=[Held(DENSE)]))


def test_a_number_of_features_that_the_folder_contradicts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="n_features is 24576, but .* holds 4 features"):
        EfficientFSDatabase(config=StorageConfig("small", tree(tmp_path / "efficient"), n_features=24_576))


def installed(root: Path, monkeypatch: pytest.MonkeyPatch, code: str, name: str) -> None:
    """A package that brings a loader, as an installer leaves it."""
    (root / f"{name}.py").write_text(code)
    facts = root / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[splat.activation_loaders]\n{name} = {name}:made\n")
    monkeypatch.syspath_prepend(root)


LOADER = """
import numpy as np

class Theirs:
    def __init__(self, config):
        self.path = config.data_dir / "theirs.npy"

    @property
    def is_available(self):
        return self.path.is_file()

    def load(self, feature_id):
        return np.array([1]), np.load(self.path)[feature_id : feature_id + 1]

made = Theirs
"""


def test_an_installed_package_brings_a_loader_that_says_whether_it_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    efficient = tree(tmp_path / "efficient")
    installed(tmp_path, monkeypatch, LOADER, "available_loaders")

    before = EfficientFSDatabase(efficient)
    np.save(efficient / "theirs.npy", np.array([7, 8, 9, 10], np.float32))
    after = EfficientFSDatabase(config=StorageConfig("small", efficient, loaders=[Held(DENSE, range(1))]))

    assert before.loaders == (BUILT_IN,)
    assert after.loaders == ("Held", "Theirs", BUILT_IN)
    assert [after.get_feature_stats(feature_id)["max"] for feature_id in (0, 1)] == [2.0, 8.0]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("broken_import", "import nothing_of_this_name", "failed on its import with ModuleNotFoundError"),
        ("broken_name", "", "failed on its import with AttributeError"),
        ("broken_factory", "def made(config):\n    raise OSError('no disk')", "failed on .* with OSError: no disk"),
        ("broken_object", "made = 7", "is 7, neither an activation loader nor a function"),
    ],
)
def test_a_broken_entry_point_is_an_error_that_names_it_and_its_package(
    name: str, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch, code, name)

    with pytest.raises(LoaderError, match=f"^entry point {name} = {name}:made of {name} {message}"):
        own_loaders(StorageConfig("small", tmp_path))


def test_every_python_block_of_the_page_runs(
    finished_root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data/runs").mkdir(parents=True)
    (tmp_path / "data/runs/demo").symlink_to(finished_root.run("small").root)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}

    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)

    assert len(blocks) > 5
    assert names["from_config"](names["config"]).path.name == "activations.parquet"
