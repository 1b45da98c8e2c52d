"""`splat materialize`: make the artifacts of a run."""

import sys

import click

from splat_assets.assets import ASSETS, asset_named, sources_of
from splat_assets.assets.asset import Asset, Status, status_of
from splat_assets.assets.expected import refuse_unless_it_fits
from splat_assets.assets.opened import inputs_opened_once
from splat_assets.commands.inputs import progress_here
from splat_assets.commands.report import artifact_table, failed_checks
from splat_assets.errors import SplatError
from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot
from splat_assets.store.sharing import synced_run
from splat_assets.text.progress import watching
from splat_assets.text.terminal import console
from splat_assets.text.wording import counted


class UnfinishedRunError(SplatError):
    """An artifact of a run could not be made; the text says which and why."""


@click.command()
@click.argument("run_name", metavar="RUN")
@click.option(
    "--select",
    metavar="NAMES",
    help="Artifacts to make, separated by commas (`splat run show RUN` lists them); missing inputs are made too. [default: all]",
)
@click.option("--anyway", is_flag=True, help="Start even if the artifacts are not expected to fit on the disk.")
def materialize(run_name: str, select: str | None, anyway: bool) -> None:
    """Make the artifacts of RUN that are not up to date, and check each.

    The disk space needed is estimated first; too little free space is an error. Interrupted work resumes. Everything
    is recorded in Dagster's history, so `splat up` shows it.
    """
    run = open_run(DataRoot.from_environment().checked_writable(), run_name)
    selected = [asset_named(name.strip()) for name in select.split(",")] if select is not None else list(ASSETS)
    out = console()
    with synced_run(run.root, run.name):
        wanted = _with_what_they_need(selected, run)
        if not anyway:
            refuse_unless_it_fits(run, wanted)
        succeeded = make_settled(run, wanted)
    out.print(artifact_table(run))
    for line in failed_checks(run):
        click.echo(line, err=True)
    if not succeeded:
        sys.exit(1)


def _with_what_they_need(selected: list[Asset], run: Run) -> list[Asset]:
    """The selected assets, and all that come before them unless those are settled; in the order in which they are made."""
    sources = {source.name: source for asset in selected for source in sources_of(asset)}
    needed = {asset.name for asset in selected}
    if any(status_of(source, run) is not Status.SETTLED for source in sources.values()):
        needed |= sources.keys()
    return [asset for asset in ASSETS if asset.name in needed]


def make_settled(run: Run, selected: list[Asset]) -> bool:
    """Bring the selected assets up to date through Dagster, unless they already are; returns whether all of it succeeded.

    Raises FingerprintMismatchError when an input of the run is not what it was, even if nothing is to be made;
    UnfinishedRunError when an artifact cannot be made for a known reason; the traceback of any
    other failure is printed.
    """
    with synced_run(run.root, run.name):
        run.config.inputs.refuse_changed()
        if all(status_of(asset, run) is Status.SETTLED for asset in selected):
            click.echo(f"run {run.name}: everything is up to date", err=True)
            return True
        from splat_assets.orchestration.in_process import materialize_run

        with watching(progress_here()), inputs_opened_once():
            made = materialize_run(run, [asset.name for asset in selected])
        for crash in made.crashes:
            click.echo(crash, err=True)
        if made.faults:
            more = (
                f" (and {counted(len(made.faults) - 1, 'more steps')} stopped; `splat up` shows why)"
                if len(made.faults) > 1
                else ""
            )
            raise UnfinishedRunError(f"run {run.name} was not finished: {made.faults[0]}{more}")
        return made.succeeded
