"""Any folder name that the file system takes works: no path is a pattern, a URL, markup or SQL, and it is shown as it is."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.guide.batch_reader import BatchReader
from splat_assets.store.guide.neuron_acts import NeuronActsReader
from splat_assets.store.guide.transposed import TransposedReader
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import open_store
from splat_dash.app import create_app as dashboard_of
from splat_dash.source import Source
from splat_serving.database.catalogue import Target
from splat_serving.investigations.opening import open_subject
from tests.serving.conftest import client_of

NAME = "-a [b]*?#%41%s 'q' \"d\" {x} & 100% é語 :: $y$ [bold red]z[-] ~ ;|<>\\n\nnl"


@pytest.fixture(scope="module")
def hostile(finished_root: DataRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataRoot]:
    """The small run in a folder whose name is a pattern, a URL, markup, SQL and code at once."""
    root = DataRoot(tmp_path_factory.mktemp("names") / NAME / "data")
    shutil.copytree(finished_root.path, root.path, ignore=shutil.ignore_patterns("cache"))
    config = root.run("small").config
    config.write_text(config.read_text().replace(str(finished_root.path), "/elsewhere"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLAT_DATA", str(root.path))
        patch.setenv("DAGSTER_HOME", "")
        yield root
    beside = [path.name for path in root.path.parent.parent.iterdir()]
    assert beside == [NAME], "no file appears outside the data root"


def splat(*words: str | Path) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output


def test_a_run_is_made_and_shown(hostile: DataRoot) -> None:
    model, data = hostile.models / "small", hostile.datasets / "small" / "tokenized_data.csv"

    said = splat("run", "new", "mine", "--model-checkpoint", model, "--data-csv", data, "--d-sae", "32", "--k", "4")
    made = splat("materialize", "mine", "--select", "dataset")

    assert str(hostile.run("mine").config) in said
    assert "FAILED" not in made and hostile.run("mine").builds.is_file()
    assert (hostile.dagster_home / "history").is_dir(), "Dagster's databases are where they belong"
    assert "mine" in splat("run", "list")
    assert str(hostile.run("mine").root)[:40] in splat("run", "show", "mine")


def test_a_store_is_read_served_and_shown(hostile: DataRoot) -> None:
    run = hostile.run("small")

    assert open_store(run.root).verify(deep=True) == []
    assert "Feature 1" in splat("overview", "1", "--run", run.store)
    for target in ("small", str(run.root), str(run.efficient)):
        client = client_of(target, hostile)
        assert [client.get(path).status_code for path in ("/version", "/activations/1", "/samples/0")] == [200] * 3
    with open_subject("small", root=hostile) as subject:
        assert dashboard_of(Source(subject)).layout is not None
    assert Target.of(None, hostile).root == hostile


def test_labels_are_written_and_files_are_exported_there(hostile: DataRoot) -> None:
    out = hostile.path / "out [1]"
    out.mkdir()

    splat("label", "set", "1", "swims", "--run", "small", "--author", "ann")
    splat("label", "export", "-o", out / "labels.csv", "--run", "small")
    splat("export", "feature", "1", "--run", "small", "-o", out / "feature.html")

    assert "swims" in (out / "labels.csv").read_text()
    assert (out / "feature.html").stat().st_size > 10_000


def test_the_steps_of_the_guide_write_where_they_are_told(hostile: DataRoot) -> None:
    out, run = hostile.path.parent / "guide", hostile.run("small")
    raw, efficient = run.raw_activations, out / "efficient"

    splat("convert", "--input-dir", raw, "--output-dir", efficient)
    splat("transpose", "--source-dir", efficient, "--target-dir", out / "transposed")
    splat("sparse-extract", "--source-dir", efficient, "--output-dir", out / "neuron_acts")
    splat("idf", "--data-dir", efficient, "--output-path", out / "idf.parquet")
    splat("import", efficient, "--out", out / "imported")

    expected = open_store(run.root).feature(1)
    readers = (
        BatchReader(efficient), TransposedReader(out / "transposed"), NeuronActsReader(out / "neuron_acts"),
        open_store(out / "imported").reader,
    )  # fmt: skip
    for reader in readers:
        np.testing.assert_array_equal(reader.read(1).values, expected.values)
