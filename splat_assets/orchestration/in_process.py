"""Driving Dagster from the shell: an absolute home, and materialising one run in this process with its history kept."""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from alembic.util import CommandError
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from splat_assets.errors import InputError
from splat_assets.orchestration.definitions import dagster_assets, dagster_checks
from splat_assets.orchestration.resources import RUNS, SWEEPS, TAG, DataRootResource
from splat_assets.orchestration.sweeps import every_run_is_compared, sweep_comparison
from splat_assets.runs import Run
from splat_assets.store.disk import DiskFullError
from splat_assets.store.files import locked, replacing_file
from splat_assets.store.layout import DataRoot
from splat_assets.sweeps import Sweep
from splat_assets.text.progress import step

SETTINGS = Path(__file__).with_name("dagster.yaml")
"""Dagster's settings; `dagster.yaml` of the repository is the same, for those who start Dagster themselves."""
_HISTORY_BYTES = 8 * 2**20
_NO_URL = frozenset("?%[]*")
"""Dagster makes URLs and patterns of the path of its databases, and does not escape these in it."""


def prepare_home(root: DataRoot) -> Path:
    """The absolute DAGSTER_HOME: what the environment says, or `<data root>/dagster`; it holds dagster.yaml and every database.

    Processes that prepare the same home do so one after the other: Dagster's databases break for good when two make them at
    the same moment. Raises InputError when what is there cannot be read, DiskFullError when the disk lacks room for the
    history of a run.
    """
    home = Path(os.environ["DAGSTER_HOME"]).absolute() if os.environ.get("DAGSTER_HOME") else root.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if free < _HISTORY_BYTES:
        raise _no_room_for_history(home)
    os.environ["DAGSTER_HOME"] = str(home if _NO_URL.isdisjoint(str(home)) else _linked(home))
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    with locked(home / ".lock"):
        if not (home / "dagster.yaml").exists():
            with replacing_file(home / "dagster.yaml") as aside:
                shutil.copyfile(SETTINGS, aside)
        with _history_in(home):
            _read_every_database(home)
    return home


@cache
def _linked(home: Path) -> Path:
    """A path to home that holds nothing of _NO_URL: a link of this process, which goes with it."""
    held = tempfile.TemporaryDirectory(prefix="splat-dagster-")
    atexit.register(held.cleanup)
    link = Path(held.name, "home")
    link.symlink_to(home, target_is_directory=True)
    return link


@dataclass(frozen=True, slots=True)
class Materialized:
    """The result of a materialisation.

    faults: the error message of each artifact that could not be made. crashes: the traceback of each unexpected failure.
    """

    succeeded: bool
    faults: tuple[str, ...]
    crashes: tuple[str, ...]


def materialize_run(run: Run, names: Sequence[str]) -> Materialized:
    """Make the named assets of a run with their checks in this process, recorded in Dagster's history.

    Args:
        names: Of assets in `splat_assets.assets.ASSETS`. What is up to date is not made again; what these need must be
            among them or settled already, or it is a fault.

    Returns:
        What failed, in words; a full disk in an asset is among the faults.

    Raises:
        DiskFullError: The disk lacks room for the history.
        InputError: Dagster's databases in DAGSTER_HOME cannot be read.
    """
    with step("opening Dagster's history"):
        home = prepare_home(run.root)
    definitions = [*dagster_assets(), *dagster_checks()]
    selection = dg.AssetSelection.assets(*names)
    return _materialized(home, run.root, RUNS, run.name, definitions, selection=selection, tags={TAG: run.name})


def materialize_sweep(sweep: Sweep) -> Materialized:
    """Compare the runs of a sweep, recorded in Dagster's history; DiskFullError as `materialize_run`."""
    home = prepare_home(sweep.root)
    return _materialized(home, sweep.root, SWEEPS, sweep.name, [sweep_comparison, every_run_is_compared])


def _materialized(
    home: Path, root: DataRoot, keys: dg.DynamicPartitionsDefinition, key: str, definitions: Sequence[Any], **how: Any
) -> Materialized:
    """What becomes of the definitions of one partition."""
    with _history_in(home), dg.DagsterInstance.get() as instance:
        if key not in instance.get_dynamic_partitions(keys.name or ""):
            instance.add_dynamic_partitions(keys.name or "", [key])
        result = dg.materialize(
            definitions,
            instance=instance,
            partition_key=key,
            resources={"data": DataRootResource(path=str(root.path))},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
            **how,
        )
    failures = [(event.step_key or "", event.step_failure_data) for event in result.get_step_failure_events()]
    foreseen = [(step, failure.user_failure_data) for step, failure in failures if failure.user_failure_data]
    others = [failure for _, failure in failures if not failure.user_failure_data and not _is_failed_check(failure)]
    return Materialized(
        result.success,
        tuple(f"{step}: {check.description}" for step, check in foreseen if check.description),
        tuple(failure.error_display_string for failure in others),
    )


def _read_every_database(home: Path) -> None:
    """Make Dagster's databases where there are none yet; InputError when one cannot be read."""
    try:
        with dg.DagsterInstance.get() as instance:
            instance.get_runs_count()
            instance.get_asset_keys(limit=1)
            instance.all_instigator_state()
    except (SQLAlchemyError, CommandError, dg.DagsterError) as error:
        if _says_disk_full(error):
            raise
        why = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InputError(
            f"Dagster's history in {home} cannot be read ({why}): move that folder away and run again; "
            "the runs and their artifacts are elsewhere and stay"
        ) from error


@contextmanager
def _history_in(home: Path) -> Iterator[None]:
    """Raise DiskFullError when Dagster's database cannot be written because the disk is full."""
    try:
        yield
    except OperationalError as error:
        if not _says_disk_full(error):
            raise
        raise _no_room_for_history(home) from error


def _says_disk_full(error: Exception) -> bool:
    return isinstance(error, OperationalError) and bool(re.search(r"disk is full|disk I/O error", str(error.orig)))


def _no_room_for_history(home: Path) -> DiskFullError:
    return DiskFullError(
        f"no space left for Dagster's history in {home} ({shutil.disk_usage(home).free / 2**20:,.1f} MiB free, "
        f"{_HISTORY_BYTES // 2**20} MiB are needed): free some space and run again; what was finished is untouched"
    )


def _is_failed_check(failure: Any) -> bool:
    """Whether a step failed only because a check did; the check's own outcome reports that.

    Dagster raises an error for that which it does not export.
    """
    return failure.error is not None and failure.error.cls_name == "DagsterAssetCheckFailedError"
