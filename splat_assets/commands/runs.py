"""`splat runs`: the runs, what waits to become one, and what happened last."""

import click
from rich.table import Column, Table

from splat_assets.automation.activity import activity
from splat_assets.automation.arrivals import records_of
from splat_assets.commands.report import console
from splat_assets.commands.run import LAST, run_table
from splat_assets.store.layout import DataRoot


@click.command()
@LAST
def runs(last: int) -> None:
    """The runs, what was brought and became none, and what happened last, newest first.

    What is brought becomes a run while `splat up` runs: base models in saved_models/, ready-made SAEs in saved_saes/, datasets in
    datasets/, each in a folder of its own. `splat run list` is the same.
    """
    print_runs(last)


def print_runs(last: int) -> None:
    """Print the runs under the data root, what waits to become one, and so much of what happened last."""
    root = DataRoot.from_environment()
    out = console()
    table = run_table(root)
    if table.row_count:
        out.print(table)
    else:
        click.echo(f"there are no runs under {root.runs} yet; make one with `splat run new` or `splat demo`", err=True)
    waiting = [(key, record) for key, record in records_of(root).items() if record.state in ("waiting", "refused")]
    if waiting:
        listed = Table(Column("brought", no_wrap=True), "state", Column("why", overflow="fold"))
        for key, record in waiting:
            listed.add_row(key, record.state, record.said)
        out.print(listed)
    happened = activity(root, last)
    if happened:
        lines = Table(Column("at (UTC)", no_wrap=True), "what", "of", Column("said", overflow="fold"))
        for one in happened:
            lines.add_row(one.at[:16].replace("T", " "), one.kind, one.subject, one.said)
        out.print(lines)
