"""`splat verify`: every check of a run, now, against the bytes."""

import sys

import click
from rich.table import Table

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import run_check, was_made
from splat_assets.commands.report import console
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot


@click.command()
@click.argument("run_name", metavar="RUN")
def verify(run_name: str) -> None:
    """Run every check of RUN against the bytes on disk; exit code 1 when one fails."""
    run = open_run(DataRoot.from_environment(), run_name)
    table = Table("artifact", "check", "result", "facts")
    n_failed = 0
    for asset in ASSETS:
        if not was_made(asset, run):
            table.add_row(asset.name, "", "not made", "")
            n_failed += 1
            continue
        for check in asset.checks:
            outcome = run_check(asset, check, run)
            n_failed += not outcome.passed
            facts = ", ".join(f"{key} {value}" for key, value in outcome.facts.items())
            table.add_row(asset.name, check.name, "passed" if outcome.passed else "FAILED", facts)
    console().print(table)
    if n_failed:
        click.echo(f"{n_failed} checks of run {run_name} failed", err=True)
        sys.exit(1)
