"""`splat import`: a store from a folder somebody already has, without running a model."""

from pathlib import Path

import click

from splat_assets.commands.inputs import FILE, FOLDER, progress_here, writable_folder


@click.command("import")
@click.argument("folder", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Where raw_activations/ and store/ go.")
@click.option("--metadata", type=FILE, help="Sample tables: a file, a folder of batch_*.parquet, or a batch tree.")
@click.option(
    "--vocab-path", type=FILE, help="vocab.json of the base model: checks tokens, finds null rows, allows IDF."
)
@click.option("--weapon-vocab-path", type=FILE, help="weapon_vocab.json of the base model: names the weapons.")
@click.option(
    "--n-features", type=click.IntRange(1), help="neuron_acts: how many features there are, dead ones included."
)
@click.option(
    "--n-samples", type=click.IntRange(1), help="neuron_acts: how many samples there are, silent ones included."
)
@click.option("--missing-chunks-are-zero", is_flag=True, help="Take chunk files that are not on disk as zeros.")
@click.option("--allow-pickle", is_flag=True, help="Load joblib files. They are pickles: loading one runs its code.")
@click.option(
    "--profile", type=click.Choice(["raw", "compact"]), default="raw", show_default=True, help="Fast or small."
)
def import_(
    folder: Path,
    out: Path,
    metadata: Path | None,
    vocab_path: Path | None,
    weapon_vocab_path: Path | None,
    n_features: int | None,
    n_samples: int | None,
    missing_chunks_are_zero: bool,
    allow_pickle: bool,
    profile: str,
) -> None:
    """Turn FOLDER (a batch tree, a transposed array or neuron_acts) into a store, and say what in it was wrong."""
    from splat_assets.compute.imported_store import import_store
    from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
    from splat_assets.store.import_sources import ImportOptions

    options = ImportOptions(
        metadata=metadata,
        vocabulary=read_vocabulary(vocab_path) if vocab_path else None,
        contexts=read_contexts(weapon_vocab_path) if weapon_vocab_path else None,
        n_features=n_features,
        n_samples=n_samples,
        missing_chunks_are_zero=missing_chunks_are_zero,
        allow_pickle=allow_pickle,
    )
    imported = import_store(folder, writable_folder(out), options, profile, progress_here())
    for line in imported.report.lines():
        click.echo(line)
    click.echo(f"version {imported.version}: {imported.store}")
