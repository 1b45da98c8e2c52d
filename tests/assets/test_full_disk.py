"""A run on a disk that is full: one sentence, exit code 2, and the previous version stays current what readers get."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from splat_assets.cli import main
from splat_assets.runs import Run, open_run
from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot
from tests.assets.faults.planting import change_recipe
from tests.small_run import make_inputs

_KIB = 2**10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB; skipped where mounting one is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # lazily, for arrays may still be mapped


@pytest.fixture
def run_on_it(small_disk: Path, finished_root: DataRoot) -> Run:
    """A finished run on the small disk that is asked for another SAE, so that another version is due."""
    shutil.copytree(finished_root.path, small_disk / "data")
    root = DataRoot(small_disk / "data")
    config = root.run("small").config
    config.write_text(config.read_text(encoding="utf-8").replace(str(finished_root.path), str(root.path)))
    run = open_run(root, "small")
    change_recipe(run, "lr = 0.01", "lr = 0.008")
    return open_run(root, "small")


def fill(disk: Path, leave_bytes: int) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb") as handle:
        handle.write(bytes(max(0, shutil.disk_usage(disk).free - leave_bytes)))
    return ballast


def materialize(run: Run, home: Path | None) -> Result:
    environment = {"SPLAT_DATA": str(run.root.path), "DAGSTER_HOME": str(home or "")}
    return CliRunner().invoke(main, ["materialize", "small", "--anyway"], env=environment)


def error_of(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_on_a_full_disk_the_version_before_stays(run_on_it: Run, small_disk: Path, tmp_path: Path) -> None:
    before = open_store(run_on_it.layout.root).version

    for leave_kib in (0, 60, 150):
        ballast = fill(small_disk, leave_kib * _KIB)
        sentence = error_of(materialize(run_on_it, tmp_path / "home"))

        assert "no space left for" in sentence and "free some space" in sentence, leave_kib
        assert str(small_disk) in sentence
        assert open_store(run_on_it.layout.root).version == before
        assert open_store(run_on_it.layout.root).verify() == []
        ballast.unlink()

    assert materialize(run_on_it, tmp_path / "home").exit_code == 0
    store = open_store(run_on_it.layout.root)
    assert store.version != before
    assert store.verify() == []


@pytest.mark.slow
def test_without_room_for_its_history_a_run_does_not_begin(run_on_it: Run, small_disk: Path) -> None:
    fill(small_disk, 1000 * _KIB)

    sentence = error_of(materialize(run_on_it, None))

    assert "no space left for Dagster's history in " in sentence and "8 MiB are needed" in sentence


@pytest.mark.slow
def test_what_the_system_refuses_to_write_is_one_sentence(tmp_path: Path) -> None:
    """Wherever tests run: a limit on the size of files, which the first large file reaches."""
    data, model = make_inputs(DataRoot(tmp_path), n_builds=300)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "splat_assets.cli", "train-sae", "--model-checkpoint", str(model)]
    options = ["--data-csv", str(data), "--save-dir", str(out), "--d-sae", "32", "--k", "4", "--sae-batch-size", "2"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * _KIB, 64 * _KIB))

    result = subprocess.run([*command, *options], capture_output=True, text=True, preexec_fn=limited)

    assert result.returncode == 2
    (sentence,) = result.stderr.strip().splitlines()
    assert sentence.startswith("Error: base activations cannot be written in ")
    assert "files of at most 65,536 bytes (ulimit -f)" in sentence
    assert list(tmp_path.rglob(".staging-*")) == []
    assert not (out / "sae_weights.safetensors").exists()
