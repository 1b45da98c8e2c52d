"""Driving Dagster from the shell: an absolute home, and materialising one run in this process with its history kept."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy.exc import OperationalError

from splat_assets.definitions import dagster_assets, dagster_checks
from splat_assets.errors import InputError
from splat_assets.partitions import RUNS
from splat_assets.resources import DataRootResource
from splat_assets.runs import Run
from splat_assets.store.disk import DiskFullError
from splat_assets.store.layout import DataRoot

PROJECT = Path(__file__).resolve().parents[1]
_HISTORY_BYTES = 8 * 2**20


def prepare_home(root: DataRoot) -> Path:
    """The absolute DAGSTER_HOME: what the environment says, or `<data root>/dagster`; it exists and holds dagster.yaml.

    Raises DiskFullError when the disk has no room for the history of a run.
    """
    home = Path(os.environ["DAGSTER_HOME"]).absolute() if os.environ.get("DAGSTER_HOME") else root.dagster_home
    settings = PROJECT / "dagster.yaml"
    if not settings.is_file():
        raise InputError(
            f"there is no {settings}: run from a checkout of the project, installed with `pip install -e .`"
        )
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if free < _HISTORY_BYTES:
        raise _no_room_for_history(home)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(settings, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    return home


@dataclass(frozen=True, slots=True)
class Materialized:
    """How a materialisation went.

    faults: for each artifact that could not be made, the sentence that says why. crashes: for each that failed for a
    reason nobody foresaw, the traceback.
    """

    succeeded: bool
    faults: tuple[str, ...]
    crashes: tuple[str, ...]


def materialize_run(run: Run, names: Sequence[str]) -> Materialized:
    """Make the named assets of a run with their checks, recorded in Dagster's history.

    Raises DiskFullError when there is no room for the history; what the assets lack room for is among the faults.
    """
    home = prepare_home(run.root)
    with _history_in(home), dg.DagsterInstance.get() as instance:
        if run.name not in instance.get_dynamic_partitions(RUNS.name or ""):
            instance.add_dynamic_partitions(RUNS.name or "", [run.name])
        result = dg.materialize(
            [*dagster_assets(), *dagster_checks()],
            instance=instance,
            partition_key=run.name,
            resources={"data": DataRootResource(path=str(run.root.path))},
            selection=dg.AssetSelection.assets(*names),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
            tags={"splat/run": run.name},
        )
    failures = [(event.step_key or "", event.step_failure_data) for event in result.get_step_failure_events()]
    foreseen = [(step, failure.user_failure_data) for step, failure in failures if failure.user_failure_data]
    others = [failure for _, failure in failures if not failure.user_failure_data and not _is_failed_check(failure)]
    return Materialized(
        result.success,
        tuple(f"{step}: {said.description}" for step, said in foreseen if said.description),
        tuple(failure.error_display_string for failure in others),
    )


@contextmanager
def _history_in(home: Path) -> Iterator[None]:
    """Say in words when Dagster's database cannot be written because the disk is full."""
    try:
        yield
    except OperationalError as error:
        if not re.search(r"disk is full|disk I/O error", str(error.orig)):
            raise
        raise _no_room_for_history(home) from error


def _no_room_for_history(home: Path) -> DiskFullError:
    return DiskFullError(
        f"no space left for Dagster's history in {home} ({shutil.disk_usage(home).free / 2**20:,.1f} MiB free, "
        f"{_HISTORY_BYTES // 2**20} MiB are needed): free some space and run again; what was finished is untouched"
    )


def _is_failed_check(failure: Any) -> bool:
    """Whether a step counts as failed only because a check was not passed, which the check's own outcome tells.

    Dagster raises an error for that which it does not export.
    """
    return failure.error is not None and failure.error.cls_name == "DagsterAssetCheckFailedError"
