"""What a base model is trained with: one frozen value, each setting declared once with its line of help."""

import math
from dataclasses import dataclass, field
from typing import Any

from splat_assets.errors import InputError

_COUNTS = (
    *("embedding_dim", "hidden_dim", "num_layers", "num_heads", "num_inducing_points"),
    *("epochs", "instances_per_build", "batch_size", "patience"),
)


def setting(default: Any, text: str) -> Any:
    """A field of a recipe with its line of help."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class BaseTrainingRecipe:
    """Sizes, masking and schedule of a training. Contradictions raise InputError."""

    embedding_dim: int = setting(32, "width of the token and weapon embeddings")
    hidden_dim: int = setting(64, "width of the model, and of masked_mean")
    num_layers: int = setting(2, "number of layers")
    num_heads: int = setting(2, "attention heads; they divide the hidden width")
    num_inducing_points: int = setting(8, "inducing points of the set attention (ISAB)")
    use_layer_norm: bool = setting(True, "normalise after every residual sum")
    epochs: int = setting(3, "passes over the training builds, each with new masks")
    instances_per_build: int = setting(1, "masked inputs drawn from each build per epoch")
    mask_skew: float = setting(
        1.2, "skew of the number k of hidden tokens: its probability is proportional to k ** skew"
    )
    null_share: float = setting(0.05, "share of inputs whose tokens are all hidden: the single token <NULL>")
    batch_size: int = setting(64, "masked inputs per step")
    learning_rate: float = setting(3e-3, "highest learning rate of AdamW")
    warmup_share: float = setting(0.05, "share of all steps over which the rate rises; then it falls as a cosine to 0")
    weight_decay: float = setting(0.01, "weight decay of AdamW")
    gradient_clip: float = setting(1.0, "maximum gradient norm per step; the loss is summed over the vocabulary")
    patience: int = setting(3, "epochs without a better validation loss after which training stops")
    seed: int = setting(0, "seed of weights, masks and order")

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name} must be a finite number, not {getattr(self, name)}")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("null_share", "warmup_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be within 0 and 1, not {getattr(self, name)}")
        if self.seed < 0 or self.weight_decay < 0:
            raise InputError("seed and weight_decay must be at least 0")
        if self.hidden_dim % self.num_heads:
            raise InputError(f"num_heads {self.num_heads} does not divide hidden_dim {self.hidden_dim}")
