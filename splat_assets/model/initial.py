"""The random weights a SplatGPT starts from, drawn from a seed."""

import math

import torch
from torch import nn

from splat_assets.model.attention import ISAB, PMA, Attention
from splat_assets.model.dimensions import SplatGPTDimensions
from splat_assets.model.splatgpt import SplatGPT


def initial_model(dimensions: SplatGPTDimensions, pad_id: int, seed: int) -> SplatGPT:
    """A SplatGPT with random weights; the same seed gives the same ones.

    Linear maps as torch draws them (uniform within 1 / sqrt(inputs)), attention projections and learned points by Glorot
    and Bengio 2010, equation 16, embeddings normal; the embedding of padding is 0.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):  # the constructors would draw from the global generator
        model = SplatGPT(dimensions, pad_id)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for module in model.modules():
            _fill(module, generator)
        model.ability_embedding.weight[pad_id] = 0
    return model


def _fill(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the parameters that belong to this module itself."""
    if isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.in_features)
        module.weight.uniform_(-bound, bound, generator=generator)
        module.bias.uniform_(-bound, bound, generator=generator)
    elif isinstance(module, nn.LayerNorm):
        module.weight.fill_(1)
        module.bias.zero_()
    elif isinstance(module, nn.Embedding):
        module.weight.normal_(generator=generator)
    elif isinstance(module, Attention):
        nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
        module.in_proj_bias.zero_()
    elif isinstance(module, ISAB):
        nn.init.xavier_uniform_(module.inducing_points, generator=generator)
    elif isinstance(module, PMA):
        nn.init.xavier_uniform_(module.seed_vectors, generator=generator)
