"""The instructions for assistants: what lies in the package, in this repository and in a project is the same."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.errors import InputError
from splat_serving.investigations.assistant.installing import RECEIPT, install, instructions

REPOSITORY = Path(__file__).parents[2]
RUNNER = "skills/mechinterp-runner/SKILL.md"


def test_the_repository_holds_the_bytes_of_the_package_and_no_others() -> None:
    here = REPOSITORY / ".claude"

    result = {path.relative_to(here).as_posix(): path.read_bytes() for path in here.rglob("*.md")}

    assert result == instructions()
    assert RUNNER in result


def test_every_file_is_installed_in_a_project_and_listed(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["skills", "install", "--to", str(tmp_path)])

    assert said.exit_code == 0, said.output
    assert said.output.splitlines() == [f"written   {tmp_path / '.claude' / name}" for name in instructions()]
    for name, content in instructions().items():
        assert (tmp_path / ".claude" / name).read_bytes() == content


def test_a_file_that_somebody_changed_stays_until_force_replaces_it(tmp_path: Path) -> None:
    install(tmp_path)
    path = tmp_path / ".claude" / RUNNER
    path.write_text("my own way\n")

    said = CliRunner().invoke(main, ["skills", "install", "--to", str(tmp_path)])
    again = install(tmp_path)

    assert f"kept      {path}" in said.output and "1 file changed here stayed as before" in said.output
    assert path.read_text() == "my own way\n"
    assert [one.what for one in again if one.path == path] == ["kept"]
    assert [one.what for one in install(tmp_path, force=True) if one.path == path] == ["replaced"]
    assert path.read_bytes() == instructions()[RUNNER]


def test_an_unchanged_file_of_an_earlier_version_is_updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = instructions()
    with monkeypatch.context() as earlier:
        earlier.setattr(
            "splat_serving.investigations.assistant.installing.instructions", lambda: {**now, RUNNER: b"as it was\n"}
        )
        install(tmp_path)

    done = {one.path.relative_to(tmp_path / ".claude").as_posix(): one.what for one in install(tmp_path)}

    assert done == {**dict.fromkeys(now, "unchanged"), RUNNER: "updated"}
    assert (tmp_path / ".claude" / RUNNER).read_bytes() == now[RUNNER]


def test_files_that_differ_count_as_changed_where_nothing_says_what_was_written(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / ".claude" / RECEIPT).write_text("not json")
    (tmp_path / ".claude" / RUNNER).write_text("my own way\n")

    assert {one.what for one in install(tmp_path)} == {"kept", "unchanged"}


def test_a_project_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        install(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
