"""Sparse autoencoders (torch): architectures, training, evaluation, checkpoint formats.

The public names load on first use, so that importing the package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splat_assets.sae.autoencoder import Sae as Sae
    from splat_assets.sae.formats import load_sae as load_sae
    from splat_assets.sae.formats import save_sae as save_sae
    from splat_assets.sae.recipe import SaeRecipe as SaeRecipe
    from splat_assets.sae.training.training import TrainedSae as TrainedSae
    from splat_assets.sae.training.training import train_sae as train_sae

_HOMES = {
    "Sae": "autoencoder",
    "load_sae": "formats",
    "save_sae": "formats",
    "SaeRecipe": "recipe",
    "TrainedSae": "training.training",
    "train_sae": "training.training",
}
__all__ = ["Sae", "SaeRecipe", "TrainedSae", "load_sae", "save_sae", "train_sae"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
