"""`splat import`: a store, or a run, from an existing folder of activations, without running a model again."""

from pathlib import Path
from typing import Any

import click

from splat_assets.commands.inputs import FILE, FOLDER, limit_options, picked, progress_here, writable_folder
from splat_assets.errors import InputError
from splat_assets.text.numerals import whole
from splat_assets.text.wording import counted


@click.command("import")
@click.argument("folder", type=FOLDER)
@click.option("--out", type=FOLDER, help="Make a store: folder for raw_activations/ and store/.")
@click.option("--run", "run_name", metavar="NAME", help="Make a run of the data root called NAME.")
@click.option(
    "--model-checkpoint", type=FILE, help="--run: the base model, if FOLDER does not record it or it was moved."
)
@click.option("--sae-checkpoint", type=FILE, help="--run: the SAE, if FOLDER does not record it or it was moved.")
@click.option(
    "--data-csv", type=FILE, help="--run: the dataset. [default: the recorded one, else one made of the folder's rows]"
)
@click.option("--metadata", type=FILE, help="Sample tables: a file, a folder of batch_*.parquet, or a batch tree.")
@click.option(
    "--vocab-path", type=FILE, help="vocab.json of the base model: checks tokens, finds null rows, allows IDF."
)
@click.option("--weapon-vocab-path", type=FILE, help="weapon_vocab.json of the base model: names the weapons.")
@click.option("--n-features", type=whole(1), help="neuron_acts: number of features, including dead ones.")
@click.option("--n-samples", type=whole(1), help="neuron_acts: number of samples, including those without activations.")
@click.option("--missing-chunks-are-zero", is_flag=True, help="Read missing chunk files as zeros.")
@click.option("--allow-pickle", is_flag=True, help="Load joblib files. They are pickles: loading one runs its code.")
@click.option(
    "--profile", type=click.Choice(["raw", "compact"]), default="raw", show_default=True, help="--out: fast or small."
)
@limit_options
def import_(folder: Path, out: Path | None, run_name: str | None, profile: str, **options: Any) -> None:
    """Turn FOLDER (a batch tree, a transposed array or neuron_acts) into a store or a run, and report its defects.

    \b
      splat import activations_efficient --run full  then: splat materialize full
      splat import activations_efficient --out DIR   a store without labels

    A run has labels, causal experiments, neighbours, a map and checks. Its activations are those of FOLDER, not
    recomputed; model, SAE and data come from its origin.json or from the options.
    """
    from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
    from splat_assets.store.importing.sources import ImportOptions

    if (out is None) == (run_name is None):
        raise InputError("choose what to make of the folder: --run NAME (a run) or --out DIR (a store by itself)")
    vocab, weapon_vocab = options["vocab_path"], options["weapon_vocab_path"]
    read = {
        "vocabulary": read_vocabulary(vocab) if vocab else None,
        "contexts": read_contexts(weapon_vocab) if weapon_vocab else None,
    }
    reading = picked(ImportOptions, options, **read)
    files = {name: options[name] for name in ("model_checkpoint", "sae_checkpoint")} | {"data": options["data_csv"]}
    if run_name is not None:
        from splat_assets.assets.imported_run import import_run
        from splat_assets.runs import Limits
        from splat_assets.store.layout import DataRoot

        files |= {"vocab": vocab, "weapon_vocab": weapon_vocab}
        made = import_run(
            DataRoot.from_environment(),
            run_name,
            folder,
            {name: path for name, path in files.items() if path is not None},
            reading,
            picked(Limits, options),
            progress_here(),
        )
        for line in made.report.lines():
            click.echo(line)
        computed = f", {made.n_computed:,} of them computed because {folder} lacks them" if made.n_computed else ""
        click.echo(f"run {run_name}: {counted(made.n_samples, 'samples')}{computed}: {made.run.layout.config}")
        click.echo(f"next: splat materialize {run_name}")
        return
    from splat_assets.compute.imported_store import import_store

    needless = [f"--{name.replace('_', '-')}" for name, path in files.items() if path is not None]
    if needless or out is None:
        raise InputError(f"{', '.join(needless)}: a store by itself needs no model; use --run NAME to make a run")
    imported = import_store(folder, writable_folder(out), reading, profile, progress_here())
    for line in imported.report.lines():
        click.echo(line)
    click.echo(f"version {imported.version}: {imported.store}")
