"""`splat doctor`: looks at this installation and data root, and says in words what is wrong."""

import importlib.metadata
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from rich.table import Column, Table

from splat_assets.commands.report import console, size
from splat_assets.errors import SplatError
from splat_assets.progress import counted
from splat_assets.store.layout import DataRoot

if TYPE_CHECKING:
    from splat_assets.assets.asset import Asset, Status
    from splat_assets.runs import Run

_PACKAGES = (
    "dagster",
    "dagster-webserver",
    "torch",
    "zarr",
    "numcodecs",
    "pcodec",
    "polars",
    "pyarrow",
    "numba",
    "numpy",
)
_LEAST_FREE_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. what_to_do is empty when all is well."""

    what: str
    found: str
    what_to_do: str = ""


@click.command()
@click.option("--dagster-port", default=3000, show_default=True, help="The port that `splat up` would use.")
def doctor(dagster_port: int) -> None:
    """Look at versions, the data root, ports and every run; exit code 1 when something needs mending."""
    root = DataRoot.from_environment()
    findings = [*installation(), *data_root(root), port(dagster_port), *runs(root)]
    table = Table(Column("what", no_wrap=True), Column("found", overflow="fold"), Column("what to do", overflow="fold"))
    for finding in findings:
        table.add_row(finding.what, finding.found, finding.what_to_do or "nothing")
    console().print(table)
    n_wrong = sum(bool(finding.what_to_do) for finding in findings)
    if n_wrong:
        click.echo(f"{counted(n_wrong, 'things')} need{'s' if n_wrong == 1 else ''} mending", err=True)
        sys.exit(1)


def installation() -> Iterator[Finding]:
    """The Python and the packages that matter."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", version, "" if sys.version_info >= (3, 11) else "use Python 3.11 or newer")
    for name in _PACKAGES:
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not installed", "make the environment again: make clean, then make demo")


def data_root(root: DataRoot) -> Iterator[Finding]:
    """Whether the data root can be written and has room."""
    try:
        root.checked_writable()
    except SplatError as error:
        yield Finding("data root", str(root.path), str(error))
        return
    free = shutil.disk_usage(root.path).free
    short = "" if free >= _LEAST_FREE_BYTES else f"make room: a run needs at least {size(_LEAST_FREE_BYTES)}"
    yield Finding("data root", f"{root.path}, {size(free)} free", short)
    home = os.environ.get("DAGSTER_HOME", "")  # empty counts as unset, as it does for `splat up`
    if home and not os.path.isabs(home):
        yield Finding(
            "DAGSTER_HOME", home, "unset it or make it absolute: its meaning changes with the folder you are in"
        )
    else:
        yield Finding("DAGSTER_HOME", home or f"unset: {root.dagster_home}")


def port(number: int) -> Finding:
    """Whether the Dagster UI could listen."""
    with socket.socket() as probe:
        busy = probe.connect_ex(("127.0.0.1", number)) == 0
    what_to_do = f"stop what listens there, or `splat up --port {number + 1}`" if busy else ""
    return Finding(f"port {number}", "in use" if busy else "free", what_to_do)


def runs(root: DataRoot) -> Iterator[Finding]:
    """Every run: whether it opens, its inputs are unchanged, its artifacts stand, and its store is sound on the surface."""
    from splat_assets.assets import ASSETS
    from splat_assets.assets.asset import Status, status_of
    from splat_assets.runs import open_run

    for name in root.run_names():
        try:
            run = open_run(root, name)
            run.config.inputs.refuse_changed()
            statuses = {asset: status_of(asset, run) for asset in ASSETS}
            if set(statuses.values()) == {Status.MISSING}:
                yield Finding(f"run {name}", "not made yet", f"splat materialize {name}")
                continue
            store = _store_of(run)
        except (SplatError, OSError) as error:
            yield Finding(f"run {name}", "not sound", str(error))
            continue
        due = [line for asset, status in statuses.items() if (line := _what_is_due(asset, status, run))]
        n_missing = list(statuses.values()).count(Status.MISSING)
        if n_missing:
            due.append(f"{counted(n_missing, 'artifacts')} not made yet")
        what_to_do, state = (f"splat materialize {name}", ", ".join(due)) if due else ("", "up to date")
        yield Finding(f"run {name}", f"{state}; {store}", what_to_do)


def _what_is_due(asset: "Asset", status: "Status", run: "Run") -> str:
    """What is wrong with an artifact that was made, with the checks that failed; what was not checked is no fault."""
    from splat_assets.assets.asset import Status, recorded_outcomes

    if status is Status.FAILED:
        failed = [name for name, outcome in recorded_outcomes(asset, run).items() if not outcome.passed]
        return f"{asset.name}: failed {' and '.join(failed)}"
    return "" if status in (Status.MISSING, Status.SETTLED, Status.UNCHECKED) else f"{asset.name}: {status}"


def _store_of(run: "Run") -> str:
    """The published version; raises StoreError for one that is not sound."""
    from splat_assets.store.errors import NotPublishedError
    from splat_assets.store.published import current_version, open_store

    try:
        current_version(run.layout.store)
    except NotPublishedError:
        return "no store yet"
    store = open_store(run.layout.store)
    return f"store {store.version}, {store.n_samples:,} samples"
