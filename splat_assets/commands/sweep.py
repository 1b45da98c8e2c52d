"""`splat sweep`: SAEs of several widths, k and seeds on the same activations, side by side."""

import sys

import click

from splat_assets.assets import ASSETS, asset_named, sources_of
from splat_assets.commands.materialize import make_settled
from splat_assets.errors import InputError
from splat_assets.runs import RunConfig, open_run
from splat_assets.store.layout import DataRoot
from splat_assets.store.tables import read_table
from splat_assets.text.numerals import is_whole, whole
from splat_assets.text.terminal import FittedTable, console
from splat_assets.text.wording import agreeing, counted

_COLUMNS = ("width", "k", "seed", "FVU", "L0", "fidelity", "dead %", "dense %", "stability", "front")


@click.command()
@click.option(
    "--like",
    metavar="RUN",
    help="Run to copy inputs and recipe from; only the swept settings differ.  [default: the only one]",
)
@click.option("--name", help="Name of the sweep.  [default: RUN-sweep]")
@click.option("--k", "ks", default="", help="Active features per row, separated by commas.  [default: that of RUN]")
@click.option("--widths", default="", help="Numbers of features, separated by commas.  [default: that of RUN]")
@click.option(
    "--seeds", default=1, show_default=True, type=whole(1), help="Number of seeds per setting, starting with RUN's."
)
@click.option("--whole", is_flag=True, help="Make every artifact of each run, not its SAE alone.")
@click.option(
    "--freeze", is_flag=True, help="Only create the runs, to be made by `splat materialize` or in the Dagster UI."
)
@click.option("--show", "only_show", is_flag=True, help="Only compare the SAEs trained so far.")
def sweep(
    like: str | None, name: str | None, ks: str, widths: str, seeds: int, whole: bool, freeze: bool, only_show: bool
) -> None:
    """Train an SAE for each combination of --widths, --k and seed, and compare them.

    The runs, called NAME-w2048-k16-s0 and so on, share their base activations, which are computed once. After an
    interruption, the next call resumes. `--name NAME` alone resumes a sweep; with `--show` it only compares.
    Compared are FVU and L0 (with their Pareto front), fidelity, dead and dense features, and how similar the
    directions of other seeds are (mean max cosine similarity). A plot is drawn too.
    """
    from splat_assets.sweeps import create_sweep, open_sweep

    root = DataRoot.from_environment().checked_writable()
    if like is None and not (ks or widths or seeds > 1):
        if name is None:
            raise InputError("nothing to sweep: pass --k, --widths or --seeds; --name NAME alone resumes a sweep")
        opened = open_sweep(root, name)
    else:
        like = like or _only_run(root)
        config = open_run(root, like).config
        first = config.sae.seed
        chosen = _numbers("--k", ks) or [config.sae.k], _numbers("--widths", widths) or [_width(like, config)]
        opened = create_sweep(root, name or f"{like}-sweep", config, *chosen, range(first, first + seeds))
        click.echo(
            f"sweep {opened.name}: {counted(len(opened.runs), 'runs')}, {opened.runs[0]} to {opened.runs[-1]}", err=True
        )
    if freeze:
        return
    failed = [] if only_show else _trained(root, opened.runs, whole)
    _show(root, opened.name)
    for one in failed:
        click.echo(f"run {one} was not finished or failed a check: `splat run show {one}`", err=True)
    if failed:
        sys.exit(1)


def _trained(root: DataRoot, runs: tuple[str, ...], whole: bool) -> list[str]:
    """Train the SAEs that are missing; returns the runs that were not finished or failed a check."""
    sae = asset_named("sae_checkpoint")
    selected = list(ASSETS) if whole else [*sources_of(sae), sae]
    failed = []
    for at, name in enumerate(runs, start=1):
        click.echo(f"run {at} of {len(runs)}: {name}", err=True)
        if not make_settled(open_run(root, name), selected):
            failed.append(name)
    return failed


def _show(root: DataRoot, name: str) -> None:
    from splat_assets.orchestration.in_process import materialize_sweep
    from splat_assets.sweeps import open_sweep

    opened = open_sweep(root, name)
    made = materialize_sweep(opened)
    if made.faults or made.crashes:
        raise InputError((made.faults or made.crashes)[0].removeprefix("sweep_comparison: "))
    frame = read_table(opened.folder / "comparison.parquet")
    table = FittedTable("run", *_COLUMNS, hide=("dense %", "seed", "stability", "dead %", "front", "k", "width"))
    for row in frame.iter_rows(named=True):
        stability = "—" if row["stability"] is None else f"{row['stability']:.3f}"
        figures = (f"{row['fvu']:.4f}", f"{row['l0_mean']:.1f}", f"{row['fidelity']:.4f}", f"{row['dead_percent']:.2f}",
                   f"{row['dense_percent']:.2f}", stability)  # fmt: skip
        recipe = (str(row[part]) for part in ("width", "k", "seed"))
        table.add_row(row["run"], *recipe, *figures, "*" if row["on_front"] else "")
    console().print(table)
    n_missing = len(opened.runs) - frame.height
    if n_missing:
        click.echo(
            f"{n_missing} of {counted(len(opened.runs), 'runs')} {agreeing(n_missing, 'have')} no SAE yet", err=True
        )
    click.echo(f"{opened.folder / 'comparison.parquet'}, {opened.folder / 'pareto.png'}")


def _only_run(root: DataRoot) -> str:
    """The one run that belongs to no sweep; InputError where there are none or several."""
    from splat_assets.sweeps import open_sweep, sweep_names

    of_sweeps = {run for name in sweep_names(root) for run in open_sweep(root, name).runs}
    there = [name for name in root.run_names() if name not in of_sweeps]
    if len(there) != 1:
        raise InputError(
            f"pass --like RUN, the run to copy inputs and recipe from: there are {', '.join(there) or 'no runs'}"
        )
    click.echo(f"like {there[0]}, the only run", err=True)
    return there[0]


def _width(like: str, config: RunConfig) -> int:
    if config.sae.d_sae is None:
        raise InputError(f"run {like} sets its width by --expansion-factor: pass --widths")
    return config.sae.d_sae


def _numbers(option: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(map(is_whole, parts)):
        raise InputError(f"{option} is {text!r}: whole numbers, separated by commas")
    numbers = [int(part) for part in parts]
    if len(set(numbers)) != len(numbers):
        raise InputError(f"{option} is {text!r}: each number once")
    return numbers
