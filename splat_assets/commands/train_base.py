"""`splat train-base`: a base model from tokenised builds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Column

from splat_assets.commands.inputs import FILE, FOLDER, base_options, device_option, progress_here, writable_folder
from splat_assets.model.recipe import BaseTrainingRecipe
from splat_assets.store.sums import as_recorded
from splat_assets.text.numerals import whole
from splat_assets.text.terminal import FittedTable, console

if TYPE_CHECKING:
    from splat_assets.model.prediction import PredictionMetrics


@click.command("train-base")
@click.option("--data-csv", type=FILE, required=True, help="Tokenised builds: tab-separated text, or .parquet.")
@click.option("--vocab-path", type=FILE, required=True, help="vocab.json of these builds.")
@click.option("--weapon-vocab-path", type=FILE, required=True, help="weapon_vocab.json of these builds.")
@click.option(
    "--save-dir", type=FOLDER, required=True, help="Folder for the model: new, empty or of an earlier training."
)
@click.option(
    "--split-seed",
    default=0,
    type=whole(),
    show_default=True,
    help="Seed of the split into train, validation and test; use the same for a run on these builds.",
)
@device_option
@base_options
def train_base(
    data_csv: Path,
    vocab_path: Path,
    weapon_vocab_path: Path,
    save_dir: Path,
    split_seed: int,
    device: str,
    **settings: Any,
) -> None:
    """Train a SplatGPT base model: it learns to predict whole builds from builds with hidden abilities.

    Writes model.pth, model_params.json, training_metrics.json and both vocabularies into the folder when training ends.
    """
    from splat_assets.data.splits import split_builds
    from splat_assets.data.tokenised import read_tokenised
    from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
    from splat_assets.model.train import FILES, train_base_model
    from splat_assets.store.files import replaceable_folder

    recipe = BaseTrainingRecipe(**settings)
    replaceable_folder(writable_folder(save_dir), FILES.__contains__)
    with as_recorded(vocab_path, weapon_vocab_path, data_csv):
        vocabulary, contexts = read_vocabulary(vocab_path), read_contexts(weapon_vocab_path)
        builds = split_builds(read_tokenised(data_csv, vocabulary, contexts), split_seed)
    trained = train_base_model(builds, vocabulary, contexts, recipe, save_dir, progress_here(), device)
    console().print(_table(trained.held_out))
    best = trained.epochs[trained.best_epoch - 1]
    stopped = ", stopped early" if trained.stopped_early else ""
    click.echo(
        f"best validation loss {best.validation_loss:.4f} after epoch {best.epoch} of {len(trained.epochs)}{stopped}: "
        f"{save_dir / 'model.pth'}"
    )


def _table(held_out: "PredictionMetrics") -> FittedTable:
    figures = [Column(name, justify="right") for name in ("cross entropy", "recall", "F1")]
    title = f"{held_out.n_hidden:,} hidden abilities of {held_out.n_builds:,} held-out builds"
    table = FittedTable("predicted by", *figures, title=title, title_justify="left")
    rows = {
        "the model": held_out.model,
        "frequency on the weapon": held_out.weapon_frequency,
        "frequency": held_out.frequency,
    }
    for name, scores in rows.items():
        table.add_row(name, f"{scores.bce:.4f}", f"{scores.recall:.1%}", f"{scores.f1:.3f}")
    return table
