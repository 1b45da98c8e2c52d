"""Training of a SplatGPT: masked builds in, the full set asked back.

Deterministic for a seed on one machine with one number of threads. The weights of the epoch with the lowest validation loss
are kept, and the folder appears whole or not at all.
"""

import json
import logging
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from splat_assets.model.checkpoint import PARAMS_FILE, VOCAB_FILE, WEAPON_VOCAB_FILE, save_base_model
from splat_assets.model.dimensions import SplatGPTDimensions
from splat_assets.model.initial import initial_model
from splat_assets.model.masking import MaskedBatch, MaskedBuilds, mask_builds
from splat_assets.model.prediction import PredictionMetrics, prediction_metrics, token_frequency
from splat_assets.model.recipe import BaseTrainingRecipe
from splat_assets.model.splatgpt import SplatGPT
from splat_assets.progress import Progress, SilentProgress, Task
from splat_assets.store.files import replacing_folder, write_json
from splat_assets.store.vocabulary import Contexts, Vocabulary

METRICS_FILE = "training_metrics.json"
FILES = ("model.pth", PARAMS_FILE, METRICS_FILE, VOCAB_FILE, WEAPON_VOCAB_FILE)

_POOL_BUILDS = 1 << 16  # masked and sorted by length together
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


@dataclass(frozen=True, slots=True)
class TrainedBaseModel:
    """What a training gave: the frozen model, where it is, how it went, and how it predicts held-out builds.

    held_out: scores on the test split, or on the validation split where builds have no test split.
    """

    model: SplatGPT
    folder: Path
    epochs: tuple[EpochMetrics, ...]
    best_epoch: int
    stopped_early: bool
    held_out: PredictionMetrics


def train_base_model(
    builds: Builds,
    vocabulary: Vocabulary,
    contexts: Contexts,
    recipe: BaseTrainingRecipe,
    save_dir: Path,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> TrainedBaseModel:
    """Train on the train split and write model.pth, model_params.json, training_metrics.json and both vocabularies.

    Raises InputError when builds have no train or validation split, when save_dir holds something this does not write, or
    when the loss stops being finite.
    """
    refuse_foreign_files(save_dir)
    for split in ("train", "validation"):
        if not builds.rows_of(split).size:
            raise InputError(
                f"none of the {builds.n_builds} builds is in the {split} split; split them before training"
            )
    training = _Training(builds, vocabulary, contexts, recipe, usable_device(device))
    training.run(progress or SilentProgress())
    model = training.best_model()
    held_out = builds.rows_of("test") if builds.rows_of("test").size else builds.rows_of("validation")
    scores = prediction_metrics(model, builds, held_out, vocabulary, seed=recipe.seed, skew=recipe.mask_skew)
    trained = TrainedBaseModel(
        model, save_dir, tuple(training.epochs), training.best.epoch, training.stopped_early, scores
    )
    _save(trained, builds, vocabulary, contexts, recipe)
    return trained


def usable_device(name: torch.device | str) -> torch.device:
    """The device of this name; raises InputError where torch cannot compute on it here."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"torch cannot compute on the device {str(name)!r} here: {str(error).splitlines()[0]}"
        ) from error


def refuse_foreign_files(save_dir: Path) -> None:
    """Raise InputError unless save_dir can be replaced: absent, or holding nothing but what a training writes."""
    if save_dir.exists() and not save_dir.is_dir():
        raise InputError(f"{save_dir} is a file; name a folder to save the model in")
    foreign = sorted(path.name for path in save_dir.iterdir() if path.name not in FILES) if save_dir.is_dir() else []
    if foreign:
        raise InputError(
            f"{save_dir} already holds {', '.join(foreign[:3])}, which a training does not write and would remove; "
            "name a new folder"
        )


class _Training:
    """The state of one training."""

    def __init__(
        self,
        builds: Builds,
        vocabulary: Vocabulary,
        contexts: Contexts,
        recipe: BaseTrainingRecipe,
        device: torch.device,
    ) -> None:
        self._builds, self._vocabulary, self._recipe, self._device = builds, vocabulary, recipe, device
        frequency = token_frequency(builds.take(builds.rows_of("train")), len(vocabulary))
        dimensions = _dimensions(vocabulary, contexts, recipe)
        self._model = initial_model(dimensions, vocabulary.pad_id, frequency, recipe.seed).to(device)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self._train_rows = np.repeat(builds.rows_of("train"), recipe.instances_per_build)
        self._n_steps = recipe.epochs * sum(-(-n // recipe.batch_size) for n in _pool_sizes(self._train_rows.size))
        self._step = 0
        self._validation = self._masked(builds.rows_of("validation"), np.random.default_rng([recipe.seed, 1]))
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
                self._model.eval()
                done = EpochMetrics(epoch, train_loss, self._validation_loss(), self._rate(self._step - 1))
                self._remember(done)
                task.advance(0, f"validation loss {done.validation_loss:.4f}")
                logger.info("epoch %d: train loss %.4f, validation loss %.4f", epoch, train_loss, done.validation_loss)
                if epoch - self.best.epoch >= self._recipe.patience and epoch < self._recipe.epochs:
                    self.stopped_early = True
                    return

    def best_model(self) -> SplatGPT:
        """The model of the best epoch, frozen."""
        self._model.load_state_dict(self._best_weights)
        return self._model.eval().requires_grad_(False)

    def _train_epoch(self, epoch: int, task: Task) -> float:
        self._model.train()
        total = torch.zeros((), device=self._device)
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
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.gradient_clip)
        self._optimizer.step()
        self._step += 1
        return loss.detach()

    def _loss(self, batch: MaskedBatch) -> Tensor:
        logits = self._model(torch.from_numpy(batch.ability_tokens), torch.from_numpy(batch.weapon_token))
        return F.binary_cross_entropy_with_logits(logits, torch.from_numpy(batch.full).to(self._device))

    def _validation_loss(self) -> float:
        """The loss on the same masked validation builds every time."""
        total, n_seen = 0.0, 0
        with torch.no_grad():
            for batch in self._validation.batches(self._recipe.batch_size):
                total += float(self._loss(batch)) * len(batch.full)
                n_seen += len(batch.full)
        return total / n_seen

    def _train_batches(self, epoch: int) -> Iterator[MaskedBatch]:
        rng = np.random.default_rng([self._recipe.seed, _TRAIN_STREAM, epoch])
        rows = rng.permutation(self._train_rows)
        for pool in np.split(rows, np.arange(_POOL_BUILDS, rows.size, _POOL_BUILDS)):
            yield from self._masked(pool, rng).batches(self._recipe.batch_size, rng)

    def _masked(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> MaskedBuilds:
        recipe = self._recipe
        chosen = self._builds.take(rows)
        return mask_builds(chosen, self._vocabulary, rng, skew=recipe.mask_skew, null_share=recipe.null_share)

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

    def _finite(self, loss: Tensor) -> float:
        value = float(loss)
        if not math.isfinite(value):
            raise InputError(
                f"the training loss is {value} at step {self._step}: learning_rate {self._recipe.learning_rate} is too high "
                "for this recipe, lower it"
            )
        return value


def _dimensions(vocabulary: Vocabulary, contexts: Contexts, recipe: BaseTrainingRecipe) -> SplatGPTDimensions:
    return SplatGPTDimensions(
        vocab_size=len(vocabulary),
        weapon_vocab_size=len(contexts),
        embedding_dim=recipe.embedding_dim,
        hidden_dim=recipe.hidden_dim,
        output_dim=len(vocabulary),
        num_layers=recipe.num_layers,
        num_heads=recipe.num_heads,
        num_inducing_points=recipe.num_inducing_points,
        use_layer_norm=recipe.use_layer_norm,
    )


def _pool_sizes(n_rows: int) -> list[int]:
    return [min(_POOL_BUILDS, n_rows - start) for start in range(0, n_rows, _POOL_BUILDS)]


def _save(
    trained: TrainedBaseModel, builds: Builds, vocabulary: Vocabulary, contexts: Contexts, recipe: BaseTrainingRecipe
) -> None:
    metrics = {
        "recipe": asdict(recipe),
        "epochs": [asdict(epoch) for epoch in trained.epochs],
        "best_epoch": trained.best_epoch,
        "stopped_early": trained.stopped_early,
        "held_out": asdict(trained.held_out),
        "fingerprint": trained.model.fingerprint,
        "inputs": {
            "builds": builds.fingerprint,
            "vocabulary": vocabulary.fingerprint,
            "contexts": contexts.fingerprint,
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    with replacing_folder(trained.folder) as aside:
        _write_ids(aside / VOCAB_FILE, {token.name: token.id for token in vocabulary.tokens})
        _write_ids(aside / WEAPON_VOCAB_FILE, {item.key: item.id for item in contexts.items})
        write_json(aside / METRICS_FILE, metrics)
        save_base_model(trained.model, aside)


def _write_ids(path: Path, ids: Mapping[str, int]) -> None:
    """In id order, as such files are."""
    path.write_text(json.dumps(ids, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
