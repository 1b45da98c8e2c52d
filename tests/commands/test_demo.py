import json
from pathlib import Path

import pytest

from splat_assets.commands.demo import demo_run
from splat_assets.data.demo import make_demo_inputs
from splat_assets.data.splits import split_builds
from splat_assets.data.tokenised import read_tokenised
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.errors import InputError
from splat_assets.runs import Run
from splat_assets.store.layout import DataRoot
from splat_assets.text.progress import SilentProgress
from tests.small_run import save_random_model


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """A data root where a demo of 300 builds and seed 4 has its dataset and its base model."""
    root = DataRoot(tmp_path)
    make_demo_inputs(root.datasets / "demo", n_builds=300, seed=4)
    save_random_model(root.datasets / "demo", root.models / "demo")
    (root.models / "demo" / "training_metrics.json").write_text("{}")
    return root


def fingerprint_of_split_builds(run: Run) -> str:
    inputs, split = run.config.inputs, run.config.split
    vocabulary, contexts = read_vocabulary(Path(inputs.vocab.path)), read_contexts(Path(inputs.weapon_vocab.path))
    builds = read_tokenised(Path(inputs.data.path), vocabulary, contexts)
    return split_builds(builds, split.seed, split.validation, split.test).fingerprint


def test_the_base_model_is_trained_on_the_split_of_the_run(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)

    run = demo_run(root, 120, 7, SilentProgress())

    trained = json.loads((root.models / "demo" / "training_metrics.json").read_text())
    assert trained["inputs"]["builds"] == fingerprint_of_split_builds(run)


def test_the_same_demo_again_is_the_same_run(root: DataRoot) -> None:
    assert demo_run(root, 300, 4, SilentProgress()).config == demo_run(root, 300, 4, SilentProgress()).config


@pytest.mark.parametrize(("n_builds", "seed"), [(50_000, 4), (300, 0)])
def test_another_demo_in_the_same_place_is_refused(n_builds: int, seed: int, root: DataRoot) -> None:
    said = f"demo holds 300 builds drawn with seed 4, not {n_builds:,} with seed {seed}: pass --builds 300 --seed 4, or"

    with pytest.raises(InputError, match=said):
        demo_run(root, n_builds, seed, SilentProgress())

    assert not root.run("demo").config.exists()


@pytest.mark.parametrize("written", ["", "[]", '{"seed": 4}'])
def test_a_demo_dataset_that_is_not_whole_is_refused(written: str, root: DataRoot) -> None:
    (root.datasets / "demo" / "planted_concepts.json").write_text(written)

    with pytest.raises(InputError, match="does not record how its builds were drawn; delete .*demo"):
        demo_run(root, 300, 4, SilentProgress())


def test_a_base_model_of_another_demo_is_refused(root: DataRoot) -> None:
    (root.models / "demo" / "training_metrics.json").write_text('{"inputs": {"builds": "of another demo"}}')

    with pytest.raises(InputError, match="demo was not trained on the builds of this demo; delete .*demo"):
        demo_run(root, 300, 4, SilentProgress())

    assert not root.run("demo").config.exists()
