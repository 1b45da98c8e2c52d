"""`splat import`: a folder of the guide's formats becomes a store that opens, and faults are said in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from splat_assets.cli import main
from splat_assets.store import open_store
from splat_assets.store.errors import LayoutError
from splat_assets.store.guide.neuron_acts import write_neuron_acts
from tests.contracts.sources import DenseSource, sparse_random
from tests.store.upstream_folders import write_upstream_tree

DENSE = sparse_random(13, 6, 0.5)


def splat(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_upstream_tree(DENSE, [5, 5, 3], tmp_path / "activations_efficient", null_rows=2)


@pytest.fixture
def vocabularies(tmp_path: Path) -> tuple[str | Path, ...]:
    tokens = ["swim_speed_up_3", "swim_speed_up_6", "comeback", "<NULL>", "<PAD>"]
    (tmp_path / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(tokens)}))
    (tmp_path / "weapon_vocab.json").write_text(json.dumps({f"weapon_id_{i}": i for i in range(3)}))
    return ("--vocab-path", tmp_path / "vocab.json", "--weapon-vocab-path", tmp_path / "weapon_vocab.json")


@pytest.mark.parametrize("profile", ["raw", "compact"])
def test_an_upstream_tree_becomes_a_store(
    profile: str, tree: Path, vocabularies: tuple[str | Path, ...], tmp_path: Path
) -> None:
    result = splat("import", tree, "--out", tmp_path / "out", "--profile", profile, *vocabularies)

    assert result.exit_code == 0, result.output
    assert "13 samples x 6 features" in result.output
    assert "global_index runs 6 to 8 where 10 to 12 belongs; renumbered by position" in result.output
    store = open_store(tmp_path / "out")
    assert store.version in result.output
    for feature_id in range(6):
        found = store.feature(feature_id)
        np.testing.assert_array_equal(found.sample_ids, np.flatnonzero(DENSE[:, feature_id]))
        np.testing.assert_array_equal(found.values, DENSE[found.sample_ids, feature_id])
    assert store.samples["is_null"].to_list() == [False] * 11 + [True] * 2
    assert store.features["n_active"].to_list() == np.count_nonzero(DENSE, axis=0).tolist()
    assert store.idf["doc_freq"].to_list()[3] == 2
    assert len(store.vocabulary) == 5
    assert store.verify() == []


def test_what_needs_a_model_is_not_computed_and_says_so(tree: Path, tmp_path: Path) -> None:
    splat("import", tree, "--out", tmp_path / "out")

    store = open_store(tmp_path / "out")
    with pytest.raises(LayoutError, match=r"influences.parquet was not computed"):
        _ = store.influences
    with pytest.raises(LayoutError, match=r"vocabulary.json was not computed"):
        _ = store.vocabulary


def test_importing_again_is_the_same_version(tree: Path, tmp_path: Path) -> None:
    splat("import", tree, "--out", tmp_path / "out")
    first = open_store(tmp_path / "out").version

    splat("import", tree, "--out", tmp_path / "out")

    assert open_store(tmp_path / "out").version == first


def test_neuron_acts_are_imported_with_sizes_from_options(tmp_path: Path) -> None:
    write_neuron_acts(DenseSource(DENSE), tmp_path / "neuron_acts")
    (tmp_path / "neuron_acts/neuron_acts_metadata.json").unlink()
    sizes = ("--n-features", "9", "--n-samples", "20")

    result = splat("import", tmp_path / "neuron_acts", "--out", tmp_path / "out", *sizes)

    assert result.exit_code == 0, result.output
    store = open_store(tmp_path / "out")
    assert (store.n_samples, store.n_features) == (20, 9)


@pytest.mark.parametrize("fault", ["nothing there", "a batch is missing", "joblib", "into itself"])
def test_a_fault_is_one_sentence_and_nothing_is_written(fault: str, tree: Path, tmp_path: Path) -> None:
    folder, out = tree, tmp_path / "out"
    if fault == "nothing there":
        folder = tmp_path / "nowhere"
    elif fault == "a batch is missing":
        (tree / "activations/batch_0001.zarr").rename(tmp_path / "aside")
    elif fault == "joblib":
        folder = tmp_path / "raw"
        folder.mkdir()
        (folder / "batch_0000.joblib").write_bytes(b"")
    else:
        out = tree
    before = sorted(tmp_path.rglob("*"))

    result = splat("import", folder, "--out", out)

    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert len(result.output.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
