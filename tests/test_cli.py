"""The root command: quick, complete, and clear about what went wrong."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import Check, Outcome, run_check
from splat_assets.cli import COMMANDS, main
from splat_assets.errors import InputError
from splat_assets.runs import open_run
from splat_assets.store.documents import user
from splat_assets.store.layout import DataRoot
from tests.small_run import new_small_run


def modules_after(*arguments: str) -> set[str]:
    """The modules that a call of the command has imported."""
    code = (
        "import json, sys\n"
        "from splat_assets.cli import main\n"
        f"main({list(arguments)!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(found.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_is_quick_because_nothing_heavy_is_imported(arguments: list[str]) -> None:
    heavy = {"torch", "dagster", "polars", "zarr", "numba", "scipy", "pyarrow"}

    assert not heavy & modules_after(*arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_imports_neither_torch_nor_dagster(name: str) -> None:
    assert not {"torch", "dagster"} & modules_after(name, "--help")


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, (*path, name)
            found += commands(below, (*path, name))
    return found


def test_every_command_is_there_and_says_what_it_does() -> None:
    for path, command in commands(main):
        assert command.help and command.help.strip().split("\n")[0].endswith("."), path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)


def test_help_lists_every_command_with_its_line() -> None:
    shown = CliRunner().invoke(main, ["--help"])

    assert shown.exit_code == 0
    flat = " ".join(shown.output.split())
    for name, (_, line) in COMMANDS.items():
        assert f"{name} {line.split()[0]}" in flat


@pytest.mark.parametrize(
    ("path", "command"), commands(main)[1:], ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_shows_its_help(path: tuple[str, ...], command: click.Command) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"])

    assert shown.exit_code == 0
    assert shown.output.startswith(f"Usage: main {' '.join(path)}")


def test_a_command_that_is_not_there_is_a_mistake() -> None:
    shown = CliRunner().invoke(main, ["serv"])

    assert shown.exit_code == 2
    assert "No such command 'serv'" in shown.stderr


@pytest.fixture
def a_command_that_fails(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """`splat fail`, which raises what it is given."""

    def add(error: Exception) -> None:
        @click.command()
        def fail() -> None:
            """Fail."""
            raise error

        monkeypatch.setitem(COMMANDS, "fail", ("tests.test_cli:fail", "Fail."))
        monkeypatch.setattr(sys.modules[__name__], "fail", fail, raising=False)

    return add


FAULTS = {
    "a mistake": (InputError("the k is wrong; lower k"), "Error: the k is wrong; lower k\n"),
    "a full disk": (
        OSError(28, "No space left on device", "/data/x"),
        "No space left on device at /data/x; existing files are untouched",
    ),
    "a read-only disk": (OSError(30, "Read-only file system", "/data/x"), "Read-only file system at /data/x"),
    "a folder of somebody else": (
        PermissionError(13, "Permission denied", "/data/x"),
        f"Error: permission denied: /data/x, as {user()}; allow it",
    ),
    "a broken disk": (OSError(5, "Input/output error", "/data/x"), "Error: /data/x: input/output error"),
}


@pytest.mark.parametrize(("error", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_what_a_person_can_mend_is_one_sentence_and_exit_code_2(
    error: Exception, expected: str, a_command_that_fails
) -> None:  # type: ignore[no-untyped-def]
    a_command_that_fails(error)

    shown = CliRunner().invoke(main, ["fail"])

    assert shown.exit_code == 2
    assert expected in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "error", [KeyError("bug"), OSError(99, "Cannot assign requested address")], ids=["a bug", "no file's fault"]
)
def test_anything_else_keeps_its_traceback(error: Exception, a_command_that_fails) -> None:  # type: ignore[no-untyped-def]
    a_command_that_fails(error)

    shown = CliRunner().invoke(main, ["fail"])

    assert shown.exit_code == 1
    assert shown.exception is error


def splat(root: DataRoot, *arguments: str) -> "click.testing.Result":
    return CliRunner().invoke(main, list(arguments), env={"SPLAT_DATA": str(root.path), "DAGSTER_HOME": ""})


def test_verify_names_the_check_that_fails_and_exits_with_1(own_root: DataRoot) -> None:
    path = own_root.run("small").staged / "idf.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)

    shown = splat(own_root, "verify", "small")

    assert shown.exit_code == 1
    assert "checks of run small failed" in shown.stderr
    failed = {row.split()[0] for row in shown.stdout.splitlines() if "FAILED" in row}
    assert "idf_is_intact" in failed and failed <= {"idf_is_intact", "idf_is_exact", "guide_idf_is_the_same"}


def test_verify_names_what_was_never_made_and_goes_on(own_root: DataRoot) -> None:
    (own_root.run("small").receipts / "neuron_acts.json").unlink()
    (own_root.run("small").receipts / "examples.json").write_text("spoilt")

    shown = splat(own_root, "verify", "small")

    assert shown.exit_code == 1
    rows = {tuple(re.split(r"\s{2,}", row.strip())[:2]) for row in shown.stdout.splitlines()}
    assert ("neuron_acts", "not made") in rows
    assert ("examples_is_intact", "FAILED") in rows
    assert ("version_is_sound", "passed") in rows


def test_verify_goes_on_after_a_table_that_cannot_be_read(own_root: DataRoot) -> None:
    table = own_root.run("small").efficient / "metadata" / "batch_0000.parquet"
    table.write_bytes(table.read_bytes()[:100])

    shown = splat(own_root, "verify", "small")

    assert shown.exit_code == 1
    assert "checks of run small failed" in shown.stderr
    assert "neuron_acts" in shown.stdout and "Traceback" not in shown.output


def test_run_list_shows_how_far_each_run_is(own_root: DataRoot) -> None:
    (own_root.run("small").staged / "idf.parquet").unlink()

    shown = splat(own_root, "run", "list")

    assert shown.exit_code == 0
    assert f"{len(ASSETS) - 1} of {len(ASSETS)}" in shown.stdout and "batch_topk" in shown.stdout


def test_run_list_and_runs_are_one(own_root: DataRoot, tmp_path: Path) -> None:
    for root in (own_root, DataRoot(tmp_path / "empty")):
        one, other = splat(root, "run", "list", "--last", "3"), splat(root, "runs", "--last", "3")

        assert (one.exit_code, one.stdout, one.stderr) == (0, other.stdout, other.stderr)
    assert "holds no runs yet" in one.stderr


def spoil_the_description(runs: Path) -> None:
    (runs / "bad").mkdir()
    (runs / "bad" / "run.toml").write_text("x = [", encoding="utf-8")


def spoil_its_letters(runs: Path) -> None:
    (runs / "bad").mkdir()
    (runs / "bad" / "run.toml").write_bytes(b"\xff\xfe")


def name_oddly(runs: Path) -> None:
    shutil.copytree(runs / "small", runs / "small copy")


def spoil_a_receipt(runs: Path) -> None:
    shutil.copytree(runs / "small", runs / "other")
    (runs / "other" / "receipts").mkdir()
    (runs / "other" / "receipts" / "idf.json").write_text("spoilt", encoding="utf-8")


def make_a_folder_of_the_description(runs: Path) -> None:
    (runs / "bad" / "run.toml").mkdir(parents=True)


ODD_RUNS = {
    "that cannot be read": (spoil_the_description, "bad", "does not describe a run"),
    "of other bytes": (spoil_its_letters, "bad", "does not describe a run: it is not UTF-8 text"),
    "with an odd name": (name_oddly, "small copy", "cannot be the name of a run"),
    "with a spoilt receipt": (spoil_a_receipt, "other", "idf.json is not a receipt"),
    "that is no file": (make_a_folder_of_the_description, "bad", "does not describe a run: it is a folder, not a file"),
}


@pytest.mark.parametrize(("spoil", "name", "expected"), ODD_RUNS.values(), ids=ODD_RUNS.keys())
@pytest.mark.parametrize("command", [["run", "list"], ["doctor", "--dagster-port", "1"]], ids=["list", "doctor"])
def test_a_run_does_not_hide_the_others(
    command: list[str], spoil: Callable[[Path], None], name: str, expected: str, tmp_path: Path
) -> None:
    root = DataRoot(tmp_path)
    new_small_run(root)
    spoil(root.runs)

    shown = splat(root, *command)

    assert isinstance(shown.exception, SystemExit | None), shown.exception
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in shown.stdout.splitlines() if "│" in row]
    assert {"small", "run small"} & {row[0] for row in rows}
    assert {name, f"run {name}"} & {row[0] for row in rows}
    said = " ".join(row[-1] for row in rows) + shown.stderr
    assert expected.replace(" ", "") in "".join(said.split())


def test_a_run_list_of_nothing_but_unreadable_runs_is_still_shown(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    spoil_the_description(tmp_path / "runs")

    shown = splat(DataRoot(tmp_path), "run", "list")

    assert shown.exit_code == 0
    assert "bad" in shown.stdout and "does not describe a run" in shown.stderr


@pytest.mark.parametrize("selected", ["", " ", "idf,", ","])
def test_a_selection_that_names_nothing_is_refused(selected: str, finished_root: DataRoot) -> None:
    shown = splat(finished_root, "materialize", "small", "--select", selected)

    assert shown.exit_code == 2
    assert "artifact '' does not exist; there are dataset, " in shown.stderr


def test_run_show_prints_recipe_artifacts_and_scorecard(finished_root: DataRoot) -> None:
    shown = splat(finished_root, "run", "show", "small")

    assert shown.exit_code == 0
    assert "[sae]" in shown.stdout and "published_store" in shown.stdout and "fidelity" in shown.stdout


def test_doctor_says_what_is_wrong_with_a_run(own_root: DataRoot) -> None:
    path = own_root.datasets / "small" / "tokenized_data.csv"
    path.write_text("other", encoding="utf-8")

    shown = splat(own_root, "doctor", "--dagster-port", "1")

    assert shown.exit_code == 1
    said = " ".join(" ".join(row.split("│")[-2] for row in shown.stdout.splitlines() if "│" in row).split())
    assert "not the file this run was made from" in said


def test_doctor_names_what_has_to_be_made_again_and_what_failed_its_checks(own_root: DataRoot) -> None:
    run, idf = open_run(own_root, "small"), asset_named("idf")
    (run.layout.staged / "examples.parquet").unlink()
    run_check(idf, Check("idf_is_exact", "A promise.", lambda run: Outcome(False)), run)

    shown = splat(own_root, "doctor", "--dagster-port", "1")

    assert shown.exit_code == 1
    found = " ".join(" ".join(row.split("│")[2] for row in shown.stdout.splitlines() if "│" in row).split())
    assert "idf: failed idf_is_exact, examples: damaged; store" in found
    assert "splat materialize small" in shown.stdout


def test_doctor_says_of_a_new_run_that_it_is_not_made_yet(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    new_small_run(root)

    shown = splat(root, "doctor", "--dagster-port", "1")

    row = next(row for row in shown.stdout.splitlines() if "run small" in row)
    what, found, to_do = (cell.strip() for cell in row.split("│")[1:-1])
    assert (what, to_do) == ("run small", "splat materialize small")
    assert re.fullmatch(r"not made yet; about \d+\.\d MB to come", found)
    assert "1 problem, see the remedies above" in shown.stderr and "publish" not in shown.stdout


def test_doctor_names_the_failed_check_and_counts_what_waits_for_it(own_root: DataRoot) -> None:
    run, idf = open_run(own_root, "small"), asset_named("idf")
    run_check(idf, Check("idf_is_exact", "A promise.", lambda run: Outcome(False)), run)
    (run.layout.receipts / "published_store.json").unlink()
    (run.layout.store / "CURRENT").unlink()

    shown = splat(own_root, "doctor", "--dagster-port", "1")

    found = " ".join(" ".join(row.split("│")[2] for row in shown.stdout.splitlines() if "│" in row).split())
    assert "idf: failed idf_is_exact, 1 artifact not made yet; no store yet" in found


def test_doctor_is_content_with_a_finished_run(finished_root: DataRoot) -> None:
    shown = splat(finished_root, "doctor", "--dagster-port", "1")

    assert shown.exit_code == 0, shown.output
    assert "up to date" in shown.stdout


def test_doctor_warns_of_a_dagster_home_that_moves_with_the_folder(finished_root: DataRoot) -> None:
    shown = CliRunner().invoke(
        main, ["doctor", "--dagster-port", "1"], env={"SPLAT_DATA": str(finished_root.path), "DAGSTER_HOME": "home"}
    )

    assert shown.exit_code == 1
    assert "make it absolute" in " ".join(shown.stdout.split())


def test_doctor_finds_the_model_params_that_changed(own_root: DataRoot) -> None:
    (own_root.models / "small" / "model_params.json").write_text("{}", encoding="utf-8")

    shown = splat(own_root, "doctor", "--dagster-port", "1")

    assert shown.exit_code == 1
    said = " ".join(" ".join(row.split("│")[-2] for row in shown.stdout.splitlines() if "│" in row).split())
    assert "model params" in said and "not the file this run was made from" in said


def test_materialize_refuses_inputs_that_changed_though_all_was_made(own_root: DataRoot) -> None:
    path = own_root.datasets / "small" / "tokenized_data.csv"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:500]), encoding="utf-8")

    shown = splat(own_root, "materialize", "small")

    assert shown.exit_code == 2
    (sentence,) = shown.stderr.strip().splitlines()
    assert f"{path} is not the file this run was made from" in sentence


@pytest.mark.slow
def test_materialize_tells_a_failed_check_from_a_fault(own_root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    config = own_root.run("small").config
    config.write_text(config.read_text(encoding="utf-8").replace("max_fvu = 0.5", "max_fvu = 0.0"), encoding="utf-8")

    shown = splat(own_root, "materialize", "small")

    assert shown.exit_code == 1
    assert "sae_checkpoint: fvu_is_within_limits failed (fvu: 0." in shown.stderr
    assert "Traceback" not in shown.output and "Stack Trace" not in shown.output


@pytest.mark.slow
def test_a_selection_brings_what_it_needs_and_nothing_else(own_root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    layout = own_root.run("small")
    for name in ("raw_activations", "idf", "neuron_acts"):
        (layout.receipts / f"{name}.json").unlink()

    shown = splat(own_root, "materialize", "small", "--select", "idf")

    assert shown.exit_code == 0, shown.output
    made = {path.name for path in layout.receipts.glob("*.json")}
    assert {"raw_activations.json", "idf.json"} <= made and "neuron_acts.json" not in made


@pytest.mark.slow
def test_materialize_prints_the_traceback_of_what_nobody_foresaw(
    own_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the place of a folder is nothing that a sentence foresees."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    layout = own_root.run("small")
    layout.builds.unlink()
    layout.builds.parent.rmdir()
    layout.builds.parent.touch()

    shown = splat(own_root, "materialize", "small", "--select", "dataset")

    assert shown.exit_code == 1
    assert "Error" in shown.stderr and "dataset" in shown.stderr


def test_up_stands_on_this_machine_alone() -> None:
    shown = CliRunner().invoke(main, ["up", "--help"])

    assert "127.0.0.1" in shown.output


def test_options_without_a_command_are_a_sentence() -> None:
    done = CliRunner().invoke(main, ["-v"])

    assert done.exit_code == 2 and "Missing command" in done.output
