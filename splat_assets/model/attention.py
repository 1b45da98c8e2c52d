"""The attention blocks SplatGPT is built of: MAB, ISAB, PMA and the set transformer over them.

Set Transformer (Lee et al. 2019, sections 3.1-3.2) with post-norm blocks. Parameter names are those of the checkpoints.
Nothing here knows tokens, weapons or files.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with the packed query-key-value projection of `torch.nn.MultiheadAttention`."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
        """Shape (B, Q, d) from queries (B, Q, d) or (Q, d), keys (B, K, d); allowed: bool (B, 1, 1, K), True = attend.

        Queries of shape (Q, d) are the same for every row of the batch, and are projected once.
        """
        dim = keys.shape[-1]
        if queries is keys:
            q, k, v = F.linear(keys, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            q = F.linear(queries, self.in_proj_weight[:dim], self.in_proj_bias[:dim])
            k, v = F.linear(keys, self.in_proj_weight[dim:], self.in_proj_bias[dim:]).chunk(2, dim=-1)
            if q.dim() == 2:
                q = q.expand(keys.shape[0], *q.shape)
        attended = F.scaled_dot_product_attention(self._heads(q), self._heads(k), self._heads(v), attn_mask=allowed)
        joined: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return joined

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, d) as (B, heads, L, d / heads)."""
        return x.view(*x.shape[:-1], self.num_heads, x.shape[-1] // self.num_heads).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Linear to 4 d, exact GELU, linear back to d: modules 0, 1 and 2."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def run(self, x: Tensor, first: int, last: int) -> Tensor:
        """Only modules first..last, both included."""
        for module in list(self)[first : last + 1]:
            x = module(x)
        return x


class MAB(nn.Module):
    """Multi-head attention block: attend, add, feed forward, add; each sum normalised if the model has layer norms."""

    def __init__(self, dim: int, num_heads: int, use_layer_norm: bool) -> None:
        super().__init__()
        self.mha = Attention(dim, num_heads)
        self.feedforward = FeedForward(dim)
        self.layer_norm1 = nn.LayerNorm(dim) if use_layer_norm else nn.Identity()
        self.layer_norm2 = nn.LayerNorm(dim) if use_layer_norm else nn.Identity()

    def forward(self, queries: Tensor, keys: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Shape (B, Q, d); the shapes of the inputs are those of `Attention`."""
        attended = self.layer_norm1(queries + self.mha(queries, keys, allowed))
        fed: Tensor = self.layer_norm2(attended + self.feedforward(attended))
        return fed


class ISAB(nn.Module):
    """Induced set attention: a few learned points look at the set, then the set looks at them."""

    def __init__(self, dim: int, num_heads: int, num_points: int, use_layer_norm: bool) -> None:
        super().__init__()
        self.inducing_points = nn.Parameter(torch.empty(num_points, dim))
        self.mab1 = MAB(dim, num_heads, use_layer_norm)
        self.mab2 = MAB(dim, num_heads, use_layer_norm)
        self.layer_norm = nn.LayerNorm(dim)  # there whether or not the model has layer norms elsewhere

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Shape (B, S, d) from x (B, S, d)."""
        seen = self.mab1(self.inducing_points, x, allowed)
        normed: Tensor = self.layer_norm(self.mab2(x, seen) + x)
        return normed


class PMA(nn.Module):
    """Pooling by attention: learned seeds look at the set."""

    def __init__(self, dim: int, num_heads: int, num_seeds: int, use_layer_norm: bool) -> None:
        super().__init__()
        self.seed_vectors = nn.Parameter(torch.empty(num_seeds, dim))
        self.mab = MAB(dim, num_heads, use_layer_norm)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Shape (B, seeds, d) from x (B, S, d)."""
        pooled: Tensor = self.out_proj(self.mab(self.seed_vectors, x, allowed))
        return pooled


class SAB(nn.Module):
    """Set attention: a set looks at itself."""

    def __init__(self, dim: int, num_heads: int, use_layer_norm: bool) -> None:
        super().__init__()
        self.mab = MAB(dim, num_heads, use_layer_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, S, d) from x (B, S, d)."""
        attended: Tensor = self.mab(x, x)
        return attended


class SetTransformer(nn.Module):
    """Two ISABs, a pooling to M points, two SABs over those, residuals around all but the pooling."""

    def __init__(self, dim: int, num_heads: int, num_points: int, use_layer_norm: bool) -> None:
        super().__init__()
        self.enc_layer1 = ISAB(dim, num_heads, num_points, use_layer_norm)
        self.enc_layer2 = ISAB(dim, num_heads, num_points, use_layer_norm)
        self.dec_layer1 = PMA(dim, num_heads, num_points, use_layer_norm)
        self.dec_layer2 = SAB(dim, num_heads, use_layer_norm)
        self.dec_layer3 = SAB(dim, num_heads, use_layer_norm)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Shape (B, M, d) from x (B, S, d)."""
        x = self.enc_layer1(x, allowed) + x
        x = self.enc_layer2(x, allowed) + x
        pooled = self.dec_layer1(x, allowed)
        pooled = self.dec_layer2(pooled) + pooled
        decoded: Tensor = self.dec_layer3(pooled) + pooled
        return decoded
