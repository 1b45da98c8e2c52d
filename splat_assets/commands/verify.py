"""`splat verify`: every check of a run, now, against the bytes."""

import sys

import click
from rich.table import Column

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import run_check, shown_facts, was_made
from splat_assets.assets.opened import inputs_opened_once
from splat_assets.commands.inputs import progress_here
from splat_assets.commands.report import LEAN
from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot
from splat_assets.store.sharing import synced_run
from splat_assets.text.terminal import FittedTable, console
from splat_assets.text.wording import counted


@click.command()
@click.argument("run_name", metavar="RUN")
def verify(run_name: str) -> None:
    """Run every check of RUN against the bytes on disk; exit code 1 when one fails or an artifact is not made."""
    root = DataRoot.from_environment()
    with synced_run(root, root.run(run_name).name), inputs_opened_once():
        _verify(open_run(root, run_name))


def _verify(run: Run) -> None:
    # An artifact has a line of its own: beside the names of its checks there would be no room for facts in 80 columns.
    table = FittedTable(Column("artifact and check", no_wrap=True), "result", "facts", hide=(), **LEAN)
    failed = []
    not_made = [asset.name for asset in ASSETS if not was_made(asset, run)]
    n_checks = sum(len(asset.checks) for asset in ASSETS if asset.name not in not_made)
    progress = progress_here()
    with progress.task("verify", n_checks, "checks") as task:
        for asset in ASSETS:
            table.add_section()
            table.add_row(asset.name, "not made" if asset.name in not_made else "", "")
            for check in asset.checks if asset.name not in not_made else ():
                task.advance(0, check.name)
                with progress.step(f"checking {asset.name}: {check.name}"):
                    outcome = run_check(asset, check, run)
                task.advance(1)
                table.add_row(f"  {check.name}", "passed" if outcome.passed else "FAILED", shown_facts(outcome.facts))
                if not outcome.passed:
                    failed.append(f"{asset.name}: {check.name}")
    console().print(table)
    if failed:
        click.echo(f"{counted(len(failed), 'checks')} of run {run.name} failed: {', '.join(failed)}", err=True)
    if not_made:
        there = f"not made yet: {', '.join(not_made)}; splat materialize {run.name}"
        click.echo(f"{counted(len(not_made), 'artifacts')} of run {run.name} {there}", err=True)
    if failed or not_made:
        sys.exit(1)
