"""The documents as pages: made without a network, without a warning, and loading nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
pytest.importorskip("mkdocs", reason="mkdocs is not installed: it is in the extra dev")


def _built(settings: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make site` runs, with the folder that is written named."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(settings), "-d", str(site)]
    return subprocess.run(
        words, cwd=PROJECT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages."""
    folder = tmp_path_factory.mktemp("site")
    made = _built(PROJECT / "mkdocs.yml", folder)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    documents = {path.relative_to(PROJECT / "docs").with_suffix("") for path in (PROJECT / "docs").rglob("*.md")}

    pages = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}

    assert documents - pages == set()


def test_the_docstrings_are_in_the_reference(site: Path) -> None:
    page = (site / "api.html").read_text()

    for name in re.findall(r"^::: (\S+)$", (PROJECT / "docs" / "api.md").read_text(), re.MULTILINE):
        assert f'id="{name}"' in page, name
    assert 'id="splat_serving.client.activation_client.ActivationClient.activations"' in page


def test_no_page_loads_anything_from_another_machine(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe)[^>]*\ssrc=\"?https?:|<link[^>]*stylesheet[^>]*href=\"?https?:")

    assert [path.name for path in site.rglob("*.html") if loaded.search(path.read_text())] == []


def test_a_broken_link_fails(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "docs" / "decisions", tmp_path / "docs" / "decisions")
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[gone](nowhere.md)\n")
    settings = (PROJECT / "mkdocs.yml").read_text().split("nav:\n  - Home")[0]
    (tmp_path / "mkdocs.yml").write_text(settings)

    made = _built(tmp_path / "mkdocs.yml", tmp_path / "site")

    assert made.returncode != 0
    assert "nowhere.md" in made.stdout + made.stderr
