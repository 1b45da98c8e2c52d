"""`splat ingest`: battle exports in, tokenised builds and an account of every gear set out."""

from pathlib import Path

import click
from rich.table import Table

from splat_assets.commands.inputs import progress_here, writable_folder
from splat_assets.commands.report import console
from splat_assets.data.statink import PLAYERS, IngestReport, ingest_statink


@click.group()
def ingest() -> None:
    """Turn battle exports into tokenised builds."""


@ingest.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder to write; new, empty or of an earlier ingest."
)
@click.option(
    "--min-ap", default=0, show_default=True, help="Leave out gear sets with less AP; 57 keeps full builds only."
)
def statink(files: tuple[Path, ...], out: Path, min_ap: int) -> None:
    """Read stat.ink battle FILES (.csv or .csv.gz) into OUT: tokenised builds, both vocabularies, and a report.

    Every gear set is accounted for in OUT/ingest_report.json. More than 57 AP is kept only where ability_doubler explains it.
    """
    report = ingest_statink(files, writable_folder(out), min_ap=min_ap, progress=progress_here())
    console().print(_table(report))
    click.echo(f"{report.n_kept:,} builds ({report.n_distinct:,} distinct) on {report.n_weapons} weapons in {out}")
    for key, n in sorted(report.unknown_weapons.items()):
        click.echo(f"unknown weapon {key!r}: {n:,} gear sets", err=True)
    for problem in report.problems:
        click.echo(problem, err=True)


def _table(report: IngestReport) -> Table:
    n_sets = len(PLAYERS) * report.n_battles
    table = Table(title=f"{n_sets:,} gear sets of {report.n_battles:,} battles in {len(report.files)} files")
    table.add_column("what became of them")
    table.add_column("gear sets", justify="right")
    table.add_column("because")
    for fate, n in report.fates.items():
        table.add_row(fate, f"{n:,}", fate.meaning)
    table.add_row("sum", f"{sum(report.fates.values()):,}", "")
    return table
