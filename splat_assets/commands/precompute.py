"""The guide's step 5: histograms, IDF, influences and examples, from explicit folders and files."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from splat_assets.analysis.examples import EXAMPLES_SEED
from splat_assets.commands.inputs import (
    FILE,
    FOLDER,
    checkpoint_options,
    open_model,
    open_sae,
    progress_here,
    sae_checkpoint_option,
    writable_folder,
)
from splat_assets.errors import InputError
from splat_assets.text.numerals import whole
from splat_assets.text.wording import counted

_TABLE = click.Path(readable=False, path_type=Path, dir_okay=False)


@click.command()
@click.option("--data-dir", type=FOLDER, required=True, help="Activations in any layout: batches, raw shards, a store.")
@click.option("--output-dir", type=FOLDER, required=True, help="Folder for histograms.parquet and features.parquet.")
@click.option(
    "--method",
    type=click.Choice(["vectorized", "standard"]),
    default="vectorized",
    show_default=True,
    help="Accepted for compatibility with the guide; both give the same exact counts.",
)
@click.option(
    "--n-bins", default=100, type=whole(), show_default=True, help="Bins per feature, from 0 to its largest value."
)
@click.option(
    "--compat-pickle", is_flag=True, help="Also write histograms.pkl and feature_stats.pkl, of built-in types only."
)
def histograms(data_dir: Path, output_dir: Path, method: str, n_bins: int, compat_pickle: bool) -> None:
    """Count every feature's histogram and compute its statistics, over active samples and over all."""
    from splat_assets.analysis.histogram import bin_edges
    from splat_assets.compute.histograms import write_histograms
    from splat_assets.store.guide.precomputed import write_guide_pickles
    from splat_assets.store.opening import as_reader

    progress, target = progress_here(), writable_folder(output_dir)
    tables = (target / "histograms.parquet", target / "features.parquet")
    with as_reader(data_dir, progress=progress) as reader:
        written = write_histograms(reader, *tables, n_bins, progress=progress)
    click.echo(
        f"{counted(written.n_features, 'features')} ({written.n_dead:,} never fire), "
        f"{counted(written.n_values, 'values')}: {target}"
    )
    if compat_pickle:
        for file in write_guide_pickles(*tables, target, bin_edges):
            click.echo(str(file))


@click.command()
@click.option("--data-dir", type=FOLDER, required=True, help="Activations in any layout: batches, raw shards, a store.")
@click.option(
    "--output-dir", type=FOLDER, required=True, help="Folder for examples.parquet: what --examples-dir names."
)
@click.option(
    "--n-top", default=20, type=whole(), show_default=True, help="Samples with the largest activations, per feature."
)
@click.option("--n-per-band", default=10, type=whole(), show_default=True, help="Random samples per activation band.")
@click.option(
    "--n-random",
    default=10,
    type=whole(),
    show_default=True,
    help="Random active samples, and as many inactive ones.",
)
@click.option("--seed", default=EXAMPLES_SEED, type=whole(), show_default=True, help="Seed of the random samples.")
def examples(data_dir: Path, output_dir: Path, n_top: int, n_per_band: int, n_random: int, seed: int) -> None:
    """Choose example builds of every feature: the strongest, some of each band, random ones with and without it."""
    from splat_assets.compute.examples import write_examples
    from splat_assets.store.opening import as_reader

    progress, target = progress_here(), writable_folder(output_dir)
    with as_reader(data_dir, progress=progress) as reader:
        written = write_examples(reader, target / "examples.parquet", n_top, n_per_band, n_random, seed, progress)
    click.echo(
        f"{counted(written.n_examples, 'examples')} of {counted(written.n_features_with_top, 'features')}: {target}"
    )


@click.command()
@click.option(
    "--data-dir", type=FOLDER, required=True, help="A folder with sample metadata: batches, raw shards, a store."
)
@click.option("--output-path", type=_TABLE, required=True, help="File to write, idf.parquet; idf.json goes beside it.")
@click.option("--vocab-path", type=FILE, help="vocab.json. [default: the vocabulary recorded in the data]")
def idf(data_dir: Path, output_path: Path, vocab_path: Path | None) -> None:
    """Count the samples that contain each token, and write ln(N + 1) - ln(n + 1) for each."""
    from splat_assets.compute.idf import write_idf
    from splat_assets.domain.vocabulary import read_vocabulary
    from splat_assets.store.guide.precomputed import write_guide_idf
    from splat_assets.store.opening import samples_and_vocabulary

    _writable_table(output_path, ".parquet")
    samples, recorded = samples_and_vocabulary(data_dir)
    vocabulary = read_vocabulary(vocab_path) if vocab_path else recorded
    if vocabulary is None:
        raise InputError(f"{data_dir} does not record the vocabulary of its tokens; pass --vocab-path")
    with tempfile.TemporaryDirectory() as scratch:
        written = write_idf(samples, vocabulary, Path(scratch) / "idf.parquet")
        write_guide_idf(Path(scratch) / "idf.parquet", output_path)
    click.echo(
        f"{counted(written.n_tokens, 'tokens')} over {counted(written.n_documents, 'samples')}, "
        f"{written.n_unseen} never seen: {output_path}"
    )


@click.command()
@checkpoint_options
@sae_checkpoint_option
@click.option("--output-path", type=_TABLE, required=True, help="File for the guide's wide table: .parquet or .csv.")
@click.option("--top-k", default=30, type=whole(), show_default=True, help="Output tokens per sign and feature.")
@click.option(
    "--idf",
    "idf_path",
    type=FILE,
    help="Output of `splat idf`; outputs that never occur come last.  [default: idf.parquet beside --output-path]",
)
def influences(
    model_checkpoint: Path,
    vocab_path: Path | None,
    weapon_vocab_path: Path | None,
    sae_checkpoint: Path,
    output_path: Path,
    top_k: int,
    idf_path: Path | None,
) -> None:
    """Multiply the output layer with the decoder: the effect of each feature on each output token.

    The strongest tokens of each sign are kept.
    """
    from splat_assets.analysis.influence import influenced_tokens
    from splat_assets.compute.influences import read_influences, wide_influences, write_influences
    from splat_assets.compute.provenance import hook_for, refuse_other_model
    from splat_assets.store.guide.precomputed import write_guide_influences

    _writable_table(output_path, ".parquet", ".csv")
    opened = open_model(model_checkpoint, vocab_path, weapon_vocab_path)
    n_tokens = len(influenced_tokens(opened.vocabulary))
    if not 1 <= top_k <= n_tokens:
        raise InputError(
            f"--top-k must be between 1 and the {counted(n_tokens, 'tokens')} that features can influence, not {top_k}"
        )
    sae = open_sae(sae_checkpoint)
    hook = hook_for(sae, None, opened.model.dimensions.num_layers)
    refuse_other_model(sae, sae_checkpoint, opened.model, hook)
    if hook.per_token:
        raise InputError(
            f"{sae_checkpoint} was trained at {hook.target}, which does not feed the output layer directly"
        )
    with tempfile.TemporaryDirectory() as scratch:
        canonical = Path(scratch) / "influences.parquet"
        weights = opened.model.output_weight.detach().numpy()
        written = write_influences(weights, sae.W_dec.numpy(), opened.vocabulary, canonical, progress_here())
        names = read_influences(canonical).token_names
        unseen = _unseen_outputs(idf_path, output_path.with_name("idf.parquet"), names)
        write_guide_influences(wide_influences(canonical, top_k, unseen=unseen or ()), output_path, unseen)
    order = "" if unseen is None else f"; {counted(len(unseen), 'outputs')} that never occur in the data come last"
    click.echo(
        f"{counted(written.n_features, 'features')} x {counted(written.n_tokens, 'tokens')}, top {top_k} of "
        f"each sign{order}: {output_path}"
    )


def _unseen_outputs(idf_path: Path | None, beside: Path, names: Sequence[str]) -> list[str] | None:
    """The output names that never occur in the data; None without an idf table."""
    from splat_assets.store.guide.precomputed import unseen_tokens

    if idf_path is None and not beside.is_file():
        return None
    unseen = set(unseen_tokens(idf_path or beside))
    return [name for name in names if name in unseen]


def _writable_table(path: Path, *suffixes: str) -> None:
    """Raise InputError unless the table can be written there, in the format that its name says."""
    if path.suffix not in suffixes:
        raise InputError(
            f"{path} must be named {' or '.join(f'*{suffix}' for suffix in suffixes)}: the suffix sets the format"
        )
    writable_folder(path.parent)
