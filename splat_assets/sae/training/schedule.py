"""What changes with the step: learning rate, l1 weight, which rows are in a batch. All are functions of the step alone.

So a resumed training needs no state of a random generator or a scheduler: step s is the same whoever computes it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat_assets.sae.recipe import SaeRecipe


@dataclass(frozen=True)
class Schedule:
    """The steps of a training over n_rows rows."""

    recipe: SaeRecipe
    n_rows: int

    @property
    def batches_per_epoch(self) -> int:
        """Batches of at most batch_size rows that hold every row once."""
        return -(-self.n_rows // self.recipe.batch_size)

    @property
    def n_steps(self) -> int:
        """All steps of the training."""
        return self.recipe.n_steps(self.n_rows)

    @property
    def n_samples(self) -> int:
        """Rows that all steps see, repeats counted."""
        return self.n_rows * self.recipe.epochs

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations."""
        return self.recipe.evaluate_every_steps or max(1, self.n_steps // 50)

    def samples_after(self, step: int) -> int:
        """Rows seen once a step is taken, repeats counted."""
        epoch, _, stop = self.batch_bounds(step)
        return epoch * self.n_rows + stop

    def learning_rate(self, step: int) -> float:
        """The rate of step 0..n_steps - 1: linear rise, constant, linear fall towards 0."""
        warmup = max(1.0, self.n_steps * self.recipe.lr_warmup_fraction)
        decay = max(1.0, self.n_steps * self.recipe.lr_decay_fraction)
        if self.recipe.lr is None:
            raise ValueError("a schedule needs a recipe that was checked for an input width")
        return self.recipe.lr * min(1.0, (step + 1) / warmup, (self.n_steps - step) / decay)

    def l1_weight(self, step: int) -> float:
        """The weight of the l1 term at a step: linear rise, then constant."""
        if self.recipe.architecture != "relu_l1":
            return 0.0
        warmup = max(1.0, self.n_steps * self.recipe.l1_warmup_fraction)
        return self.recipe.l1_coeff * min(1.0, (step + 1) / warmup)

    def epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The order of 0..n_rows - 1 in an epoch."""
        return np.random.default_rng((self.recipe.seed, epoch)).permutation(self.n_rows)

    def batch_bounds(self, step: int) -> tuple[int, int, int]:
        """(epoch, start, stop): the batch of a step is epoch_order(epoch)[start:stop]."""
        epoch, batch = divmod(step, self.batches_per_epoch)
        n, parts = self.n_rows, self.batches_per_epoch
        return epoch, n * batch // parts, n * (batch + 1) // parts


class Batches:
    """Rows of the activations in the order of a schedule, gathered from an array or a memory map."""

    def __init__(self, activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], schedule: Schedule) -> None:
        self._activations = activations
        self._rows = rows
        self._schedule = schedule
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def of_step(self, step: int) -> npt.NDArray[np.float32]:
        """The batch of a step: float32, shape (batch rows, d_in). Rows rise in the file, so a memory map is read forwards."""
        epoch, start, stop = self._schedule.batch_bounds(step)
        if epoch != self._epoch:
            self._order = self._schedule.epoch_order(epoch)
            self._epoch = epoch
        chosen = np.sort(self._rows[self._order[start:stop]])
        return np.asarray(self._activations[chosen], dtype=np.float32)


def evenly_spaced_rows(rows: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """At most n of rows, evenly spread over them, rising."""
    ordered = np.sort(rows)
    return ordered if rows.size <= n else ordered[np.arange(n) * rows.size // n]
