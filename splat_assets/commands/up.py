"""`splat up`: the Dagster UI, its daemon and the dashboard on this machine."""

import importlib.util
import os
import sys

import click

from splat_assets.commands.ending import at_stop
from splat_assets.commands.ports import refuse_taken
from splat_assets.commands.services import run_services
from splat_assets.distribution import install_line
from splat_assets.errors import InputError
from splat_assets.store.bucket.working_copy import display_location
from splat_assets.store.layout import DataRoot
from splat_assets.text.numerals import whole

_SENSOR_SECONDS = 900
"""A scan hashes new inputs and opens them once: minutes for a large dataset."""
_PORT = whole(1, 65535)


@click.command()
@click.option("--port", default=3000, show_default=True, type=_PORT, help="Port of the Dagster UI on 127.0.0.1.")
@click.option("--dash-port", default=8050, show_default=True, type=_PORT, help="Port of the dashboard on 127.0.0.1.")
@click.option("--dashboard/--no-dashboard", default=True, show_default=True, help="Start the dashboard too.")
@click.option("--automation/--no-automation", default=True, show_default=True,
              help="Make runs of new inputs, and verify stores every night.")  # fmt: skip
def up(port: int, dash_port: int, dashboard: bool, automation: bool) -> None:
    """Start the Dagster UI, its daemon and the dashboard on 127.0.0.1, with an absolute DAGSTER_HOME under the data root.

    While it runs, a base model in saved_models/, a ready-made SAE in saved_saes/ or a dataset in datasets/ becomes a
    run within a minute of being complete; automation.toml in the data root sets the recipe. Every night stores are
    verified and old versions removed. The dashboard waits until a run is published. Stop all of it with Ctrl-C.

    Anyone who reaches the port of the UI can start work with it, so it is never bound to another address.
    """
    if dashboard and importlib.util.find_spec("dash") is None:
        raise InputError(f"the dashboard is not installed: {install_line('dash')}, or leave it out: --no-dashboard")
    with at_stop():
        _refuse_ports(port, dash_port if dashboard else None)
        services = _prepared(port, dash_port if dashboard else None, automation)
    run_services(services, "Dagster UI", port)


def _refuse_ports(port: int, dash_port: int | None) -> None:
    if port == dash_port:
        raise InputError(f"--port and --dash-port are both {port}: choose another one for the dashboard")
    refuse_taken("127.0.0.1", port, "choose another --port for the Dagster UI")
    if dash_port is not None:
        refuse_taken("127.0.0.1", dash_port, "choose another --dash-port, or leave out the dashboard: --no-dashboard")


def _prepared(port: int, dash_port: int | None, automation: bool) -> list[list[str]]:
    """The commands to be run: Dagster's, and the dashboard's where there is one; their environment is this process's."""
    from splat_assets.automation.settings import AUTOMATION
    from splat_assets.orchestration.in_process import prepare_home

    root = DataRoot.from_environment().checked_writable()
    home = prepare_home(root)
    os.environ["SPLAT_DATA"] = str(root.path)
    if dash_port is not None:
        os.environ.setdefault("SPLAT_DASHBOARD_URL", f"http://127.0.0.1:{dash_port}")
    os.environ[AUTOMATION] = "on" if automation else "off"
    os.environ.setdefault("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", str(_SENSOR_SECONDS))
    click.echo(f"data: {display_location(root.path)}   DAGSTER_HOME: {home}", err=True)
    # From its home, Dagster does not wonder about the project's own dagster.yaml; `dg dev`, which it recommends instead, would
    # need another package and reads no workspace.yaml.
    os.chdir(home)
    python = [sys.executable, "-W", "ignore:Function `dev_command`", "-m"]
    services = [[*python, "dagster", "dev", "-m", "splat_assets.definitions", "-h", "127.0.0.1", "-p", str(port)]]
    if dash_port is not None:
        ours = ["splat_assets.cli", "dash", "--wait", "--port", str(dash_port)]
        services.append([*python, *ours, "--dagster-url", f"http://127.0.0.1:{port}"])
    return services
