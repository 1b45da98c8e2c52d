"""`splat dash`: on a store and on a server, and what it says of mistakes."""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app
from splat_serving.http.settings import settings_from_environment
from tests.serving.running import running


def shown_by(target: list[str], root: DataRoot) -> str:
    """What the command answers at `/_dash-layout`, on a free port."""
    words = [sys.executable, "-m", "splat_assets.cli", "dash", *target, "--port", "0"]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env={"SPLAT_DATA": str(root.path), "PATH": "/usr/bin:/bin"}
    )
    try:
        assert process.stderr is not None
        address = next(result[0] for line in process.stderr if (result := re.search(r"http://127\.0\.0\.1:\d+", line)))
        with urllib.request.urlopen(f"{address}/_dash-layout") as answer:
            return str(answer.read().decode())
    finally:
        process.terminate()
        process.wait(20)
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.slow
def test_a_store_and_a_server_are_shown_alike(finished_root: DataRoot) -> None:
    with running(create_app(Catalogue(Target.of(None, finished_root)), settings_from_environment())) as url:
        pages = [
            shown_by(target, finished_root)
            for target in (["small"], ["--data-dir", str(finished_root.run("small").root)], [url])
        ]

    version = re.findall(r"version [0-9a-f]{16}", pages[0])
    assert version and all(re.findall(r"version [0-9a-f]{16}", page) == version for page in pages)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "nobody is neither a run of"),
        (["http://127.0.0.1:9"], "no activation server answers at http://127.0.0.1:9"),
        (["small", "--data-dir", "x"], "--data-dir name the data"),
        (["small", "--port", "70000"], "70000 is not in the range"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], message: str, finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(main, ["dash", *words])

    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output
