"""Every command line of the documents on investigating is run, as it stands there, on a run whose name is `demo`."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_serving.investigations.results.result import Result

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = [PROJECT / "docs" / f"{name}.md" for name in ("investigating", "labels", "predictions")]
DOCUMENTS += sorted((PROJECT / ".claude").rglob("*.md")) if (PROJECT / ".claude").is_dir() else []


def lines_of(document: Path) -> list[str]:
    """The lines that begin with `splat ` in bash blocks, continued lines joined."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", document.read_text(), re.DOTALL)).replace("\\\n", " ")
    return [line.strip() for line in blocks.splitlines() if line.strip().startswith("splat ")]


@pytest.fixture(scope="module")
def place(finished_root: DataRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, beside a data root whose one run is called demo."""
    folder = tmp_path_factory.mktemp("documented")
    copy = folder / "data"
    shutil.copytree(finished_root.path, copy)
    (copy / "runs" / "small").rename(copy / "runs" / "demo")
    config = DataRoot(copy).run("demo").config
    config.write_text(
        config.read_text().replace(str(finished_root.path), str(copy)).replace('name = "small"', 'name = "demo"')
    )
    yield folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_command_line_works(document: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(place / "data"))
    monkeypatch.chdir(place)
    lines = lines_of(document)
    assert lines

    failed = []
    for line in lines:
        found = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
        if found.exit_code != 0:
            failed.append(f"{line}\n{found.output}\n{found.exception!r}")
    assert failed == []


def test_the_python_of_the_readme_works(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert "store.feature(430)" in code
    rows = pl.read_parquet(next((place / "data/runs/demo/store/versions").glob("*/features.parquet")))
    busiest = rows.sort("n_active")["feature_id"][-1]

    exec(code.replace("store.feature(430)", f"store.feature({busiest})"), {})

    lines = capsys.readouterr().out.splitlines()
    assert all(line.endswith("']") for line in lines[:5]), "five builds"
    assert lines[5].startswith("SampleFeatures(")
    assert f"shape: ({rows.height}, {rows.width})" in lines


def test_the_published_schema_is_that_of_the_results() -> None:
    import json

    written = json.loads((PROJECT / "docs" / "result.schema.json").read_text())

    assert written == Result.model_json_schema()
