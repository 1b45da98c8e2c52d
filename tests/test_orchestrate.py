"""Dagster's home: made once however many begin at the same moment, and explained when it is broken."""

import multiprocessing
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.errors import InputError
from splat_assets.orchestration.in_process import materialize_run, prepare_home
from splat_assets.store.layout import DataRoot
from splat_assets.text.progress import LogProgress, watching
from tests.small_run import new_small_run

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["splat_assets.orchestration.in_process"])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What preparing a home sets is undone."""
    for name in ("DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")
    yield


def open_history(data: Path, start: "multiprocessing.synchronize.Barrier") -> None:
    os.environ["DAGSTER_HOME"] = ""
    start.wait()
    prepare_home(DataRoot(data))
    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs_count() == 0


@pytest.mark.slow
def test_processes_that_begin_at_the_same_moment_share_one_sound_home(tmp_path: Path) -> None:
    for attempt in range(3):
        data, start = tmp_path / f"data-{attempt}", _PROCESSES.Barrier(4)
        processes = [_PROCESSES.Process(target=open_history, args=(data, start)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

        assert [process.exitcode for process in processes] == [0] * 4
        for database in (data / "dagster").rglob("*.db"):
            heads = sqlite3.connect(database).execute("select count(*) from alembic_version").fetchone()
            assert heads == (1,), database


def test_a_prepared_home_holds_every_database(tmp_path: Path) -> None:
    home = prepare_home(DataRoot(tmp_path))

    assert {path.name for path in home.rglob("*.db")} == {"runs.db", "index.db", "schedules.db"}


BROKEN = {
    "a database of two versions": ("schedules/schedules.db", "insert into alembic_version values ('0b94d5f4ec8d')"),
    "a database without its tables": ("history/runs.db", "drop table runs"),
}


@pytest.mark.parametrize(("database", "spoil"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_home_is_explained_in_one_sentence(database: str, spoil: str, tmp_path: Path) -> None:
    home = prepare_home(DataRoot(tmp_path))
    with sqlite3.connect(home / database) as connection:
        connection.execute(spoil)
    os.environ["DAGSTER_HOME"] = ""

    with pytest.raises(InputError, match="history in .* cannot be read .*: move that folder away"):
        prepare_home(DataRoot(tmp_path))


def test_bytes_that_are_no_database_are_explained_by_the_command(finished_root: DataRoot, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "schedules").mkdir(parents=True)
    (home / "schedules" / "schedules.db").write_text("spoilt " * 1_000, encoding="utf-8")

    shown = CliRunner().invoke(
        main, ["materialize", "small"], env={"SPLAT_DATA": str(finished_root.path), "DAGSTER_HOME": str(home)}
    )

    assert shown.exit_code == 2
    (sentence,) = shown.stderr.strip().splitlines()
    assert f"Dagster's history in {home} cannot be read" in sentence and "not a database" in sentence


@pytest.mark.slow
def test_who_watches_a_materialisation_hears_what_is_made_and_checked(tmp_path: Path) -> None:
    run, said = new_small_run(DataRoot(tmp_path)), list[str]()

    with watching(LogProgress(said.append, every_seconds=0.01)):
        made = materialize_run(run, ["dataset"])

    assert made.succeeded
    assert {"opening Dagster's history", "making dataset", "checking dataset"} <= {line.split(":")[0] for line in said}
