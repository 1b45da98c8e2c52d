"""`splat up`: the Dagster UI and daemon on this machine."""

import os
import sys

import click

from splat_assets.store.layout import DataRoot


@click.command()
@click.option("--port", default=3000, show_default=True, help="Port of the Dagster UI on 127.0.0.1.")
def up(port: int) -> None:
    """Start the Dagster UI and its daemon on 127.0.0.1, with an absolute DAGSTER_HOME under the data root.

    Stop it with Ctrl-C. Anyone who reaches the port can start work with it, so it is never bound to another address.
    """
    from splat_assets.orchestrate import PROJECT, prepare_home

    root = DataRoot.from_environment().checked_writable()
    home = prepare_home(root)
    os.environ["SPLAT_DATA"] = str(root.path)
    click.echo(f"Dagster UI: http://127.0.0.1:{port}   data: {root.path}   DAGSTER_HOME: {home}", err=True)
    # From its home, Dagster does not wonder about the project's own dagster.yaml; `dg dev`, which it recommends instead, would
    # need another package and reads no workspace.yaml.
    os.chdir(home)
    command = ["dagster", "dev", "-w", str(PROJECT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    os.execv(sys.executable, [sys.executable, "-W", "ignore:Function `dev_command`", "-m", *command])
