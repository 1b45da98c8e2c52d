"""A run small enough for tests: real legal builds, a random but real base model, an SAE that reaches its limits."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import bring_up_to_date
from splat_assets.data.demo import make_demo_inputs
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.model import SplatGPT, save_base_model
from splat_assets.model.dimensions import SplatGPTDimensions
from splat_assets.runs import ActivationsRecipe, Run, RunConfig, StoreRecipe, create_run, hash_inputs
from splat_assets.sae import SaeRecipe
from splat_assets.store.layout import DataRoot
from splat_assets.text.progress import SilentProgress

N_BUILDS = 900
RECIPE = SaeRecipe(d_sae=96, k=8, epochs=30, batch_size=128, lr=1e-2, checkpoint_every_seconds=0.2)


def make_inputs(root: DataRoot, n_builds: int = N_BUILDS) -> tuple[Path, Path]:
    """A dataset and a base model under root; returns the data file and the model's folder."""
    dataset, model = root.datasets / "small", root.models / "small"
    make_demo_inputs(dataset, n_builds=n_builds, seed=0)
    save_random_model(dataset, model)
    return dataset / "tokenized_data.csv", model


def save_random_model(dataset: Path, folder: Path) -> None:
    """A seeded SplatGPT for the dataset's vocabularies."""
    vocabulary, contexts = read_vocabulary(dataset / "vocab.json"), read_contexts(dataset / "weapon_vocab.json")
    dimensions = SplatGPTDimensions(
        vocab_size=len(vocabulary),
        weapon_vocab_size=len(contexts),
        embedding_dim=8,
        hidden_dim=16,
        output_dim=len(vocabulary),
        num_layers=1,
        num_heads=2,
        num_inducing_points=4,
        use_layer_norm=True,
    )
    model = SplatGPT(dimensions, pad_id=vocabulary.pad_id)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    save_base_model(model, folder)
    for name in ("vocab.json", "weapon_vocab.json"):
        shutil.copyfile(dataset / name, folder / name)


def small_config(data: Path, model: Path, **changes: Any) -> RunConfig:
    """The description of a small run: several shards, several batches."""
    config = RunConfig(
        inputs=hash_inputs(model, None, None, data),
        sae=RECIPE,
        activations=ActivationsRecipe(shard_items=256, batch_size=64),
        store=StoreRecipe(batch_rows=500),
    )
    return replace(config, **changes)


def new_small_run(root: DataRoot, name: str = "small", **changes: Any) -> Run:
    """A small run that is described but not made; its inputs are made too if need be."""
    data, model = root.datasets / "small" / "tokenized_data.csv", root.models / "small"
    if not data.is_file():
        make_inputs(root)
    return create_run(root, name, small_config(data, model, **changes))


def make_all(run: Run) -> None:
    """Every artifact of the run, without its checks."""
    for asset in ASSETS:
        bring_up_to_date(asset, run, SilentProgress())
