import shutil

import pytest
from click.testing import CliRunner, Result

from splat_assets.cli import main
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot


def run_new(root: DataRoot, *more: str) -> Result:
    files = ["--model-checkpoint", root.models / "small", "--data-csv", root.datasets / "small" / "tokenized_data.csv"]
    arguments = ["run", "new", "made", *map(str, files), *more]
    return CliRunner().invoke(main, arguments, env={"SPLAT_DATA": str(root.path)})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--k", "3", "--expansion-factor", "9"], "--expansion-factor and --k set how to train an SAE"),
        (["--sae-batch-size", "64"], "--sae-batch-size sets how to train an SAE"),
    ],
)
def test_a_ready_made_sae_is_not_trained_too(more: list[str], said: str, own_root: DataRoot) -> None:
    shown = run_new(own_root, "--sae-checkpoint", str(own_root.run("small").sae), *more)

    assert shown.exit_code == 2
    assert said in shown.stderr and "--sae-checkpoint names a trained one" in shown.stderr
    assert not own_root.run("made").config.exists()


def test_a_ready_made_sae_alone_makes_a_run(own_root: DataRoot) -> None:
    shown = run_new(own_root, "--sae-checkpoint", str(own_root.run("small").sae))

    assert shown.exit_code == 0, shown.output
    assert open_run(own_root, "made").config.inputs.sae_checkpoint is not None


MANY_STEPS = ("--epochs", "100", "--sae-batch-size", "64")
TRAINING = "--embedding-dim 8 --hidden-dim 16 --num-layers 1 --num-inducing-points 2 --epochs 1".split()


def train_base(root: DataRoot, *more: str) -> None:
    """Replace the base model by one that is trained on the dataset."""
    dataset, model = root.datasets / "small", root.models / "small"
    shutil.rmtree(model)
    files = {
        "--data-csv": "tokenized_data.csv",
        "--vocab-path": "vocab.json",
        "--weapon-vocab-path": "weapon_vocab.json",
    }
    options = [part for flag, file in files.items() for part in (flag, str(dataset / file))]
    shown = CliRunner().invoke(main, ["train-base", *options, "--save-dir", str(model), *TRAINING, *more])
    assert shown.exit_code == 0, shown.output


def test_builds_that_trained_the_base_model_do_not_judge_without_a_word(own_root: DataRoot) -> None:
    train_base(own_root, "--split-seed", "1")

    other = run_new(own_root, *MANY_STEPS)
    own_root.run("made").config.unlink()
    same = run_new(own_root, "--split-seed", "1", *MANY_STEPS)

    assert (other.exit_code, same.exit_code) == (0, 0)
    assert "its training builds may be among the test builds" in other.stderr
    assert "pass the --split-seed of `splat train-base`" in other.stderr
    assert same.stderr == ""


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"inputs": {}}'])
def test_a_model_without_a_record_of_its_training_is_taken_as_it_is(record: str, own_root: DataRoot) -> None:
    (own_root.models / "small" / "training_metrics.json").write_text(record)

    shown = run_new(own_root, *MANY_STEPS)

    assert (shown.exit_code, shown.stderr) == (0, "")


def test_a_recipe_of_few_steps_is_pointed_out(own_root: DataRoot) -> None:
    few = run_new(own_root, "--epochs", "5", "--sae-batch-size", "4096")
    shutil.rmtree(own_root.run("made").root)
    enough = run_new(own_root, *MANY_STEPS)

    assert "trained for 5 steps only" in few.stderr
    assert enough.exit_code == 0 and "steps only" not in enough.stderr
