"""The sizes of a SplatGPT, and how to read them off the shapes of its tensors.

Everything but the number of attention heads shows in the shapes. Nothing here looks at values or files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from splat_assets.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]

_LAYER = re.compile(r"transformer_layers\.(\d+)\.")
_INDUCING = "transformer_layers.0.set_transformer.enc_layer1.inducing_points"
_LAYER_NORM = "transformer_layers.0.layer_norm1.weight"


@dataclass(frozen=True, slots=True)
class SplatGPTDimensions:
    """The sizes that, with the weights, define a SplatGPT. `num_heads` divides `hidden_dim` and changes no shape."""

    vocab_size: int
    weapon_vocab_size: int
    embedding_dim: int
    hidden_dim: int
    output_dim: int
    num_layers: int
    num_heads: int
    num_inducing_points: int
    use_layer_norm: bool

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in self.__slots__ if name != "use_layer_norm"}
        for name, size in sizes.items():
            if size < 1:
                raise InputError(f"a SplatGPT needs {name} of at least 1, not {size}")
        if self.hidden_dim % self.num_heads:
            raise InputError(
                f"num_heads {self.num_heads} does not divide hidden_dim {self.hidden_dim}; use the number of heads the "
                f"model was trained with"
            )


def dimensions_of(shapes: Shapes, num_heads: int, where: object) -> SplatGPTDimensions:
    """The dimensions that tensors of these shapes have; raises InputError when a tensor that tells one is not there."""
    vocab_size, embedding_dim = _shape(shapes, "ability_embedding.weight", where)
    weapon_vocab_size, _ = _shape(shapes, "weapon_embedding.weight", where)
    output_dim, hidden_dim = _shape(shapes, "output_layer.weight", where)
    num_inducing_points, _ = _shape(shapes, _INDUCING, where)
    layers = {int(match.group(1)) for match in map(_LAYER.match, shapes) if match}
    return SplatGPTDimensions(
        vocab_size=vocab_size,
        weapon_vocab_size=weapon_vocab_size,
        embedding_dim=embedding_dim,
        hidden_dim=hidden_dim,
        output_dim=output_dim,
        num_layers=max(layers) + 1,
        num_heads=num_heads,
        num_inducing_points=num_inducing_points,
        use_layer_norm=_LAYER_NORM in shapes,
    )


def _shape(shapes: Shapes, name: str, where: object) -> tuple[int, ...]:
    if name not in shapes:
        raise InputError(f"{where} is not a SplatGPT checkpoint: it holds {len(shapes)} tensors, but no {name}")
    if len(shapes[name]) != 2:
        raise InputError(f"{where}: {name} has shape {shapes[name]}; a SplatGPT has 2 axes there")
    return shapes[name]
