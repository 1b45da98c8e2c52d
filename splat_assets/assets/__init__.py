"""The artifacts of a run: one module per step, each saying what it is made from, how, and which checks guard it.

Plain Python: Dagster's shell around it is `splat_assets.orchestration.definitions`. `ASSETS` lists all of them, sources first.
"""

from splat_assets.assets.asset import Asset
from splat_assets.assets.base_model import BASE_MODEL
from splat_assets.assets.dataset import DATASET
from splat_assets.assets.guide_formats import BATCH_ZARR, NEURON_ACTS, TRANSPOSED_ZARR
from splat_assets.assets.published_store import PUBLISHED_STORE
from splat_assets.assets.raw_activations import RAW_ACTIVATIONS
from splat_assets.assets.sae_checkpoint import SAE_CHECKPOINT
from splat_assets.assets.sparse_activations import SPARSE_ACTIVATIONS
from splat_assets.assets.statistics import (
    EXAMPLES,
    FEATURE_MAP,
    HISTOGRAMS,
    IDF,
    INFLUENCES,
    NEIGHBOURS,
    SUGGESTED_LABELS,
)
from splat_assets.errors import InputError

ASSETS: tuple[Asset, ...] = (
    DATASET,
    BASE_MODEL,
    SAE_CHECKPOINT,
    RAW_ACTIVATIONS,
    SPARSE_ACTIVATIONS,
    HISTOGRAMS,
    IDF,
    INFLUENCES,
    EXAMPLES,
    NEIGHBOURS,
    FEATURE_MAP,
    SUGGESTED_LABELS,
    PUBLISHED_STORE,
    BATCH_ZARR,
    TRANSPOSED_ZARR,
    NEURON_ACTS,
)


def sources_of(asset: Asset) -> list[Asset]:
    """All direct and indirect inputs of the asset, sources first."""
    needed = set(asset.deps)
    for source in reversed(ASSETS):
        if source.name in needed:
            needed |= set(source.deps)
    return [source for source in ASSETS if source.name in needed]


def asset_named(name: str) -> Asset:
    """The asset called name; InputError lists the existing names."""
    for asset in ASSETS:
        if asset.name == name:
            return asset
    raise InputError(f"artifact {name!r} does not exist; there are {', '.join(asset.name for asset in ASSETS)}")
