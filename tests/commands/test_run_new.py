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
        (["--k", "3", "--expansion-factor", "9"], "--expansion-factor and --k say how to train an SAE"),
        (["--sae-batch-size", "64"], "--sae-batch-size says how to train an SAE"),
    ],
)
def test_a_ready_made_sae_is_not_trained_too(more: list[str], said: str, own_root: DataRoot) -> None:
    shown = run_new(own_root, "--sae-checkpoint", str(own_root.run("small").sae), *more)

    assert shown.exit_code == 2
    assert said in shown.stderr and "--sae-checkpoint names one that is ready" in shown.stderr
    assert not own_root.run("made").config.exists()


def test_a_ready_made_sae_alone_makes_a_run(own_root: DataRoot) -> None:
    shown = run_new(own_root, "--sae-checkpoint", str(own_root.run("small").sae))

    assert shown.exit_code == 0, shown.output
    assert open_run(own_root, "made").config.inputs.sae_checkpoint is not None
