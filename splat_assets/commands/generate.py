"""`splat generate-activations`: the guide's step 2."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from splat_assets.commands.inputs import (
    FOLDER,
    device_option,
    model_options,
    open_model,
    open_sae,
    progress_here,
    sae_checkpoint_option,
    shard_options,
    take_hook,
    writable_folder,
)
from splat_assets.compute.shards import ShardRunner
from splat_assets.data.splits import split_builds
from splat_assets.errors import InputError
from splat_assets.model.device import usable_device
from splat_assets.runs import ActivationsRecipe, SplitRecipe, hash_inputs
from splat_assets.store.errors import StoreError
from splat_assets.store.sums import as_recorded
from splat_assets.text.numerals import whole
from splat_assets.text.wording import counted

_CACHE = ".base_activations"


@click.command("generate-activations")
@model_options
@sae_checkpoint_option
@click.option("--output-dir", type=FOLDER, required=True, help="Folder for the shards.")
@click.option("--seed", default=0, type=whole(), show_default=True, help="Seed of the masking.")
@shard_options
@click.option(
    "--backend", type=click.Choice(["local", "process"]), default="local", show_default=True, help="How shards run."
)
@click.option(
    "--workers", default=0, type=whole(), help="Number of processes of the backend `process`. [default: one per core]"
)
@device_option
def generate_activations(
    model_checkpoint: Path,
    data_csv: Path,
    vocab_path: Path | None,
    weapon_vocab_path: Path | None,
    sae_checkpoint: Path,
    output_dir: Path,
    batch_size: int,
    masked_variants: int,
    seed: int,
    split_seed: int,
    shard_items: int,
    embeddings: bool,
    backend: Any,
    workers: int,
    device: str,
    **options: Any,
) -> None:
    """Run base model and SAE over every build, one <NULL> row per weapon, and the copies of --masked-variants.

    Writes sparse rows shard by shard. After an interruption, the next call resumes at the first missing shard.
    Complete shards of the same inputs are left as they are. Base activations that `splat train-sae` left beside the
    SAE are reused if model, data, hook and batches are the same.
    """
    from splat_assets.compute.encode import encode, shard_inputs, shards_to_encode
    from splat_assets.compute.harvest import TRAINED_ON, harvest, harvest_identity, recorded_identity, shards_of
    from splat_assets.compute.items import make_items
    from splat_assets.compute.provenance import hook_for, refuse_other_model
    from splat_assets.store.files import locked
    from splat_assets.store.origin import Origin, RecordedFile
    from splat_assets.store.raw import RawActivations

    requested = take_hook(options)
    recipe = ActivationsRecipe(masked_variants, seed, shard_items, batch_size, embeddings)
    split, runner = SplitRecipe(seed=split_seed), ShardRunner(backend, workers, device=device)
    usable_device(device)
    opened = open_model(model_checkpoint, vocab_path, weapon_vocab_path)
    sae = open_sae(sae_checkpoint)
    hook = hook_for(sae, requested, opened.model.dimensions.num_layers)
    refuse_other_model(sae, sae_checkpoint, opened.model, hook)
    writable_folder(output_dir)
    files = hash_inputs(
        opened.model_files.checkpoint,
        opened.model_files.vocab,
        opened.model_files.weapon_vocab,
        data_csv,
        sae_checkpoint,
    )
    with as_recorded(data_csv):
        builds = split_builds(opened.read_builds(data_csv), split.seed, split.validation, split.test)
    items = make_items(builds, opened.vocabulary, opened.contexts, recipe.masked_variants, recipe.seed)
    shards = shards_of(items, recipe.shard_items, hook.per_token)
    identity = harvest_identity(opened.model.fingerprint, items, hook, recipe.shard_items, recipe.batch_size)
    inputs = shard_inputs(identity, sae, opened.contexts, recipe.embeddings)
    progress, cache = progress_here(), output_dir / _CACHE
    trained = (sae_checkpoint if sae_checkpoint.is_dir() else sae_checkpoint.parent) / TRAINED_ON
    is_left = recorded_identity(trained) == identity and os.access(trained, os.W_OK)
    with locked(output_dir / ".lock"):
        _refuse_other_activations(output_dir, inputs)
        if shards_to_encode(output_dir, shards, inputs):
            folder = trained if is_left else cache
            base = harvest(
                folder, items, opened.model_files, hook, recipe.shard_items, recipe.batch_size, runner, progress
            )
            encode(
                output_dir, items, opened.vocabulary, opened.contexts, shards, base, sae_checkpoint,
                per_token=hook.per_token, embeddings=recipe.embeddings, runner=runner, progress=progress,
            )  # fmt: skip
        raw = RawActivations(output_dir)
        Origin(
            output_dir,
            {
                "base_model": opened.model.fingerprint,
                "sae": sae.fingerprint,
                "data": files.data.sha256,
                "vocabulary": opened.vocabulary.fingerprint,
                "contexts": opened.contexts.fingerprint,
                "raw_activations": raw.fingerprint,
                "hook": [hook.target, hook.layer_index, hook.ff_module_index],
            },
            {name: RecordedFile(one["path"], one["sha256"]) for name, one in asdict(files).items() if one},
            {"activations": asdict(recipe), "split": asdict(split)},
        ).save()
        shutil.rmtree(cache, ignore_errors=True)
    click.echo(
        f"{counted(raw.n_samples, 'samples')} x {counted(raw.n_features, 'features')}, {counted(raw.nnz, 'activations')} "
        f"({raw.nnz / raw.n_samples:.1f} a sample) in {counted(raw.n_shards, 'shards')}: {output_dir}"
    )


def _refuse_other_activations(output_dir: Path, inputs: dict[str, str]) -> None:
    """Raise InputError where finished shards of another recipe would be replaced."""
    from splat_assets.store.raw import RawActivations

    try:
        there = RawActivations(output_dir)
    except StoreError:
        return  # nothing is there, or something unfinished or damaged, which is made again
    if there.inputs != inputs:
        raise InputError(f"{output_dir} holds activations of another recipe; choose another folder, or delete that one")
