import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import run_check, shown_facts
from splat_assets.cli import main
from splat_assets.commands.report import artifact_table
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot
from splat_assets.store.receipts import read_receipt
from tests.assets.faults.planting import change_recipe


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A terminal of 80 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    yield


def splat(root: DataRoot, *arguments: str) -> str:
    found = CliRunner().invoke(main, list(arguments), env={"SPLAT_DATA": str(root.path), "DAGSTER_HOME": ""})
    return found.stdout


def test_artifacts_are_whole_in_80_columns(finished_root: DataRoot, narrow: None) -> None:
    shown = splat(finished_root, "run", "show", "small")

    assert all(asset.name in shown for asset in ASSETS)
    assert shown.count("0 of 9") == 1, "no column is cut off"
    assert "…" not in shown and max(map(len, shown.split("paths are below")[1].splitlines())) <= 80


def test_checks_are_whole_in_80_columns(own_root: DataRoot, narrow: None) -> None:
    shown = splat(own_root, "verify", "small")

    assert all(check.name in shown for asset in ASSETS for check in asset.checks)
    assert "…" not in shown


def test_the_path_beside_a_size_holds_all_of_it(finished_root: DataRoot) -> None:
    run = open_run(finished_root, "small")
    out = Console(file=io.StringIO(), width=200)

    out.print(artifact_table(run))

    title, *lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    path = {line.split()[0]: line.split()[1] for line in lines if " of " in line or " kB " in line}
    assert str(run.layout.root) in title
    assert (path["sae_checkpoint"], path["batch_zarr"]) == ("sae", "activations_efficient")
    for name in ("dataset", "sae_checkpoint", "histograms", "published_store", "batch_zarr"):
        receipt = read_receipt(run.layout.receipts, name)
        assert receipt is not None
        assert all(Path(output.path).is_relative_to(path[name]) for output in receipt.outputs), name


def test_a_failed_run_is_shown_with_its_failed_checks_their_figures_and_a_remedy(own_root: DataRoot) -> None:
    sae = asset_named("sae_checkpoint")
    change_recipe(open_run(own_root, "small"), "max_fvu = 0.5", "max_fvu = 0.0")
    run_check(
        sae, next(check for check in sae.checks if check.name == "fvu_is_within_limits"), open_run(own_root, "small")
    )

    shown, looked_at = splat(own_root, "run", "show", "small"), splat(own_root, "doctor", "--dagster-port", "1")

    line = r"sae_checkpoint: fvu_is_within_limits failed \(fvu: 0\.\d+; limit: 0\): a new run with more --epochs"
    assert re.search(line, " ".join(shown.split()))
    to_do = " ".join(" ".join(row.split("│")[-2] for row in looked_at.splitlines() if "│" in row).split())
    assert re.search(line, to_do) and "splat materialize small" not in to_do


def test_facts_are_short_and_empty_ones_are_left_out() -> None:
    shown = shown_facts({"fvu": 0.123456789, "wrong": "", "n": 0, "sha256": "a1" * 32, "seconds": 12345.678})

    assert shown == "fvu: 0.1235; n: 0; sha256: a1a1a1a1a1a1; seconds: 12,345.7"


def test_verify_says_how_far_it_is_and_counts_failures_apart_from_what_is_not_made(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    (run.layout.staged / "idf.parquet").write_bytes(b"spoilt")
    for name in ("neuron_acts", "batch_zarr"):
        (run.layout.receipts / f"{name}.json").unlink()

    shown = CliRunner().invoke(main, ["verify", "small"], env={"SPLAT_DATA": str(own_root.path)})

    n_checks = sum(len(asset.checks) for asset in ASSETS if asset.name not in ("neuron_acts", "batch_zarr"))
    lines = [line for line in shown.stderr.splitlines() if not line.startswith("checking ")]
    assert shown.exit_code == 1
    assert lines[-3].startswith(f"verify: {n_checks} checks in ")
    assert lines[-2].startswith("3 checks of run small failed: idf: idf_is_intact, idf: idf_is_exact, idf: guide_idf")
    assert lines[-1] == ("2 artifacts of run small not made yet: batch_zarr, neuron_acts; splat materialize small")
