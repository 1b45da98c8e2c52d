"""How a batch is cut for a processor: rows of like length together, few enough that a block stays in its cache.

Padding costs as much as a token, and a large batch streams every intermediate through memory. Whole blocks, not the inside
of each small operation, are then spread over the threads: nobody waits at a barrier thousands of times, which on a busy
machine is what takes the time. On a GPU a batch is left whole.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

_BLOCK_BYTES = 1 << 20  # of the widest intermediate, 4 d floats per token; up to 8 MiB measure much the same
_FLOAT_BYTES = 4


class Batch(NamedTuple):
    """Checked inputs on the model's device. Tokens int64 (B, S), weapons int64 (B, 1), real bool (B, S): not padding."""

    ability_tokens: Tensor
    weapon_token: Tensor
    real: Tensor

    @property
    def allowed(self) -> Tensor:
        """Which keys attention may see, shape (B, 1, 1, S)."""
        return self.real[:, None, None, :]


class Block(NamedTuple):
    """Some rows of a batch, cut off after their last real token. rows: int64, the rows' numbers in the batch."""

    rows: Tensor
    batch: Batch


def map_blocks(
    batch: Batch, hidden_dim: int, compute: Callable[[Batch], Result], n_threads: int | None = None
) -> list[tuple[Block, Result]]:
    """What compute gives for each block, with the block, longest rows first; the number of threads changes no bit.

    n_threads: how many blocks are computed at a time; as many as torch has threads when None. compute runs in the caller's
    gradient mode and must not write to anything shared.
    """
    blocks = list(blocks_of(batch, hidden_dim))[::-1]
    n_before = torch.get_num_threads()
    n_workers = min(n_threads or n_before, len(blocks))
    if n_workers < 2 or batch.real.device.type != "cpu":
        return [(block, compute(block.batch)) for block in blocks]
    with_gradients, for_inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def computed(block: Block) -> Result:
        with torch.inference_mode(for_inference), torch.set_grad_enabled(with_gradients):
            return compute(block.batch)

    try:
        with ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(1,)) as workers:
            return list(zip(blocks, workers.map(computed, blocks), strict=True))
    finally:
        torch.set_num_threads(n_before)  # a worker's setting is also what threads made later would start with


def blocks_of(batch: Batch, hidden_dim: int) -> Iterator[Block]:
    """Every row of the batch exactly once, shortest rows first."""
    n_rows, n_positions = batch.real.shape
    if batch.real.device.type != "cpu" or n_rows < 2:
        yield Block(torch.arange(n_rows, device=batch.real.device), batch)
        return
    lengths = (batch.real * torch.arange(1, n_positions + 1)).amax(dim=1)
    by_length = torch.argsort(lengths, stable=True)
    tokens_per_block = _BLOCK_BYTES // (4 * hidden_dim * _FLOAT_BYTES)
    rows_per_block = max(1, tokens_per_block * n_rows // int(lengths.sum()))
    for rows in torch.split(by_length, rows_per_block):
        n_kept = int(lengths[rows[-1]])
        yield Block(
            rows, Batch(batch.ability_tokens[rows, :n_kept], batch.weapon_token[rows], batch.real[rows, :n_kept])
        )
