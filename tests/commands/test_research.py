"""`splat research`: a file that people can read, never half written and never written over when it is broken."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot

Splat = Callable[..., Result]


@pytest.fixture
def splat(own_root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> Splat:
    """Run `splat research …` on a data root of its own."""
    monkeypatch.setenv("SPLAT_DATA", str(own_root.path))

    def call(*words: str, fails: bool = False) -> Result:
        found = CliRunner().invoke(main, ["research", *words])
        assert found.exit_code == (2 if fails else 0), found.output
        return found

    return call


def file_of(root: DataRoot, feature: int) -> Path:
    (found,) = root.labels.glob(f"*/research/feature_{feature:05d}.toml")
    return found


def test_hypotheses_evidence_and_decisions_are_kept_and_shown(splat: Splat, own_root: DataRoot, tmp_path: Path) -> None:
    result = tmp_path / "sweep.json"
    result.write_text("{}")
    assert "no notes yet" in splat("show", "7").output

    splat("hypothesis", "7", "It stands for swim speed of 12 AP or more", "--confidence", "0.4")
    splat("hypothesis", "7", "It stands for Ninja Squid alone")
    splat(
        "evidence",
        "7",
        str(result),
        "rises with every rung",
        "--strength",
        "strong",
        "--supports",
        "h001",
        "--refutes",
        "h002",
    )
    splat("hypothesis", "7", "--change", "h002", "--status", "refuted")
    splat("decide", "7", "label it swim speed", "--author", "ann")
    said = splat("note", "7", "look at rollers", "--author", "bob").output

    path = file_of(own_root, 7)
    sae = tomllib.loads(path.read_text())["sae"]
    assert said == f"written: note of 15 characters by bob on feature 7; run small, SAE {sae[:12]}: {path}\n"
    shown = splat("show", "7").output
    for text in (
        "h001 [proposed, confidence 40 %] It stands for swim speed",
        "+ e001 (strong) rises with every rung",
        "h002 [refuted] It stands for Ninja Squid",
        "- e001",
        "by ann: label it swim speed",
        "by bob: look at rollers",
    ):
        assert text in shown
    held = tomllib.loads(file_of(own_root, 7).read_text())
    assert held["evidence"][0]["path"] == str(result)
    assert len(held["evidence"][0]["sha256"]) == 64


def test_a_file_that_is_broken_is_refused_and_stays_as_it_is(splat: Splat, own_root: DataRoot) -> None:
    splat("note", "7", "first")
    path = file_of(own_root, 7)
    for broken, said in (
        ("feature_id = ", "cannot be read"),
        ('feature_id = 7\nsae = "x"\nbeauty = 1\n', "beauty: Extra inputs"),
    ):
        path.write_text(broken)
        found = splat("note", "7", "second", fails=True)
        assert said in found.output.replace("\n", " ")
        assert path.read_text() == broken


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "9999"], "features 0 to 95"),
        (["hypothesis", "7", "short"], "at least 10 characters"),
        (["hypothesis", "7"], "write a statement"),
        (["hypothesis", "7", "--change", "h009"], "'h009' is not a hypothesis on feature 7; its hypotheses: none yet"),
        (["evidence", "7", "nowhere.json", "x"], "cannot be read"),
        (["hypothesis", "7", "Something that is true", "--confidence", "4"], "less than or equal to 1"),
        (["note", "7", " "], "text is invisible"),
        (["decide", "7", "label it", "--author", ""], "author is empty"),
        (["note", "7", "a\u2066b"], "text has U+2066"),
    ],
    ids=[
        "no such feature",
        "too short",
        "nothing",
        "no such hypothesis",
        "no such file",
        "too sure",
        "blank",
        "nobody",
        "turned around",
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    words: list[str], said: str, splat: Splat, own_root: DataRoot
) -> None:
    assert said in splat(*words, fails=True).output.replace("\n", " ")
    assert not list(own_root.labels.glob("*/research/*"))
