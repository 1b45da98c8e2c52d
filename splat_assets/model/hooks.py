"""The points inside a base model at which its activations are read or replaced.

`masked_mean`: the vector that enters the output layer, one per row. `token_ff`: what a module of a layer's feed-forward
block puts out, one per token that is not padding. Only names, checks and the value that is handed out; the model cuts itself.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from splat_assets.errors import InputError

if TYPE_CHECKING:
    import torch

MASKED_MEAN = "masked_mean"
TOKEN_FF = "token_ff"
HOOK_TARGETS = (MASKED_MEAN, TOKEN_FF)
FF_MODULE_INDICES = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class HookActivations:
    """What a batch gives at a hook target.

    values: float32, shape (n, d), rows in batch order, within a row in token order.
    rows: int64, shape (n,), the batch row each value belongs to.
    positions: int64, shape (n,), the token position in the batch row; -1 throughout for `masked_mean`.
    """

    values: "torch.Tensor"
    rows: "torch.Tensor"
    positions: "torch.Tensor"


@dataclass(frozen=True, slots=True)
class HookPoint:
    """One place in a model; `layer_index` counts from the end when negative. Refuses what no model has."""

    target: str
    layer_index: int = -1
    ff_module_index: int = 2

    def __post_init__(self) -> None:
        if self.target not in HOOK_TARGETS:
            raise InputError(f"unknown hook target {self.target!r}; the targets are {', '.join(HOOK_TARGETS)}")
        if self.ff_module_index not in FF_MODULE_INDICES:
            raise InputError(
                f"module {self.ff_module_index} of a feed-forward block does not exist: 0 is its first linear map, 1 the GELU, "
                "2 its second linear map"
            )

    @property
    def per_token(self) -> bool:
        """Whether a value belongs to a token position rather than to a whole row."""
        return self.target == TOKEN_FF

    def layer_of(self, num_layers: int) -> int:
        """The layer as 0..num_layers - 1; raises InputError when the model does not have it."""
        if not -num_layers <= self.layer_index < num_layers:
            raise InputError(
                f"layer {self.layer_index} does not exist in the model: its {num_layers} layers are 0 to {num_layers - 1}, "
                "or -1 for the last"
            )
        return self.layer_index % num_layers

    def in_model(self, num_layers: int) -> "HookPoint":
        """The same place by its one name: the layer counted from 0; the pooled vector belongs to no layer and no module."""
        if not self.per_token:
            return HookPoint(self.target)
        return HookPoint(self.target, self.layer_of(num_layers), self.ff_module_index)

    def width(self, hidden_dim: int) -> int:
        """The number of values at this point, for a model of this hidden dimension."""
        return hidden_dim if self.target == MASKED_MEAN or self.ff_module_index == 2 else 4 * hidden_dim
