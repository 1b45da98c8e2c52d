"""The weights a SplatGPT starts from: random ones drawn from a seed, and an output that already says how common tokens are."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from splat_assets.model.attention import ISAB, PMA, Attention
from splat_assets.model.dimensions import SplatGPTDimensions
from splat_assets.model.splatgpt import SplatGPT

_LEAST_FREQUENCY = 1e-5


def initial_model(
    dimensions: SplatGPTDimensions, pad_id: int, frequency: npt.NDArray[np.float64], seed: int
) -> SplatGPT:
    """A SplatGPT with random weights; the same seed gives the same ones.

    frequency: shape (O,), the share of builds that hold each token. The output biases start at its log odds (Lin et al.
    2017, Focal Loss, section 4.1): otherwise the first thousand steps go into learning them, and the rest starts late.

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
        odds = np.clip(frequency, _LEAST_FREQUENCY, 1 - _LEAST_FREQUENCY)
        model.output_layer.bias.copy_(torch.from_numpy(np.log(odds / (1 - odds))))
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
