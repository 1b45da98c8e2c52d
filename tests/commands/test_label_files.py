"""Label files on the command line, and which run a command that writes is for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app
from splat_serving.http.settings import settings_from_environment
from splat_serving.investigations.opening import open_subject
from tests.labels.light_root import light_root
from tests.serving.running import running

Splat = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    found = light_root(tmp_path, small="ab" * 32)
    monkeypatch.setenv("SPLAT_DATA", str(found.path))
    monkeypatch.delenv("SPLAT_RUN", raising=False)
    return found


@pytest.fixture
def splat(root: DataRoot) -> Splat:
    """Run a command on the data root; it must succeed unless fails=True."""

    def call(*words: str, fails: bool = False) -> Result:
        found = CliRunner().invoke(main, words)
        assert found.exit_code == (2 if fails else 0), found.output
        return found

    return call


def test_a_dry_run_lists_changes_and_a_conflict_sets_the_exit_code(
    splat: Splat, root: DataRoot, tmp_path: Path
) -> None:
    splat("label", "set", "1", "one", "--author", "ann")
    splat("label", "set", "2", "two", "--author", "ann")
    path = tmp_path / "labels.csv"
    splat("label", "export", "-o", str(path))
    path.write_text(path.read_text().replace(",two,", ",zwei,") + "3,three" + "," * 12 + "\n")
    splat("label", "set", "1", "newer", "--author", "bob")
    events = next(root.labels.glob("*/events.jsonl"))
    before = events.read_bytes()

    dry = CliRunner().invoke(main, ["label", "import", str(path), "--dry-run", "--author", "carl"])

    assert dry.exit_code == 1
    for line in (
        "feature 1, label: conflict, not written: revision 2 by bob",
        "feature 2, label: text 'two' -> 'zwei'",
        "feature 3, label: text 'three', author 'carl'",
        "2 labels and 0 queue entries would be added; 0 labels were already present; run small, SAE ",
        "1 row older than the current labels: not written",
    ):
        assert line in dry.output
    assert events.read_bytes() == before
    done = CliRunner().invoke(main, ["label", "import", str(path), "--author", "carl"])
    assert done.exit_code == 1 and "2 labels and 0 queue entries were added" in done.output
    with open_subject("small", root=root) as subject:
        found = {n: (e.label.text, e.author) for n, e in subject.labels.current().items() if e.label}
    assert found == {1: ("newer", "bob"), 2: ("zwei", "ann"), 3: ("three", "carl")}


def test_a_file_of_another_sae_is_refused_and_carrying_is_named(splat: Splat, root: DataRoot, tmp_path: Path) -> None:
    splat("label", "set", "1", "one")
    splat("label", "export", "-o", str(tmp_path / "labels.json"))
    content = json.loads((tmp_path / "labels.json").read_text())
    (tmp_path / "labels.json").write_text(json.dumps({**content, "sae": "cd" * 32}))

    refused = splat("label", "import", str(tmp_path / "labels.json"), fails=True).output.replace("\n", " ")

    assert content["sae"] in refused and "cd" * 32 in refused and "splat label carry" in refused


def test_what_writes_names_run_and_sae_and_asks_where_several_runs_could_be_meant(
    splat: Splat, root: DataRoot, tmp_path: Path
) -> None:
    place = "run small, SAE abababababababab"
    (tmp_path / "x.csv").write_text("feature_id,display_name\n3,x\n")
    writing = (
        ["label", "set", "1", "one"],
        ["label", "queue", "add", "2"],
        ["label", "skip", "2"],
        ["label", "import", str(tmp_path / "x.csv")],
    )
    for words in writing:
        assert place in splat(*words).output
    shutil.copytree(root.run("small").root, root.run("other").root)

    for words in (*writing, ["mcp", "--allow-labels"]):
        refused = splat(*words, fails=True).output.replace("\n", " ")
        assert "several runs are available, other, small: choose one with --run NAME" in refused
    assert place in splat("label", "set", "1", "two", "--run", "small").output
    assert "two" in splat("label", "show", "1").output
    app = create_app(Catalogue(Target.of(None, root)), settings_from_environment(allow_labels=True))
    with running(app) as url:
        refused = splat("label", "set", "1", "x", "--run", url, fails=True).output.replace("\n", " ")
        assert "several runs are available" in refused and f"{url}/runs/NAME" in refused
        assert place in splat("label", "set", "1", "from afar", "--run", f"{url}/runs/small").output


def test_output_names_run_and_sae_and_an_ambiguous_target_is_an_error(splat: Splat, root: DataRoot) -> None:
    place = "on feature 7; run small, SAE abababababab: "
    note = splat("research", "note", "7", "look at rollers", "--author", "bob").output
    assert note.startswith(f"written: note of 15 characters by bob {place}")
    decision = splat("research", "decide", "7", "label it", "--author", "bob").output
    assert decision.startswith(f"written: decision of 8 characters by bob {place}")
    assert place in splat("research", "hypothesis", "7", "It stands for swim speed").output
    shutil.copytree(root.run("small").root, root.run("other").root)

    for words in (["note", "7", "x"], ["decide", "7", "x"], ["hypothesis", "7", "It stands for nothing"]):
        assert "several runs are available, other, small" in splat("research", *words, fails=True).output.replace(
            "\n", " "
        )
    assert "look at rollers" in splat("research", "show", "7", "--run", "small").output
