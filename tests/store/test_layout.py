from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot, RunLayout, checked_name


@pytest.mark.parametrize("name", ["demo", "a", "Run_1.2-b", "9", "x" * 100])
def test_plain_names_are_names_of_runs(name: str) -> None:
    assert checked_name(name, "run") == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "a..b", ".a", "-a", "_a", "a b", "ä", "x" * 101, "a\n"]
)
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a run: use 1 to 100 letters, digits"):
        checked_name(name, "run")


@given(st.text(max_size=20))
def test_whatever_is_accepted_stays_below_the_folder_of_runs(name: str) -> None:
    root = DataRoot(Path("/data"))
    try:
        folder = root.run(name).root
    except InputError:
        return

    assert folder.parent == Path("/data/runs")
    assert folder.resolve() == folder


def test_the_folders_of_a_run_are_where_the_guide_and_the_design_say() -> None:
    run = DataRoot(Path("/data")).run("mine")

    assert run.name == "mine"
    below = {
        name: getattr(run, name).relative_to(run.root).as_posix()
        for name in (
            "config",
            "sae",
            "raw_activations",
            "store",
            "efficient",
            "precomputed",
            "transposed",
            "neuron_acts",
        )
    }
    assert below == {
        "config": "run.toml",
        "sae": "sae",
        "raw_activations": "raw_activations",
        "store": "store",
        "efficient": "activations_efficient",
        "precomputed": "activations_efficient/precomputed",
        "transposed": "activations_transposed",
        "neuron_acts": "neuron_acts",
    }


def test_what_is_staged_is_on_the_disk_of_the_versions() -> None:
    run = RunLayout(Path("/data/runs/mine"))

    assert run.staged.parent == run.store
    assert run.activations_zarr.parent == run.staged


def test_the_data_root_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert DataRoot.from_environment({}).path == tmp_path / "data"
    assert DataRoot.from_environment({"SPLAT_DATA": ""}).path == tmp_path / "data"
    assert DataRoot.from_environment({"SPLAT_DATA": "mine"}).path == tmp_path / "mine"
    assert DataRoot.from_environment({"SPLAT_DATA": "/else/where"}).path == Path("/else/where")


def test_runs_are_folders_with_a_description(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    assert root.run_names() == []

    for name in ("b", "a"):
        root.run(name).root.mkdir(parents=True)
        root.run(name).config.touch()
    (root.runs / "not-a-run").mkdir()

    assert root.run_names() == ["a", "b"]


def test_a_root_that_can_be_written_is_made_and_left_clean(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "new" / "root")

    assert root.checked_writable() is root
    assert list(root.path.iterdir()) == []


def test_a_root_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"file/data cannot be written \(Not a directory\); set SPLAT_DATA"):
        DataRoot(tmp_path / "file" / "data").checked_writable()
