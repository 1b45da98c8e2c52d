"""`splat doctor`: checks this installation and data root, and reports each problem with its remedy."""

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from rich.table import Column

from splat_assets.commands.report import size
from splat_assets.distribution import DISTRIBUTION, EXTRAS, install_line
from splat_assets.errors import InputError, SplatError
from splat_assets.model.device import DEVICE, requested_device, usable_device
from splat_assets.store.documents import in_words
from splat_assets.store.layout import DataRoot
from splat_assets.text.numerals import whole
from splat_assets.text.terminal import FittedTable, console
from splat_assets.text.wording import counted

if TYPE_CHECKING:
    from splat_assets.assets.asset import Asset, Status
    from splat_assets.runs import Run
    from splat_assets.store.bucket.bucket import Bucket

_PACKAGES = {
    "numpy": "",
    "polars": "",
    "pyarrow": "",
    "zarr": "",
    "numcodecs": "",
    "pcodec": "",
    "numba": "server",
    "fastapi": "server",
    "dash": "dash",
    "torch": "pipeline",
    "dagster": "pipeline",
    "dagster-webserver": "pipeline",
}
"""Packages that matter, each with the extra that brings it, which may be left out on purpose."""
_LEAST_FREE_BYTES = 2 * 10**9
_UI = "Dagster UI"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. what_to_do is empty when it passed."""

    what: str
    result: str
    what_to_do: str = ""


@click.command()
@click.option("--dagster-port", default=3000, type=whole(), show_default=True, help="Port to check for `splat up`.")
def doctor(dagster_port: int) -> None:
    """Check versions, the data root, ports and every run; exit code 1 when there is a problem."""
    where, root = where_data_is()
    findings = [*installation(), *where]
    if root is not None:
        ports = {_UI: dagster_port, "dashboard": 8050, "activation server": 8765}
        findings += [*data_root(root), *(port(number, what) for what, number in ports.items()), *shards(), *runs(root)]
    table = FittedTable(Column("check", no_wrap=True), "result", "remedy", hide=())
    for finding in findings:
        table.add_row(finding.what, finding.result, finding.what_to_do or "nothing")
    console().print(table)
    n_wrong = sum(bool(finding.what_to_do) for finding in findings)
    if n_wrong:
        click.echo(f"{counted(n_wrong, 'problems')}, see the remedies above", err=True)
        sys.exit(1)


def installation() -> Iterator[Finding]:
    """The Python, the packages that matter, and where torch computes."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", version, "" if sys.version_info >= (3, 11) else "use Python 3.11 or newer")
    for name, extra in _PACKAGES.items():
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            left_out = f"not installed; {EXTRAS[extra]} needs it: {install_line(extra)}" if extra else "not installed"
            yield Finding(name, left_out, "" if extra else f"install again: pip install {DISTRIBUTION}")
    if importlib.util.find_spec("torch") is None:
        return
    requested = requested_device()
    try:
        usable_device(requested)
        yield Finding("torch device", requested)
    except InputError as error:
        yield Finding(
            "torch device",
            f"{DEVICE}={requested}",
            f"{error}; unset {DEVICE}, or install a build of torch that supports it",
        )


def where_data_is() -> tuple[list[Finding], DataRoot | None]:
    """The check of the bucket that SPLAT_DATA names, and the data folder; None where the bucket cannot be reached."""
    from splat_assets.store.bucket.bucket import bucket_of

    try:
        bucket = bucket_of()
        root = DataRoot.from_environment()
    except SplatError as error:
        return [Finding("SPLAT_DATA", os.environ.get("SPLAT_DATA", ""), str(error))], None
    if bucket is None:
        return [], root
    try:
        missing = _tried(bucket)
    except SplatError as error:
        return [Finding("bucket", bucket.url, str(error))], None
    what_to_do = "" if not missing else f"{missing}: publishing needs a bucket that honours If-Match and If-None-Match"
    return [
        Finding("bucket", f"{bucket.url}, {counted(len(bucket.listed('runs')), 'objects')} of runs", what_to_do)
    ], root


def _tried(bucket: "Bucket") -> str:
    """The conditional writes that publishing needs and the bucket ignores, by writing and deleting one object."""
    from splat_assets.store.bucket.bucket import PreconditionFailedError

    name = f".doctor-{uuid.uuid4().hex}"
    tag = bucket.create(name, b"1")
    missing = []
    try:
        try:
            bucket.create(name, b"2")
            missing.append("it ignores If-None-Match (overwrites an existing object)")
        except PreconditionFailedError:
            pass
        newer = bucket.replace(name, b"3", tag) if not missing else tag
        try:
            bucket.replace(name, b"4", tag if newer != tag else '"0"')
            missing.append("it ignores If-Match (overwrites a changed object)")
        except PreconditionFailedError:
            pass
        return " and ".join(missing)
    finally:
        bucket.delete([name])


def shards() -> Iterator[Finding]:
    """Whether the Ray cluster that SPLAT_SHARDS names can be reached, and runs the same version."""
    setting = os.environ.get("SPLAT_SHARDS", "")
    if not setting.startswith("ray"):
        return
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("ray", "not installed", f"{install_line('ray')}, or unset SPLAT_SHARDS")
        return
    host, _, number = setting.removeprefix("ray").strip(":").rpartition(":")
    if not host:
        yield Finding("ray", f"{version}, local or at RAY_ADDRESS")
        return
    try:
        with socket.create_connection((host, int(number)), timeout=5):
            yield Finding("ray", f"{version}; {host}:{number} answers")
    except (OSError, ValueError) as error:
        yield Finding("ray", f"{version}; SPLAT_SHARDS={setting}", f"no answer ({error}): start a cluster")


def data_root(root: DataRoot) -> Iterator[Finding]:
    """Whether the data root can be written and has room."""
    try:
        root.checked_writable()
    except SplatError as error:
        yield Finding("data root", str(root.path), str(error))
        return
    free = shutil.disk_usage(root.path).free
    short = "" if free >= _LEAST_FREE_BYTES else f"free some space: a run needs at least {size(_LEAST_FREE_BYTES)}"
    yield Finding("data root", f"{root.path}, {size(free)} free", short)
    home = os.environ.get("DAGSTER_HOME", "")  # empty counts as unset, as it does for `splat up`
    if home and not os.path.isabs(home):
        yield Finding(
            "DAGSTER_HOME", home, "unset it or make it absolute: a relative path depends on the current folder"
        )
    else:
        yield Finding("DAGSTER_HOME", home or f"unset: {root.dagster_home}")


def port(number: int, what: str) -> Finding:
    """Whether the port is free."""
    with socket.socket() as probe:
        busy = probe.connect_ex(("127.0.0.1", number)) == 0
    if what != _UI:  # it may well be what listens there
        return Finding(f"port {number}", f"{what}: {'in use, by it or by another program' if busy else 'free'}")
    what_to_do = f"stop the program that uses it, or `splat up --port {number + 1}`" if busy else ""
    return Finding(f"port {number}", f"{what}: {'in use' if busy else 'free'}", what_to_do)


def runs(root: DataRoot) -> Iterator[Finding]:
    """Every run: whether it opens, inputs are unchanged, artifacts are up to date, the store passes quick checks."""
    from splat_assets.assets import ASSETS
    from splat_assets.assets.asset import Status, status_of
    from splat_assets.runs import open_run

    for name in root.run_names():
        try:
            run = open_run(root, name)
            run.config.inputs.refuse_changed()
            statuses = {asset: status_of(asset, run) for asset in ASSETS}
            room = _room_of(run)
            if set(statuses.values()) == {Status.MISSING}:
                yield Finding(f"run {name}", f"not made yet{room[0]}", room[1] or f"splat materialize {name}")
                continue
            store = _store_of(run)
        except (SplatError, OSError) as error:
            yield Finding(f"run {name}", "not sound", in_words(error))
            continue
        yield _standing_of(run, statuses, store, room)


def _room_of(run: "Run") -> tuple[str, str]:
    """The disk space that the rest of a run needs, and the remedy where there is less."""
    from splat_assets.assets import ASSETS
    from splat_assets.assets.expected import room_for

    room = room_for(run, ASSETS)
    if room is None or not room.needed_bytes:
        return "", ""
    short = f"free some space: about {size(room.needed_bytes)} are needed, {size(room.free_bytes)} are free"
    return f"; about {size(room.needed_bytes)} to come", "" if room.fits else short


def _standing_of(run: "Run", statuses: "dict[Asset, Status]", store: str, room: tuple[str, str]) -> Finding:
    """The status of a run that has artifacts; a failed check comes first, with its remedy."""
    from splat_assets.assets.asset import Status, failures

    due = [line for asset, status in statuses.items() if (line := _what_is_due(asset, status, run))]
    n_missing = list(statuses.values()).count(Status.MISSING)
    if n_missing:
        due.append(f"{counted(n_missing, 'artifacts')} not made yet")
    to_do = [f"{asset.name}: {words}" for asset in statuses for words in failures(asset, run)]
    if due and (not to_do or {Status.STALE, Status.DAMAGED} & set(statuses.values())):
        to_do.append(f"splat materialize {run.name}")
    return Finding(
        f"run {run.name}", f"{', '.join(due) or 'up to date'}; {store}{room[0]}", room[1] or "; ".join(to_do)
    )


def _what_is_due(asset: "Asset", status: "Status", run: "Run") -> str:
    """The problems of an artifact that was made, with its failed checks; an unchecked one has none."""
    from splat_assets.assets.asset import Status, recorded_outcomes

    if status is Status.FAILED:
        failed = [name for name, outcome in recorded_outcomes(asset, run).items() if not outcome.passed]
        return f"{asset.name}: failed {' and '.join(failed)}"
    return "" if status in (Status.MISSING, Status.SETTLED, Status.UNCHECKED) else f"{asset.name}: {status}"


def _store_of(run: "Run") -> str:
    """The published version; raises StoreError for a damaged one."""
    from splat_assets.store.errors import NotPublishedError
    from splat_assets.store.published.publishing import current_version, open_store

    try:
        current_version(run.layout.store)
    except NotPublishedError:
        return "no store yet"
    store = open_store(run.layout.store)
    return f"store {store.version}, {counted(store.n_samples, 'samples')}"
