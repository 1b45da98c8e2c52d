import shutil

from click.testing import CliRunner, Result

from splat_assets.cli import main
from splat_assets.store.files import staging_path
from splat_assets.store.layout import DataRoot
from tests.store.making import bytes_below


def remove(root: DataRoot, *more: str) -> Result:
    return CliRunner().invoke(main, ["run", "remove", *more], env={"SPLAT_DATA": str(root.path)})


def test_without_yes_a_run_stays_and_the_command_says_what_it_would_delete(own_root: DataRoot) -> None:
    before = bytes_below(own_root.path)

    shown = remove(own_root, "small")

    assert shown.exit_code == 2
    assert "MB; to delete it, run `splat run remove small --yes`" in shown.stderr
    assert bytes_below(own_root.path) == before


def test_a_removed_run_is_gone_and_its_inputs_stay(own_root: DataRoot) -> None:
    inputs = {**bytes_below(own_root.datasets), **bytes_below(own_root.models)}

    shown = remove(own_root, "small", "--yes")

    assert shown.exit_code == 0, shown.output
    assert list(own_root.runs.iterdir()) == []
    assert {**bytes_below(own_root.datasets), **bytes_below(own_root.models)} == inputs


def test_a_run_that_is_not_there_is_not_removed(own_root: DataRoot) -> None:
    shown = remove(own_root, "other", "--yes")

    assert shown.exit_code == 2
    assert "run 'other' does not exist" in shown.stderr


def test_a_run_that_is_a_symbolic_link_stays(own_root: DataRoot) -> None:
    own_root.run("small").root.rename(own_root.path / "elsewhere")
    own_root.run("small").root.symlink_to(own_root.path / "elsewhere")

    shown = remove(own_root, "small", "--yes")

    assert shown.exit_code == 2
    assert "is a symbolic link to" in shown.stderr
    assert own_root.run_names() == ["small"]


def test_leftovers_of_a_killed_removal_are_not_a_run_and_the_next_one_deletes_them(own_root: DataRoot) -> None:
    shutil.copytree(own_root.run("small").root, staging_path(own_root.run("small").root))

    assert own_root.run_names() == ["small"]
    assert remove(own_root, "small", "--yes").exit_code == 0

    assert list(own_root.runs.iterdir()) == []
