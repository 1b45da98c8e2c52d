"""A data root that release 0.1 made, with run, store, labels, research and arrivals, opens, verifies and goes on.

`fixtures/data_root_0_1.tar.xz` was made by that release from 240 demo builds and a seeded random model: 32 features, k = 4.
"""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.automation.arrivals import scan_for_inputs
from splat_assets.cli import main
from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot

ARCHIVE = Path(__file__).parent / "fixtures" / "data_root_0_1.tar.xz"
VERSION = "40d1568198023d3b"
SAE = "6abd127f8379fa58"
Splat = Callable[..., str]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return DataRoot(folder / "root")


@pytest.fixture
def splat(earlier: DataRoot, monkeypatch: pytest.MonkeyPatch) -> Splat:
    monkeypatch.setenv("SPLAT_DATA", str(earlier.path))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> str:
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, (words, done.output, done.exception)
        return done.output

    return call


def test_its_run_is_up_to_date_and_verifies(earlier: DataRoot, splat: Splat) -> None:
    before = {path: path.read_bytes() for path in earlier.run("old").root.rglob("*") if path.is_file()}

    assert "16 of 16" in splat("runs")
    assert "everything is up to date" in splat("materialize", "old")
    assert "FAILED" not in splat("verify", "old")

    changed = [path.name for path, content in before.items() if path.read_bytes() != content]
    assert all("checks" in name or name == ".lock" for name in changed), changed


def test_its_store_is_the_same_version_and_sound(earlier: DataRoot) -> None:
    store = open_store(earlier.run("old").root)

    assert (store.version, store.n_features, store.n_samples) == (VERSION, 32, 320)
    assert store.verify(deep=True) == []
    assert store.feature(3).values.size == store.features["n_active"][3]


def test_its_labels_research_and_queue_are_there(earlier: DataRoot, splat: Splat) -> None:
    assert "fires on Swim Speed Up" in splat("label", "show", "3", "--run", "old")
    history = splat("label", "history", "3", "--run", "old")
    assert "fires on swimming" in history and "ann" in history and "bob" in history
    assert "it counts swim speed" in splat("research", "show", "3", "--run", "old")
    assert " 7 " in splat("label", "queue", "show", "--run", "old")

    log = earlier.labels / SAE / "events.jsonl"
    before = log.read_bytes()
    splat("label", "import", earlier.path.parent / "labels.csv", "--dry-run", "--run", "old")
    splat("label", "import", earlier.path.parent / "labels.csv", "--run", "old")
    assert log.read_bytes() == before, "what was exported then changes nothing"


def test_what_arrived_then_does_not_arrive_again(earlier: DataRoot) -> None:
    ledger = json.loads((earlier.path / "arrivals.json").read_text())

    assert scan_for_inputs(earlier) == scan_for_inputs(earlier) == []
    assert json.loads((earlier.path / "arrivals.json").read_text()) == ledger
