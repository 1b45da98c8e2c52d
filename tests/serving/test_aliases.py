"""Names for runs, folders and servers."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.errors import InputError
from splat_assets.store.errors import CorruptStoreError, NotPublishedError
from splat_assets.store.layout import DataRoot
from splat_serving.database.aliases import alias_named, aliases_file, keep_alias, read_aliases, remove_alias
from splat_serving.database.catalogue import Target
from splat_serving.investigations.opening import open_subject


def test_a_name_is_kept_listed_and_removed(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "data")

    keep_alias("full", str(tmp_path), {}, root)
    keep_alias("lab", "http://127.0.0.1:8765/runs/a/", {}, root)

    assert {name: alias.target for name, alias in read_aliases().items()} == {
        "full": str(tmp_path),
        "lab": "http://127.0.0.1:8765/runs/a",
    }
    assert remove_alias("full").target == str(tmp_path)
    with pytest.raises(InputError, match="unknown alias 'full'; aliases are: lab"):
        remove_alias("full")


def test_an_alias_of_a_run_opens_the_run(finished_root: DataRoot) -> None:
    keep_alias("full", "small", {}, finished_root)

    with open_subject("full", root=finished_root) as by_alias, open_subject("small", root=finished_root) as by_name:
        assert by_alias.about == by_name.about
        assert by_alias.has_labels


def test_an_alias_of_a_folder_opens_it_under_its_name(finished_root: DataRoot, tmp_path: Path) -> None:
    run = finished_root.run("small")
    keep_alias("full", str(run.efficient), {"transposed_dir": run.transposed}, DataRoot(tmp_path))

    with open_subject("full", root=DataRoot(tmp_path)) as subject:
        assert (subject.about.name, subject.about.layout) == ("full", "transposed array")


@pytest.mark.parametrize(
    ("name", "target", "parts", "sentence"),
    [
        ("../x", ".", {}, "cannot be the name of a run or folder"),
        ("small", ".", {}, "has a run called small: choose another name"),
        ("full", "nowhere", {}, "not a folder, nor a run of .*small"),
        ("full", "small", {"sae_checkpoint": Path(".")}, "belong to folders only"),
        ("full", ".", {"sae_checkpoint": Path("/no/such/file")}, "--sae-checkpoint: /no/such/file does not exist"),
    ],
)
def test_what_cannot_be_an_alias_is_one_sentence(
    name: str, target: str, parts: dict[str, Path], sentence: str, finished_root: DataRoot
) -> None:
    with pytest.raises(InputError, match=sentence):
        keep_alias(name, target, parts, finished_root)
    assert read_aliases() == {}


def test_an_ambiguous_name_is_refused(finished_root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_alias("full", str(tmp_path), {}, finished_root)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()

    with pytest.raises(InputError, match="full is an alias of .*the folder .*write a path"):
        alias_named("full", finished_root)


def test_a_missing_target_and_a_remote_server_are_refused(finished_root: DataRoot, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    keep_alias("full", str(gone), {}, finished_root)
    keep_alias("lab", "http://127.0.0.1:1", {}, finished_root)
    gone.rmdir()

    with pytest.raises(InputError, match="full is an alias of .*gone, which no longer exists"):
        Target.of("full", finished_root)
    with pytest.raises(InputError, match="lab is an alias of the server"):
        Target.of("lab", finished_root)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": "splat.aliases/1", "aliases": {"a": {"target": 1}}}', "[" * 9_999]
)
def test_a_damaged_file_of_aliases_is_one_sentence(content: str) -> None:
    file = aliases_file()
    assert file is not None
    file.parent.mkdir(parents=True)
    file.write_text(content)

    with pytest.raises(CorruptStoreError, match="does not hold aliases"):
        read_aliases()
    assert CliRunner().invoke(main, ["alias"]).exit_code == 2


def test_the_command_keeps_lists_and_removes(tmp_path: Path) -> None:
    def said(*words: str) -> str:
        result = CliRunner().invoke(main, ["alias", *words])
        assert result.exit_code == 0, result.output
        return result.output

    assert "no aliases" in said()
    assert said("full", str(tmp_path)) == f"saved alias full of {tmp_path}\n"
    assert str(tmp_path) in said()
    assert said("full", "--remove") == f"removed alias full of {tmp_path}\n"


def test_without_a_published_run_the_only_alias_is_meant(finished_root: DataRoot, tmp_path: Path) -> None:
    keep_alias("full", str(finished_root.run("small").efficient), {}, DataRoot(tmp_path))

    with open_subject(root=DataRoot(tmp_path)) as subject:
        assert subject.about.name == "full"
    with open_subject(root=finished_root) as subject:
        assert subject.about.name == "small"

    keep_alias("ultra", str(tmp_path), {}, DataRoot(tmp_path))
    with pytest.raises(NotPublishedError, match=r"several aliases exist \(full, ultra\): choose one with --model"):
        open_subject(root=DataRoot(tmp_path))


def test_a_user_without_a_home_folder_has_no_aliases(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finished_root: DataRoot
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", no_home)

    with open_subject("small", root=finished_root) as subject:
        assert subject.about.name == "small"
    with pytest.raises(InputError, match="has no home folder; set XDG_CONFIG_HOME"):
        keep_alias("full", str(tmp_path), {}, finished_root)
