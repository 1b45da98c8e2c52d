"""`splat generate-activations` called more than once."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_assets.store.raw import RawActivations
from tests.small_run import make_inputs
from tests.store.making import bytes_below


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command's words but for --output-dir, with an SAE trained for it."""
    here = tmp_path_factory.mktemp("generate")
    data, model = make_inputs(DataRoot(here / "inputs"), n_builds=300)
    inputs = ["--model-checkpoint", str(model), "--data-csv", str(data)]
    recipe = ["--k", "4", "--d-sae", "24", "--epochs", "2", "--sae-batch-size", "64"]
    trained = CliRunner().invoke(main, ["train-sae", *inputs, "--save-dir", str(here / "sae"), *recipe])
    assert trained.exit_code == 0, trained.output
    return ["generate-activations", *inputs, "--sae-checkpoint", str(here / "sae"), "--shard-items", "100"]


def generate(words: list[str], out: Path) -> Result:
    result = CliRunner().invoke(main, [*words, "--output-dir", str(out)])
    assert result.exit_code == 0, result.output
    return result


def test_a_second_call_finds_all_there_and_runs_no_model(words: list[str], tmp_path: Path) -> None:
    first = generate(words, tmp_path / "out")
    made = bytes_below(tmp_path / "out")

    again = generate(words, tmp_path / "out")

    assert "base activations" in first.stderr and "base activations" not in again.stderr
    assert again.stdout == first.stdout
    assert bytes_below(tmp_path / "out") == made


def test_a_lost_shard_alone_is_made_again(words: list[str], tmp_path: Path) -> None:
    generate(words, tmp_path / "out")
    made = bytes_below(tmp_path / "out")
    untouched = (tmp_path / "out" / "shard-00000").stat().st_mtime_ns
    (tmp_path / "out" / "shard-00001").rename(tmp_path / "lost")

    generate(words, tmp_path / "out")

    assert bytes_below(tmp_path / "out") == made
    assert (tmp_path / "out" / "shard-00000").stat().st_mtime_ns == untouched


def test_a_folder_of_the_users_beside_the_shards_stays(words: list[str], tmp_path: Path) -> None:
    kept = {"shard-backup/x": b"mine", "base_activations/y": b"mine"}
    for name, content in kept.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True)
        (tmp_path / "out" / name).write_bytes(content)

    generate(words, tmp_path / "out")

    assert kept.items() <= bytes_below(tmp_path / "out").items()
    assert RawActivations(tmp_path / "out").n_shards == 4


@pytest.mark.slow
def test_two_calls_at_once_make_one_result(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "splat_assets.cli", *words, "--output-dir", str(tmp_path / "out")]

    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert RawActivations(tmp_path / "out").n_shards == 4


def test_activations_of_another_recipe_are_never_replaced(words: list[str], tmp_path: Path) -> None:
    generate(words, tmp_path / "out")
    before = bytes_below(tmp_path / "out")

    result = CliRunner().invoke(main, [*words, "--output-dir", str(tmp_path / "out"), "--masked-variants", "1"])

    assert result.exit_code == 2
    assert "holds activations of another recipe" in result.stderr
    assert bytes_below(tmp_path / "out") == before


def test_an_sae_that_was_trained_elsewhere_is_never_replaced(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "brought").mkdir()
    (tmp_path / "brought" / "sae_model_final.pth").write_bytes(b"precious")
    inputs = words[1 : words.index("--sae-checkpoint")]

    result = CliRunner().invoke(main, ["train-sae", *inputs, "--save-dir", str(tmp_path / "brought"), "--k", "4"])

    assert result.exit_code == 2
    assert "holds an SAE that was not trained here (sae_model_final.pth)" in result.stderr
    assert bytes_below(tmp_path / "brought") == {"sae_model_final.pth": b"precious"}
