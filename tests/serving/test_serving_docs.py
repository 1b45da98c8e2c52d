"""The recipes of docs/serving.md, run as they stand against a server of the small run."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app
from tests.serving.running import running

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"
RECIPES = PAGE.read_text().split("## Recipes")[1].split("\n## ")[0]
CURLS = [line for block in re.findall(r"```bash\n(.*?)```", RECIPES, re.DOTALL) for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", RECIPES, re.DOTALL)
JAVASCRIPT = re.findall(r"```javascript\n(.*?)```", RECIPES, re.DOTALL)


@pytest.fixture(scope="module")
def here(finished_root: DataRoot) -> Iterator[tuple[str, str]]:
    """Replaces what a recipe says with where things are here."""
    with running(create_app(Catalogue(Target.of("small", finished_root)))) as url:
        yield url, str(finished_root.run("small").root)


def at(here: tuple[str, str], recipe: str) -> str:
    return recipe.replace("http://127.0.0.1:8765", here[0]).replace("data/runs/demo", here[1])


def test_the_page_has_recipes_of_every_kind() -> None:
    assert (len(CURLS), len(PYTHON), len(JAVASCRIPT)) == (5, 4, 1)


@pytest.mark.parametrize("line", CURLS)
def test_a_line_with_curl_is_answered(line: str, here: tuple[str, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    found = subprocess.run(["bash", "-ec", at(here, line)], capture_output=True, text=True, check=True)

    assert found.stdout.strip()
    assert "problem" not in found.stdout and '"status":4' not in found.stdout


@pytest.mark.parametrize("block", PYTHON, ids=["client", "httpx2 and polars", "duckdb", "anndata"])
def test_a_block_of_python_runs(block: str, here: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(at(here, block), str(PAGE), "exec"), {})

    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("block", JAVASCRIPT)
def test_a_block_of_javascript_runs(block: str, here: tuple[str, str], tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    script = tmp_path / "recipe.mjs"
    script.write_text(at(here, block))

    found = subprocess.run(["node", str(script)], capture_output=True, text=True, check=True, timeout=60)

    n_rows, n_ids, largest = found.stdout.split()
    assert n_rows == n_ids
    assert float(largest) > 0
