"""What the rest of the pipeline asks of a base model: token sets and a context in, activations and logits out.

A second kind of model is one more file that keeps these promises.
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from splat_assets.model.hooks import HookActivations


class BaseModel(Protocol):
    """A frozen model over token sets. Tokens int64 (B, S) filled up with padding, contexts int64 (B, 1).

    An implementation gives results in the order of the batch, which depend neither on the order of a row's tokens nor on the
    other rows beyond rounding; changes nothing in itself, so calls from several threads are safe; and raises InputError for
    ids that do not exist, rows that hold only padding, and hooks that the model does not have. Nothing pickles it.
    """

    @property
    def pad_id(self) -> int:
        """The token that fills up a batch."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 of what the model computes with, whatever file it came from."""
        ...

    @property
    def output_weight(self) -> Tensor:
        """The matrix from `masked_mean` to logits, shape (O, d)."""
        ...

    def __call__(self, ability_tokens: Tensor, weapon_token: Tensor) -> Tensor:
        """Logits, shape (B, O); raises InputError for a row of padding."""
        ...

    def activations(
        self,
        ability_tokens: Tensor,
        weapon_token: Tensor,
        *,
        hook_target: str = ...,
        layer_index: int = ...,
        ff_module_index: int = ...,
    ) -> HookActivations:
        """The batch's values at a hook target, without gradients."""
        ...

    def logits_with(
        self,
        ability_tokens: Tensor,
        weapon_token: Tensor,
        replace: Callable[[Tensor], Tensor],
        *,
        hook_target: str = ...,
        layer_index: int = ...,
        ff_module_index: int = ...,
    ) -> Tensor:
        """Logits (B, O) with the hook's values (n, d) replaced by `replace(values)`."""
        ...

    def hook_width(self, hook_target: str = ..., ff_module_index: int = ...) -> int:
        """The width d of the values at a hook target."""
        ...
