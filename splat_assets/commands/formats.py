"""The guide's steps 3 and 4: the dense exchange formats, from explicit folders."""

from pathlib import Path

import click

from splat_assets.commands.inputs import FOLDER, progress_here, target_apart_from
from splat_assets.text.numerals import whole
from splat_assets.text.wording import counted


@click.command()
@click.option("--input-dir", type=FOLDER, required=True, help="The folder that generate-activations wrote.")
@click.option("--output-dir", type=FOLDER, required=True, help="Folder for activations/, metadata/ and embeddings/.")
@click.option("--batch-size", default=500_000, type=whole(), show_default=True, help="Samples per batch.")
def convert(input_dir: Path, output_dir: Path, batch_size: int) -> None:
    """Write raw activations as dense Zarr batches [samples, features] with Parquet metadata.

    Memory stays within a few blocks whatever the batch size. A second call replaces the tree.
    """
    from splat_assets.store.guide.batches import CONTEXTS, VOCABULARY, recorded_source, write_batches
    from splat_assets.store.origin import carrying_origin
    from splat_assets.store.raw import RawActivations
    from splat_assets.store.vocabulary import Contexts, Vocabulary

    raw = RawActivations(input_dir)
    vocabulary = Vocabulary.load(input_dir / VOCABULARY)
    recorded = input_dir / CONTEXTS
    contexts = Contexts.load(recorded) if recorded.is_file() else None
    embeddings = {name: raw.embeddings(name) for name in raw.embedding_names}
    target = target_apart_from(input_dir, output_dir)
    before = recorded_source(target)
    with carrying_origin(input_dir, target):
        written = write_batches(
            raw, raw.samples(), embeddings, vocabulary, target, batch_size, progress_here(), raw.fingerprint, contexts
        )
    click.echo(
        f"{counted(written.n_samples, 'samples')} x {counted(written.n_features, 'features')} in "
        f"{counted(written.n_batches, 'batches')}: {target}"
    )
    if before != raw.fingerprint and (target / "precomputed").is_dir():
        click.echo(
            f"{target}/precomputed was computed from other activations: run idf, histograms and influences again",
            err=True,
        )


@click.command()
@click.option(
    "--source-dir", type=FOLDER, required=True, help="Activations in any layout: batches, raw shards, a store."
)
@click.option("--target-dir", type=FOLDER, required=True, help="Folder for transposed_activations.zarr.")
def transpose(source_dir: Path, target_dir: Path) -> None:
    """Write one Zarr array [features, samples], a feature a chunk, so that a feature is one read."""
    from splat_assets.store.guide.transposed import write_transposed
    from splat_assets.store.opening import as_reader
    from splat_assets.store.origin import carrying_origin

    progress, target = progress_here(), target_apart_from(source_dir, target_dir)
    with carrying_origin(source_dir, target), as_reader(source_dir, progress=progress) as reader:
        written = write_transposed(reader, target, progress)
    click.echo(
        f"{counted(written.n_features, 'features')} x {counted(written.n_samples, 'samples')}: "
        f"{target}/transposed_activations.zarr"
    )


@click.command("sparse-extract")
@click.option(
    "--source-dir", type=FOLDER, required=True, help="Activations in any layout: batches, raw shards, a store."
)
@click.option("--output-dir", type=FOLDER, required=True, help="Folder for neuron_0000/ and so on.")
def sparse_extract(source_dir: Path, output_dir: Path) -> None:
    """Write the activations above 0 of every feature as acts.npy (float32) and idxs.npy (int64)."""
    from splat_assets.store.guide.neuron_acts import write_neuron_acts
    from splat_assets.store.opening import as_reader
    from splat_assets.store.origin import carrying_origin

    progress, target = progress_here(), target_apart_from(source_dir, output_dir)
    with carrying_origin(source_dir, target), as_reader(source_dir, progress=progress) as reader:
        written = write_neuron_acts(reader, target, progress)
    click.echo(f"{counted(written.n_features, 'features')}, {counted(written.nnz, 'activations')}: {target}")
