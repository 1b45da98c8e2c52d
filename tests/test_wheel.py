"""What is installed from a wheel does what a checkout does: every file of the packages is in it, and it works in any folder."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from docs.make_tour import executed

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("splat_assets", "splat_serving", "splat_dash")
_MADE = shutil.ignore_patterns("__pycache__", "*.pyc", "*.nbi", "*.nbc")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree, made without a network from a copy, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, source / name, ignore=_MADE)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source / name)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", str(folder), str(source)],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_is_called_as_the_project_says(wheel: Path) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]

    assert wheel.name == f"{project['name']}-{project['version']}-py3-none-any.whl"
    assert f"\nversion: {project['version']}\n" in (PROJECT / "CITATION.cff").read_text()


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    made = ("__pycache__", ".nbi", ".nbc")
    files = [path for name in PACKAGES for path in (PROJECT / name).rglob("*") if path.is_file()]

    names = {path.relative_to(PROJECT).as_posix() for path in files if not any(word in str(path) for word in made)}

    assert "splat_dash/assets/dashboard.css" in names
    assert "splat_serving/investigations/assistant/skills/mechinterp-runner/SKILL.md" in names
    assert names - inside == set()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it lies in an environment; what it depends on is taken from this one."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def _run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "SPLAT_DATA": str(folder / "data")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def test_the_command_says_its_version_and_writes_the_skills_in_any_folder(installed: Path, tmp_path: Path) -> None:
    said = _run(installed, tmp_path, "-m", "splat_assets.cli", "--version")
    skills = _run(installed, tmp_path, "-m", "splat_assets.cli", "skills", "install")

    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert said.stdout.split()[-1] == version, said.stderr
    assert (tmp_path / ".claude/skills/mechinterp-runner/SKILL.md").is_file(), skills.stderr


@pytest.mark.slow
@pytest.mark.long
def test_the_tour_prints_what_it_says_in_a_folder_that_is_no_checkout(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.chdir(tmp_path)
    tour = (PROJECT / "docs" / "tour.md").read_text()

    printed = executed(tour, tmp_path)

    where = _run(installed, tmp_path, "-c", "import splat_assets; print(splat_assets.__file__)")
    assert where.stdout.startswith(str(installed))
    assert printed == tour, "run python docs/make_tour.py FOLDER"
    _assert_up_serves_the_demo(installed, tmp_path)


def _assert_up_serves_the_demo(installed: Path, folder: Path) -> None:
    """`splat up` starts Dagster with the assets of the wheel, and the dashboard shows the demo's run."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, dash_port = one.getsockname()[1], other.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(installed), "SPLAT_DATA": str(folder / "data")}
    environment.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-m", "splat_assets.cli", "up", "--port", str(port), "--dash-port", str(dash_port)]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    query = urllib.parse.quote("{ assetNodes { assetKey { path } } }")
    try:
        nodes = _answer(f"http://127.0.0.1:{port}/graphql?query={query}", process)["data"]["assetNodes"]
        feature = _answer(f"http://127.0.0.1:{dash_port}/api/features/286.json", process)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
    assert {"sae_checkpoint", "published_store"} <= {node["assetKey"]["path"][0] for node in nodes}
    assert feature["run"] == "demo"
    assert process.returncode == 0


def _answer(url: str, process: "subprocess.Popen[bytes]", seconds: float = 180) -> dict[str, Any]:
    """The JSON that the URL answers with as soon as something listens there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "`splat up` ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                content: dict[str, Any] = json.load(answer)
                return content
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer after {seconds} s")
