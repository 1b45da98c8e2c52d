"""`splat runs`: runs, pending inputs and recent activity."""

import click
from rich.table import Column

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import status_of
from splat_assets.automation.activity import activity
from splat_assets.automation.arrivals import records_of
from splat_assets.errors import SplatError
from splat_assets.numerals import whole
from splat_assets.runs import Run, open_run
from splat_assets.store.documents import in_words
from splat_assets.store.errors import NotPublishedError
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publications import read_publications
from splat_assets.store.published.publishing import current_version
from splat_assets.terminal import FittedTable, console

LAST = click.option("--last", default=10, show_default=True, type=whole(0), help="Number of recent events to show.")


@click.command()
@LAST
def runs(last: int) -> None:
    """List runs, pending inputs and recent activity, newest first.

    While `splat up` runs, new inputs become runs: base models in saved_models/, ready-made SAEs in saved_saes/, datasets
    in datasets/, each in its own folder. `splat run list` is the same.
    """
    print_runs(last)


def print_runs(last: int) -> None:
    """Print the runs under the data root, pending inputs, and the most recent events."""
    root = DataRoot.from_environment()
    out = console()
    table = run_table(root)
    if table.row_count:
        out.print(table)
    else:
        click.echo(f"there are no runs under {root.runs} yet; make one with `splat run new` or `splat demo`", err=True)
    waiting = [(key, record) for key, record in records_of(root).items() if record.state in ("waiting", "refused")]
    if waiting:
        pending = FittedTable(Column("input", no_wrap=True), "state", "reason", hide=("state",))
        for key, record in waiting:
            pending.add_row(key, record.state, record.said)
        out.print(pending)
    happened = activity(root, last)
    if happened:
        lines = FittedTable(Column("at (UTC)", no_wrap=True), "event", "subject", "message", hide=("event",))
        for one in happened:
            lines.add_row(one.at[:16].replace("T", " "), one.kind, one.subject, one.said)
        out.print(lines)


def run_table(root: DataRoot) -> FittedTable:
    """A row per run; runs that cannot be read are reported on standard error."""
    table = FittedTable(
        "run", "SAE", "artifacts up to date", "store", "published (UTC)", hide=("SAE", "published (UTC)")
    )
    for name in root.run_names():
        try:
            table.add_row(*_row(open_run(root, name)))
        except (SplatError, OSError) as error:
            table.add_row(name, "", "cannot be read", "", "")
            click.echo(f"run {name}: {in_words(error)}", err=True)
    return table


def _row(run: Run) -> tuple[str, ...]:
    """One line about a run: its SAE, its progress, its published version, and since when."""
    n_current = sum(status_of(asset, run).is_up_to_date for asset in ASSETS)
    try:
        version = current_version(run.layout.store)
    except NotPublishedError:
        version = "not published"
    publication = read_publications(run.layout.store).get(version)
    at = publication.at.strftime("%Y-%m-%d %H:%M") if publication and publication.at else ""
    sae = "ready-made" if run.config.inputs.sae_checkpoint else run.config.sae.architecture
    return run.name, sae, f"{n_current} of {len(ASSETS)}", version, at
