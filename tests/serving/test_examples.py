"""The examples in the docstrings of what programs call are run, in a folder whose one run is called demo."""

import doctest
import importlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.local import LocalDatabase
from splat_serving.http.app import create_app
from splat_serving.model.live import LiveModel
from splat_serving.model.local_runner import LiveRunner
from tests.serving.running import running

MODULES = (
    "splat_serving.client.activation_client",
    "splat_serving.database.catalogue",
    "splat_serving.database.folder",
    "splat_serving.database.local",
    "splat_serving.database.protocol",
    "splat_serving.guide.efficient_fs_database",
    "splat_serving.guide.storage_config",
    "splat_serving.http.app",
    "splat_serving.http.settings",
    "splat_serving.model.live",
    "splat_serving.model.runner",
)


@pytest.fixture(scope="module")
def names(finished_root: DataRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What an example may use without making it: a database, a runner, and the URL of a server. `folder` is where it runs."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(finished_root.path, folder / "data")
    root = DataRoot(folder / "data")
    run = root.run("small").root.rename(root.run("demo").root)
    config = root.run("demo").config
    config.write_text(config.read_text().replace('name = "small"', 'name = "demo"'))
    with running(create_app(Catalogue(Target.of("demo", root)))) as url:
        runner = LiveRunner(lambda: LiveModel.of(root.run("demo")))
        yield {"folder": folder, "database": LocalDatabase.open(run), "runner": runner, "url": url}


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(names["folder"])

    outcome = doctest.testmod(importlib.import_module(module), extraglobs=names)

    assert outcome.attempted > 0
    assert outcome.failed == 0
