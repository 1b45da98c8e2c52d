"""`splat train-sae`: the guide's step 1."""

from pathlib import Path
from typing import Any

import click

from splat_assets.commands.inputs import (
    FOLDER,
    device_option,
    model_options,
    open_model,
    progress_here,
    sae_options,
    take_hook,
    take_recipe,
    warn_of_few_steps,
    warn_of_other_builds,
    writable_folder,
)
from splat_assets.commands.report import scorecard_view
from splat_assets.data.splits import split_builds
from splat_assets.errors import InputError
from splat_assets.model.device import usable_device
from splat_assets.runs import ActivationsRecipe, SplitRecipe
from splat_assets.store.scorecard import SCORECARD
from splat_assets.store.sums import as_recorded
from splat_assets.text.terminal import console
from splat_assets.text.wording import counted


@click.command("train-sae")
@model_options
@click.option("--save-dir", type=FOLDER, required=True, help="Folder for the SAE, its metrics and its training state.")
@sae_options
@device_option
@click.option("--restart", is_flag=True, help="Start over instead of resuming an interrupted training.")
def train_sae(
    model_checkpoint: Path,
    data_csv: Path,
    vocab_path: Path | None,
    weapon_vocab_path: Path | None,
    save_dir: Path,
    masked_variants: int,
    split_seed: int,
    batch_size: int,
    device: str,
    restart: bool,
    **options: Any,
) -> None:
    """Train a sparse autoencoder on the base model's activations for every build.

    Writes cfg.json and sae_weights.safetensors (SAELens' layout), sae_model_final.pth, metrics.parquet and
    scorecard.json.
    After an interruption, the next call resumes.
    """
    from splat_assets.compute.fit import SampleSplits, fit_sae
    from splat_assets.compute.harvest import TRAINED_ON, harvest
    from splat_assets.compute.items import make_items
    from splat_assets.compute.shards import ShardRunner
    from splat_assets.model.hooks import MASKED_MEAN, HookPoint
    from splat_assets.store.files import locked

    recipe, hook = take_recipe(options), take_hook(options) or HookPoint(MASKED_MEAN)
    settings = ActivationsRecipe(masked_variants, recipe.seed, batch_size=batch_size)
    split = SplitRecipe(seed=split_seed)
    usable_device(device)
    opened = open_model(model_checkpoint, vocab_path, weapon_vocab_path)
    hook = hook.in_model(opened.model.dimensions.num_layers)
    recipe.checked_for(opened.model.hook_width(hook.target, hook.ff_module_index))
    _refuse_anothers_sae(writable_folder(save_dir))
    with as_recorded(data_csv):
        builds = split_builds(opened.read_builds(data_csv), split.seed, split.validation, split.test)
    warn_of_other_builds(opened.model_files.checkpoint, builds)
    items = make_items(builds, opened.vocabulary, opened.contexts, settings.masked_variants, settings.seed)
    warn_of_few_steps(recipe, SampleSplits.of(items, hook.per_token).train.size)
    progress, cache = progress_here(), save_dir / TRAINED_ON
    with locked(save_dir / ".lock"):
        base = harvest(
            cache, items, opened.model_files, hook, settings.shard_items, settings.batch_size,
            ShardRunner(device=device), progress,
        )  # fmt: skip
        card = fit_sae(items, base, recipe, hook, opened.model, save_dir, progress, resume=not restart, device=device)
    console().print(scorecard_view(save_dir / SCORECARD))
    if card["training"]["dead_percent"] == 100:
        click.echo("warning: all features are dead: try a lower --lr or fewer features (--d-sae)", err=True)
    elif not card["training"]["decoder_trained"]:
        click.echo(
            "warning: the decoder hardly moved from its random initialisation: try more --epochs or a higher --lr",
            err=True,
        )
    click.echo(f"SAE of {counted(card['d_sae'], 'features')}: {save_dir / 'sae_model_final.pth'}", err=True)


def _refuse_anothers_sae(save_dir: Path) -> None:
    """Raise InputError where an SAE that was not trained in this folder would be replaced."""
    there = [
        name for name in ("cfg.json", "sae_weights.safetensors", "sae_model_final.pth") if (save_dir / name).exists()
    ]
    if there and not (save_dir / "training_state").is_dir():
        raise InputError(
            f"{save_dir} holds an SAE that was not trained here ({', '.join(there)}); choose another folder"
        )
