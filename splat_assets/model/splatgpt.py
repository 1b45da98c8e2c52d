"""SplatGPT: completes a set of ability tokens, given a weapon. The network, and what can be read or replaced inside it.

A layer looks at a summary of the set (a set transformer), then feeds each token forward; the mean over real tokens goes
through one linear map to a logit per token, to be read with an element-wise sigmoid. No positions: order does not matter.
Loading and saving are in `checkpoint`, the blocks in `attention`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import astuple

import torch
from torch import Tensor, nn

from splat_assets.errors import InputError
from splat_assets.model.attention import MAB, FeedForward, SetTransformer
from splat_assets.model.blocks import Batch, Block, map_blocks
from splat_assets.model.dimensions import SplatGPTDimensions
from splat_assets.model.hooks import FF_MODULE_INDICES, MASKED_MEAN, HookActivations, HookPoint
from splat_assets.text.wording import counted


class SplatGPTLayer(nn.Module):
    """One layer: cross-attention to a summary of the set, then a feed-forward block, post-norm."""

    def __init__(self, dim: int, num_heads: int, num_points: int, use_layer_norm: bool) -> None:
        super().__init__()
        self.set_transformer = SetTransformer(dim, num_heads, num_points, use_layer_norm)
        self.cross_attention = MAB(dim, num_heads, use_layer_norm)
        self.feedforward = FeedForward(dim)
        self.layer_norm1 = nn.LayerNorm(dim) if use_layer_norm else nn.Identity()
        self.layer_norm2 = nn.LayerNorm(dim) if use_layer_norm else nn.Identity()

    def attended(self, x: Tensor, allowed: Tensor) -> Tensor:
        """The layer up to its feed-forward block, shape (B, S, d)."""
        summary = self.set_transformer(x, allowed)
        normed: Tensor = self.layer_norm1(x + self.cross_attention(x, summary))
        return normed

    def finished(self, attended: Tensor, fed: Tensor) -> Tensor:
        """The layer's result, from what went into its feed-forward block and what came out."""
        normed: Tensor = self.layer_norm2(attended + fed)
        return normed

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Shape (B, S, d) from x (B, S, d)."""
        attended = self.attended(x, allowed)
        return self.finished(attended, self.feedforward(attended))


class SplatGPT(nn.Module):
    """The base model. Weights are uninitialised until `load_state_dict` or `initialise`.

    Tokens are int64, shape (B, S), filled up with `pad_id`; weapons int64, shape (B, 1). Inputs that are on the CPU are
    checked there, so a batch for a GPU costs no synchronisation.

    Examples:
        >>> sizes = SplatGPTDimensions(vocab_size=5, weapon_vocab_size=2, embedding_dim=4, hidden_dim=8, output_dim=5,
        ...     num_layers=1, num_heads=2, num_inducing_points=3, use_layer_norm=True)
        >>> model = SplatGPT(sizes, pad_id=4)
        >>> tokens, weapons = torch.tensor([[0, 2, 4], [1, 4, 4]]), torch.tensor([[0], [1]])
        >>> tuple(model(tokens, weapons).shape), tuple(model.activations(tokens, weapons).values.shape)
        ((2, 5), (2, 8))
    """

    def __init__(self, dimensions: SplatGPTDimensions, pad_id: int) -> None:
        super().__init__()
        size = dimensions
        if not 0 <= pad_id < size.vocab_size:
            raise InputError(f"the pad id {pad_id} is outside the vocabulary of {counted(size.vocab_size, 'tokens')}")
        self.dimensions = dimensions
        self.pad_id = pad_id
        self.ability_embedding = _embedding(size.vocab_size, size.embedding_dim, padding_idx=pad_id)
        self.weapon_embedding = _embedding(size.weapon_vocab_size, size.embedding_dim)
        same_width = size.embedding_dim == size.hidden_dim
        self.input_proj = nn.Identity() if same_width else nn.Linear(size.embedding_dim, size.hidden_dim)
        layer = (size.hidden_dim, size.num_heads, size.num_inducing_points, size.use_layer_norm)
        # A plain list of the same modules keeps their type, which a ModuleList forgets.
        self._layers = [SplatGPTLayer(*layer) for _ in range(size.num_layers)]
        self.transformer_layers = nn.ModuleList(self._layers)
        self.output_layer = nn.Linear(size.hidden_dim, size.output_dim)

    def forward(self, ability_tokens: Tensor, weapon_token: Tensor) -> Tensor:
        """Logits, shape (B, O). Raises InputError naming the row for a row of padding or an id that does not exist."""
        batch = self._checked(ability_tokens, weapon_token)
        if torch.is_grad_enabled() and self.output_weight.requires_grad:
            return self._logits(self._pooled(batch))
        return self._logits(self._pooled_in_blocks(batch))

    def activations(
        self,
        ability_tokens: Tensor,
        weapon_token: Tensor,
        *,
        hook_target: str = MASKED_MEAN,
        layer_index: int = -1,
        ff_module_index: int = 2,
    ) -> HookActivations:
        """What the batch gives at a hook target, without gradients; `token_ff` gives real tokens only.

        Args:
            hook_target: `masked_mean` or `token_ff`.
            layer_index: of `token_ff`; counts from the end when negative.
            ff_module_index: of `token_ff`: 0 the first linear map, 1 the GELU, 2 the second linear map.

        Raises:
            InputError: a row of padding, an id that does not exist, or a place that the model does not have.
        """
        hook = HookPoint(hook_target, layer_index, ff_module_index)
        batch = self._checked(ability_tokens, weapon_token)
        with torch.inference_mode():
            if hook.target == MASKED_MEAN:
                values = self._pooled_in_blocks(batch)
                rows = torch.arange(len(values), device=values.device)
                positions = torch.full_like(rows, -1)
            else:
                values = self._hooked_in_blocks(batch, hook)
                rows, positions = torch.nonzero(batch.real, as_tuple=True)
        return HookActivations(values.clone(), rows.clone(), positions.clone())  # clones may enter autograd

    def logits_with(
        self,
        ability_tokens: Tensor,
        weapon_token: Tensor,
        replace: Callable[[Tensor], Tensor],
        *,
        hook_target: str = MASKED_MEAN,
        layer_index: int = -1,
        ff_module_index: int = 2,
    ) -> Tensor:
        """Logits (B, O) with the hook's values (n, d) replaced by `replace(values)`; padding is left as it is."""
        hook = HookPoint(hook_target, layer_index, ff_module_index)
        batch = self._checked(ability_tokens, weapon_token)
        if hook.target == MASKED_MEAN:
            return self._logits(_replaced(self._pooled_in_blocks(batch), replace))
        return self._logits(self._pooled_with(batch, replace, hook))

    def hook_width(self, hook_target: str = MASKED_MEAN, ff_module_index: int = 2) -> int:
        """The width d of the values at a hook target."""
        return HookPoint(hook_target, ff_module_index=ff_module_index).width(self.dimensions.hidden_dim)

    @property
    def output_weight(self) -> Tensor:
        """The matrix from `masked_mean` to logits, shape (O, d)."""
        return self.output_layer.weight

    @property
    def fingerprint(self) -> str:
        """sha256 over sizes, heads, pad id and every tensor's name, shape and float32 bytes; the container is not part of it."""
        digest = hashlib.sha256(repr((*astuple(self.dimensions), self.pad_id)).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _checked(self, ability_tokens: Tensor, weapon_token: Tensor) -> Batch:
        if ability_tokens.dim() != 2 or weapon_token.shape != (ability_tokens.shape[0], 1):
            raise InputError(
                f"a batch is ability tokens of shape (B, S) and weapons of shape (B, 1), not "
                f"{tuple(ability_tokens.shape)} and {tuple(weapon_token.shape)}"
            )
        _refuse_ids_outside(ability_tokens, self.dimensions.vocab_size, "ability token")
        _refuse_ids_outside(weapon_token, self.dimensions.weapon_vocab_size, "weapon")
        real = ability_tokens != self.pad_id
        empty = ~real.any(dim=1)
        if bool(empty.any()):
            row = int(torch.nonzero(empty)[0])
            raise InputError(f"row {row} of the batch holds only padding; an empty build is the single token <NULL>")
        device = self.output_layer.weight.device
        return Batch(*(t.to(device, non_blocking=True) for t in (ability_tokens, weapon_token, real)))

    def _embedded(self, batch: Batch) -> Tensor:
        both = self.ability_embedding(batch.ability_tokens) + self.weapon_embedding(batch.weapon_token)
        projected: Tensor = self.input_proj(both)
        return projected

    def _states(self, batch: Batch, n_layers: int) -> Tensor:
        """Token states after the first n_layers layers, shape (B, S, d)."""
        x = self._embedded(batch)
        for layer in self._layers[:n_layers]:
            x = layer(x, batch.allowed)
        return x

    def _pooled(self, batch: Batch) -> Tensor:
        """The hook target `masked_mean`, shape (B, d)."""
        return _masked_mean(self._states(batch, self.dimensions.num_layers), batch.real)

    def _pooled_in_blocks(self, batch: Batch) -> Tensor:
        pooled = self.output_weight.new_empty(len(batch.real), self.dimensions.hidden_dim)
        for block, values in map_blocks(batch, self.dimensions.hidden_dim, self._pooled):
            pooled[block.rows] = values
        return pooled

    def _hooked_in_blocks(self, batch: Batch, hook: HookPoint) -> Tensor:
        """The hook target `token_ff` for real tokens only, shape (n, width), by row and position."""
        cut = map_blocks(batch, self.dimensions.hidden_dim, lambda block: self._until(block, hook)[1][block.real])
        return self._gathered(batch, cut, hook)

    def _pooled_with(self, batch: Batch, replace: Callable[[Tensor], Tensor], hook: HookPoint) -> Tensor:
        """`masked_mean` (B, d) with the values of a `token_ff` hook replaced, all of the batch at once."""
        cut = map_blocks(batch, self.dimensions.hidden_dim, lambda block: self._until(block, hook))
        hooked = self._gathered(batch, [(block, values[block.batch.real]) for block, (_, values) in cut], hook)
        replaced, place = _replaced(hooked, replace), _places(batch.real)
        pooled = self.output_weight.new_empty(len(batch.real), self.dimensions.hidden_dim)
        for block, (attended, values) in cut:
            real = torch.nonzero(block.batch.real, as_tuple=True)
            new = values.index_put(real, replaced[_cut(place, block)])
            pooled[block.rows] = self._pooled_from(block.batch, attended, new, hook)
        return pooled

    def _gathered(self, batch: Batch, cut: list[tuple[Block, Tensor]], hook: HookPoint) -> Tensor:
        """The values of each block's real tokens (n, width), put into the order of the batch."""
        values = self.output_weight.new_empty(int(batch.real.sum()), hook.width(self.dimensions.hidden_dim))
        place = _places(batch.real)
        for block, captured in cut:
            values[_cut(place, block)] = captured
        return values

    def _pooled_from(self, batch: Batch, attended: Tensor, hooked: Tensor, hook: HookPoint) -> Tensor:
        """`masked_mean` (B, d) from what `_until` gives, run to the end."""
        index = hook.layer_of(self.dimensions.num_layers)
        layer = self._layers[index]
        x = layer.finished(attended, layer.feedforward.run(hooked, hook.ff_module_index + 1, FF_MODULE_INDICES[-1]))
        for later in self._layers[index + 1 :]:
            x = later(x, batch.allowed)
        return _masked_mean(x, batch.real)

    def _until(self, batch: Batch, hook: HookPoint) -> tuple[Tensor, Tensor]:
        """Input of the hooked feed-forward block (B, S, d), and its values after the hooked module (B, S, width)."""
        index = hook.layer_of(self.dimensions.num_layers)
        layer = self._layers[index]
        attended = layer.attended(self._states(batch, index), batch.allowed)
        return attended, layer.feedforward.run(attended, 0, hook.ff_module_index)

    def _logits(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.output_layer(pooled)
        return logits


def _embedding(n: int, width: int, padding_idx: int | None = None) -> nn.Embedding:
    """Without the draw of nn.Embedding, for which torch imports its compiler on the meta device: seconds at every start."""
    made: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        torch.empty(n, width), freeze=False, padding_idx=padding_idx
    )
    return made


def _masked_mean(x: Tensor, real: Tensor) -> Tensor:
    """The mean over real tokens, shape (B, d)."""
    weights = real.to(x.dtype) / real.sum(dim=1, keepdim=True)
    return torch.bmm(weights.unsqueeze(1), x).squeeze(1)


def _places(real: Tensor) -> Tensor:
    """Each real token's number among the batch's real tokens, by row and position; shape (B, S)."""
    return (torch.cumsum(real.flatten(), 0) - 1).view_as(real)


def _cut(places: Tensor, block: Block) -> Tensor:
    """The numbers of a block's real tokens, from the places of the whole batch."""
    return places[block.rows, : block.batch.real.shape[1]][block.batch.real]


def _replaced(values: Tensor, replace: Callable[[Tensor], Tensor]) -> Tensor:
    new = replace(values)
    if new.shape != values.shape:
        raise InputError(f"the replacement has shape {tuple(new.shape)}; the hook's values have {tuple(values.shape)}")
    return new


def _refuse_ids_outside(ids: Tensor, n: int, what: str) -> None:
    if ids.numel() == 0:
        return
    low, high = torch.aminmax(ids)
    if int(low) < 0 or int(high) >= n:
        row = int(torch.nonzero(((ids < 0) | (ids >= n)).any(dim=1))[0])
        raise InputError(
            f"row {row} of the batch holds {what} {int(high if high >= n else low)}; the model has 0 to {n - 1}"
        )
