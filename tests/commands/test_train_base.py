import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.data.demo import make_demo_inputs
from splat_assets.model import load_base_model

SMALL = "--embedding-dim 8 --hidden-dim 16 --num-layers 1 --num-inducing-points 2 --epochs 1".split()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_demo_inputs(folder, n_builds=300)
    return folder


def arguments(inputs: Path, save_dir: Path, *more: str) -> list[str]:
    files = ["--data-csv", inputs / "tokenized_data.csv", "--vocab-path", inputs / "vocab.json"]
    files += ["--weapon-vocab-path", inputs / "weapon_vocab.json", "--save-dir", save_dir]
    return ["train-base", *map(str, files), *SMALL, *more]


def test_it_trains_saves_and_shows_how_well_the_model_predicts(inputs: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, arguments(inputs, tmp_path / "model", "--no-use-layer-norm", "--seed", "3"))

    assert result.exit_code == 0, result.output
    assert "the model" in result.output and "frequency on the weapon" in result.output
    dimensions = load_base_model(tmp_path / "model").dimensions
    assert (dimensions.hidden_dim, dimensions.use_layer_norm) == (16, False)
    assert json.loads((tmp_path / "model" / "training_metrics.json").read_text())["recipe"]["seed"] == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--num-heads", "3"], "num_heads 3 does not divide hidden_dim 16"),
        (["--data-csv", "nowhere.csv"], "nowhere.csv"),
        (["--null-share", "2"], "null_share"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    inputs: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    result = CliRunner().invoke(main, arguments(inputs, tmp_path / "model", *more))

    assert result.exit_code == 2
    assert said in result.output and len(result.output.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    result = CliRunner().invoke(main, arguments(tmp_path / "nowhere", tmp_path))

    assert result.exit_code == 2 and "notes.txt" in result.output
    assert (tmp_path / "notes.txt").read_text() == "mine"
