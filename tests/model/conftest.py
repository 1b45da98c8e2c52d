"""A tiny SplatGPT with random weights, and the checkpoint of the upstream architecture."""

from pathlib import Path

import pytest
import torch

from splat_assets.model.dimensions import SplatGPTDimensions
from splat_assets.model.splatgpt import SplatGPT

PAD = 5


@pytest.fixture(scope="session")
def upstream(shared_dir: Path) -> Path:
    """The folder of the upstream checkpoint."""
    return shared_dir / "fixtures" / "upstream_checkpoint"


def tiny_model(**sizes: int | bool) -> SplatGPT:
    """Six tokens (5 is padding), three weapons, two layers; every weight drawn from a fixed seed."""
    dimensions = SplatGPTDimensions(
        **{
            "vocab_size": 6,
            "weapon_vocab_size": 3,
            "embedding_dim": 4,
            "hidden_dim": 8,
            "output_dim": 6,
            "num_layers": 2,
            "num_heads": 2,
            "num_inducing_points": 3,
            "use_layer_norm": True,
            **sizes,
        }
    )
    model = SplatGPT(dimensions, PAD)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return model.eval().requires_grad_(False)
