"""`splat up`: the Dagster UI, its daemon and the dashboard on this machine."""

import os
import signal
import subprocess
import sys
from types import FrameType

import click

from splat_assets.store.layout import DataRoot
from splat_assets.store.working_copy import place_of

_PATIENCE_SECONDS = 60
_SENSOR_SECONDS = 900
"""A look at what was brought hashes it and opens it once: minutes for a large dataset."""


@click.command()
@click.option("--port", default=3000, show_default=True, help="Port of the Dagster UI on 127.0.0.1.")
@click.option("--dash-port", default=8050, show_default=True, help="Port of the dashboard on 127.0.0.1.")
@click.option(
    "--dashboard/--no-dashboard", default=True, show_default=True, help="Whether the dashboard is started, too."
)
@click.option("--automation/--no-automation", default=True, show_default=True,
              help="Whether new files become runs, and stores are verified every night.")  # fmt: skip
def up(port: int, dash_port: int, dashboard: bool, automation: bool) -> None:
    """Start the Dagster UI, its daemon and the dashboard on 127.0.0.1, with an absolute DAGSTER_HOME under the data root.

    While it runs, a base model in saved_models/, a ready-made SAE in saved_saes/ or a dataset in datasets/ becomes a run by
    itself, within a minute from when it is whole; automation.toml in the data root says with which recipe. Every night stores are
    verified and old versions go. The dashboard waits until a run is published. Stop all of it with Ctrl-C.

    Anyone who reaches the port of the UI can start work with it, so it is never bound to another address.
    """
    from splat_assets.automation.settings import AUTOMATION
    from splat_assets.orchestrate import PROJECT, prepare_home

    root = DataRoot.from_environment().checked_writable()
    home = prepare_home(root)
    os.environ["SPLAT_DATA"] = str(root.path)
    if dashboard:
        os.environ.setdefault("SPLAT_DASHBOARD_URL", f"http://127.0.0.1:{dash_port}")
    os.environ[AUTOMATION] = "on" if automation else "off"
    os.environ.setdefault("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", str(_SENSOR_SECONDS))
    click.echo(f"Dagster UI: http://127.0.0.1:{port}   data: {place_of(root.path)}   DAGSTER_HOME: {home}", err=True)
    # From its home, Dagster does not wonder about the project's own dagster.yaml; `dg dev`, which it recommends instead, would
    # need another package and reads no workspace.yaml.
    os.chdir(home)
    python = [sys.executable, "-W", "ignore:Function `dev_command`", "-m"]
    command = ["dagster", "dev", "-w", str(PROJECT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    if not dashboard:
        os.execv(sys.executable, [*python, *command])
    beside = [
        "splat_assets.cli",
        "dash",
        "--wait",
        "--port",
        str(dash_port),
        "--dagster-url",
        f"http://127.0.0.1:{port}",
    ]
    sys.exit(_run_together([*python, *command], [*python, *beside]))


def _run_together(main: list[str], beside: list[str]) -> int:
    """Run a process and another one beside it, until the first ends or this one is told to; returns the first one's exit code."""
    # Each in a session of its own: Ctrl-C reaches them once, through this process, and not from the terminal as well.
    running = [subprocess.Popen(command, start_new_session=True) for command in (main, beside)]

    def stop(_: int, __: FrameType | None) -> None:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        return running[0].wait()
    finally:
        if running[1].poll() is None:
            running[1].send_signal(signal.SIGINT)
        try:
            running[1].wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            running[1].kill()
