"""`splat run`: make, list, show and remove runs; `splat runs`: what there is, and recent activity."""

import os
import shutil
from pathlib import Path
from typing import Any

import click
from rich.table import Column

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import status_of
from splat_assets.automation.activity import activity
from splat_assets.automation.arrivals import records_of
from splat_assets.commands.inputs import (
    limit_options,
    model_options,
    picked,
    sae_options,
    say_what_lacks_checksums,
    shard_options,
    take_hook,
    take_recipe,
    try_inputs,
    warn_of_few_steps,
    warn_of_other_builds,
)
from splat_assets.commands.report import artifact_table, failed_checks, scorecard_view, size
from splat_assets.errors import InputError, SplatError
from splat_assets.model.hooks import MASKED_MEAN, HookPoint
from splat_assets.runs import (
    ActivationsRecipe,
    HookRecipe,
    Limits,
    Run,
    RunConfig,
    SplitRecipe,
    StoreRecipe,
    create_run,
    hash_inputs,
    open_run,
)
from splat_assets.sae.recipe import TRAINING_FLAGS
from splat_assets.store.documents import in_words, read_text
from splat_assets.store.errors import NotPublishedError
from splat_assets.store.files import files_below, locked, remove_leftovers, staging_path
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publications import read_publications
from splat_assets.store.published.publishing import current_version, pin_version, remove_old_versions
from splat_assets.store.sharing import pull_inputs, remove_there, synced_run
from splat_assets.text.numerals import whole
from splat_assets.text.terminal import FittedTable, console

LAST = click.option("--last", default=10, show_default=True, type=whole(0), help="Number of recent events to show.")


@click.group()
def run() -> None:
    """Make, list and show runs: one base checkpoint x dataset x SAE recipe x seed each."""


@run.command()
@click.argument("name")
@model_options
@click.option(
    "--sae-checkpoint", type=click.Path(readable=False, path_type=Path), help="Use this SAE instead of training one."
)
@sae_options
@shard_options
@click.option(
    "--profile",
    type=click.Choice(["raw", "compact"]),
    default="raw",
    show_default=True,
    help="raw: fast; compact: small.",
)
@click.option(
    "--batch-rows",
    default=500_000,
    type=whole(),
    show_default=True,
    help="Samples per batch of the guide's batch Zarr.",
)
@limit_options
def new(name: str, **options: Any) -> None:
    """Create run NAME: record its inputs with their sha256, and its recipe. Nothing is computed yet.

    Inputs are opened and checked against each other first; nothing is written if they do not match.
    """
    root = DataRoot.from_environment()
    root.run(name)
    pull_inputs(root)
    if options["sae_checkpoint"] is not None:
        _refuse_training_options(options)
    recipe = take_recipe(options)
    hook = take_hook(options) or HookPoint(MASKED_MEAN)
    config = RunConfig(
        inputs=hash_inputs(
            options["model_checkpoint"],
            options["vocab_path"],
            options["weapon_vocab_path"],
            options["data_csv"],
            options["sae_checkpoint"],
        ),
        sae=recipe,
        split=SplitRecipe(seed=options["split_seed"]),
        hook=HookRecipe(hook.target, hook.layer_index, hook.ff_module_index),
        activations=picked(ActivationsRecipe, options),
        store=picked(StoreRecipe, options),
        limits=picked(Limits, options),
    )
    tried = try_inputs(config)
    made = create_run(root, name, config)
    warn_of_other_builds(Path(config.inputs.model_checkpoint.path), tried.builds)
    if config.inputs.sae_checkpoint is None:
        warn_of_few_steps(config.sae, tried.n_train_samples)
    click.echo(f"run {made.name}: {made.layout.config}")
    say_what_lacks_checksums(config.inputs)
    click.echo(f"next: splat materialize {made.name}")


@run.command("list")
@LAST
def list_(last: int) -> None:
    """The same as `splat runs`: runs, pending inputs and recent activity."""
    print_runs(last)


@run.command()
@click.argument("name")
def show(name: str) -> None:
    """Show run NAME: its recipe, its artifacts, the scorecard of its SAE, and the checks that failed with a remedy each."""
    root = DataRoot.from_environment()
    with synced_run(root, root.run(name).name):
        run, out = open_run(root, name), console()
        out.print(read_text(run.layout.config), markup=False)
        out.print(artifact_table(run))
        if run.layout.scorecard.is_file():
            out.print(scorecard_view(run.layout.scorecard))
        for line in failed_checks(run):
            out.print(line, markup=False)


@run.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete; without it, only show what would be deleted.")
def remove(name: str, yes: bool) -> None:
    """Delete run NAME: its SAE, its activations, its store and every published version of it.

    Inputs, labels, other runs, and base activations, which runs share, stay.
    """
    root = DataRoot.from_environment()
    run = open_run(root, name)
    n_bytes = sum(path.stat().st_size for path in files_below(run.layout.root))
    if not yes:
        raise InputError(f"{run.layout.root} holds {size(n_bytes)}; to delete it, run `splat run remove {name} --yes`")
    if run.layout.root.is_symlink():
        raise InputError(f"{run.layout.root} is a symbolic link to {run.layout.root.resolve()}; remove both by hand")
    remove_leftovers(root.runs)
    remove_there(root, name)
    with locked(run.layout.root / ".lock"):
        doomed = staging_path(run.layout.root)
        os.rename(run.layout.root, doomed)
        shutil.rmtree(doomed)
    click.echo(f"deleted {run.layout.root} ({size(n_bytes)})")


@run.command()
@click.argument("name")
@click.argument("version", required=False)
@click.option("--remove", is_flag=True, help="Unpin it.")
def pin(name: str, version: str | None, remove: bool) -> None:
    """Pin VERSION of run NAME (default: the current one): neither `splat run clean` nor the nightly job deletes it."""
    store = DataRoot.from_environment().run(name).store
    chosen = version or current_version(store)
    pin_version(store, chosen, pinned=not remove)
    click.echo(f"run {name}: version {chosen} is {'no longer ' if remove else ''}pinned")


@run.command()
@click.argument("name")
@click.option(
    "--keep", default=5, show_default=True, type=whole(1), help="Versions to keep, including the current one."
)
def clean(name: str, keep: int) -> None:
    """Delete old versions of run NAME's store, never the current or pinned ones.

    A reader that has a deleted version open can fail on parts that it has not opened yet.
    """
    removed = remove_old_versions(DataRoot.from_environment().run(name).store, keep)
    click.echo(f"run {name}: " + (f"deleted {', '.join(removed)}" if removed else "nothing to delete"))


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
        click.echo(f"{root.runs} holds no runs yet; make one with `splat run new` or `splat demo`", err=True)
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


def _refuse_training_options(options: dict[str, Any]) -> None:
    """Raise InputError when a ready-made SAE comes with options that train one."""
    flags = {param.name: param.opts[0] for param in click.get_current_context().command.params}
    conflicting = [flag for name, flag in flags.items() if flag in TRAINING_FLAGS and options[name or ""] is not None]
    if conflicting:
        raise InputError(
            f"{' and '.join(conflicting)} {'set' if len(conflicting) > 1 else 'sets'} how to train an SAE, but "
            f"--sae-checkpoint names a trained one; pass one or the other"
        )
