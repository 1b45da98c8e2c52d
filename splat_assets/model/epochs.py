"""The epochs of a base model's training: masked builds in, the full set as target, the best weights kept.

AdamW with a warm-up and a cosine, batches of like length in random order, the same validation masks every epoch.
Deterministic for a seed on one machine with one number of threads.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from splat_assets.model.masking import MaskedBatch, MaskedBuilds, mask_builds
from splat_assets.model.recipe import BaseTrainingRecipe
from splat_assets.model.splatgpt import SplatGPT
from splat_assets.store.vocabulary import Vocabulary
from splat_assets.text.progress import Progress, Task

_POOL_BUILDS = 1 << 16  # masked and sorted by length together
_EVALUATION_BATCH_SIZE = 1024
_NOTE_EVERY_STEPS = 20
_TRAIN_STREAM, _VALIDATION_STREAM = 0, 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One epoch. Losses are binary cross entropy, nats per token of the vocabulary; the rate is that of its last step."""

    epoch: int
    train_loss: float
    validation_loss: float
    learning_rate: float


class Training:
    """The state of one training of a model, which it changes in place."""

    def __init__(self, model: SplatGPT, builds: Builds, vocabulary: Vocabulary, recipe: BaseTrainingRecipe) -> None:
        self._model, self._builds, self._vocabulary, self._recipe = model, builds, vocabulary, recipe
        self._train_rows = np.repeat(builds.rows_of("train"), recipe.instances_per_build)
        self._n_steps = recipe.epochs * sum(-(-n // recipe.batch_size) for n in _pool_sizes(self._train_rows.size))
        self._step = 0
        self._validation = validation_builds(builds, vocabulary, recipe)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.epochs: list[EpochMetrics] = []
        self.stopped_early = False
        self.best: EpochMetrics
        self._best_weights: dict[str, Tensor] = {}

    def run(self, progress: Progress) -> None:
        """Train until the last epoch, or until patience is out."""
        total = self._recipe.epochs * self._train_rows.size
        with progress.task("train base model", total, "builds") as task:
            for epoch in range(1, self._recipe.epochs + 1):
                train_loss = self._train_epoch(epoch, task)
                validation_loss = self._finite(masked_loss(self._model.eval(), self._validation))
                done = EpochMetrics(epoch, train_loss, validation_loss, self._rate(self._step - 1))
                self._remember(done)
                task.advance(0, f"validation loss {validation_loss:.4f}")
                logger.info("epoch %d: train loss %.4f, validation loss %.4f", epoch, train_loss, validation_loss)
                if epoch - self.best.epoch >= self._recipe.patience and epoch < self._recipe.epochs:
                    self.stopped_early = True
                    return

    def best_model(self) -> SplatGPT:
        """The model of the best epoch, frozen."""
        self._model.load_state_dict(self._best_weights)
        return self._model.eval().requires_grad_(False)

    def _train_epoch(self, epoch: int, task: Task) -> float:
        self._model.train()
        total = torch.zeros((), device=self._model.output_weight.device)
        n_seen, n_unsaid = 0, 0
        for batch in self._train_batches(epoch):
            loss = self._train_step(batch)
            n = len(batch.full)
            total += loss * n
            n_seen, n_unsaid = n_seen + n, n_unsaid + n
            if self._step % _NOTE_EVERY_STEPS == 0:
                task.advance(n_unsaid, f"loss {self._finite(loss):.4f}")
                n_unsaid = 0
        task.advance(n_unsaid)
        return self._finite(total) / n_seen

    def _train_step(self, batch: MaskedBatch) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self._step)
        self._optimizer.zero_grad(set_to_none=True)
        loss = _loss(self._model, batch)
        # The sum over the vocabulary: gradients of the mean over it are too small for the clipping to do anything.
        (loss * self._model.dimensions.output_dim).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.gradient_clip)
        self._optimizer.step()
        self._step += 1
        return loss.detach()

    def _train_batches(self, epoch: int) -> Iterator[MaskedBatch]:
        rng = np.random.default_rng([self._recipe.seed, _TRAIN_STREAM, epoch])
        rows = rng.permutation(self._train_rows)
        for pool in np.split(rows, np.arange(_POOL_BUILDS, rows.size, _POOL_BUILDS)):
            masked = _masked(self._builds, pool, self._vocabulary, self._recipe, rng)
            yield from masked.batches(self._recipe.batch_size, rng)

    def _rate(self, step: int) -> float:
        """The learning rate of a step: a straight rise, then half a cosine down to 0."""
        n_warmup = max(1, round(self._recipe.warmup_share * self._n_steps))
        if step < n_warmup:
            return self._recipe.learning_rate * (step + 1) / n_warmup
        gone = (step - n_warmup) / max(1, self._n_steps - n_warmup)
        return self._recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * gone))

    def _remember(self, done: EpochMetrics) -> None:
        self.epochs.append(done)
        if len(self.epochs) == 1 or done.validation_loss < self.best.validation_loss:
            self.best = done
            self._best_weights = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}

    def _finite(self, loss: Tensor | float) -> float:
        value = float(loss)
        if not math.isfinite(value):
            raise InputError(
                f"the loss is {value} at step {self._step}: learning_rate {self._recipe.learning_rate} is too high "
                "for this recipe, lower it"
            )
        return value


def validation_builds(builds: Builds, vocabulary: Vocabulary, recipe: BaseTrainingRecipe) -> MaskedBuilds:
    """The masked validation builds on which a training with this recipe is judged."""
    rng = np.random.default_rng([recipe.seed, _VALIDATION_STREAM])
    return _masked(builds, builds.rows_of("validation"), vocabulary, recipe, rng)


def masked_loss(model: SplatGPT, masked: MaskedBuilds) -> float:
    """The mean binary cross entropy over all masked builds, nats per token of the vocabulary."""
    total = 0.0
    with torch.no_grad():
        for batch in masked.batches(_EVALUATION_BATCH_SIZE):
            total += float(_loss(model, batch)) * len(batch.full)
    return total / masked.builds.n_builds


def _loss(model: SplatGPT, batch: MaskedBatch) -> Tensor:
    logits = model(torch.from_numpy(batch.ability_tokens), torch.from_numpy(batch.weapon_token))
    return F.binary_cross_entropy_with_logits(logits, torch.from_numpy(batch.full).to(logits.device))


def _masked(
    builds: Builds,
    rows: npt.NDArray[np.int64],
    vocabulary: Vocabulary,
    recipe: BaseTrainingRecipe,
    rng: np.random.Generator,
) -> MaskedBuilds:
    return mask_builds(builds.take(rows), vocabulary, rng, skew=recipe.mask_skew, null_share=recipe.null_share)


def _pool_sizes(n_rows: int) -> list[int]:
    return [min(_POOL_BUILDS, n_rows - start) for start in range(0, n_rows, _POOL_BUILDS)]
