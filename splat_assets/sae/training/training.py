"""Training an SAE on stored activations, from the first step to the files: resumable, and the same bytes however often killed."""

import dataclasses
import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from splat_assets.errors import InputError
from splat_assets.sae.autoencoder import Sae
from splat_assets.sae.evaluate import reconstruction_metrics
from splat_assets.sae.formats import load_sae, save_sae
from splat_assets.sae.recipe import SaeRecipe
from splat_assets.sae.training.calibration import calibrated_threshold
from splat_assets.sae.training.checkpoints import Checkpoints, Finished, Progressed
from splat_assets.sae.training.dense_step import DenseStep
from splat_assets.sae.training.fused_step import FusedStep
from splat_assets.sae.training.monitoring import METRICS_SCHEMA, Monitor, dead_percent, decoder_movement
from splat_assets.sae.training.schedule import Batches, Schedule, evenly_spaced_rows
from splat_assets.sae.training.state import (
    InputStatistics,
    TrainingState,
    check_held_out,
    initial_state,
    measure_inputs,
)
from splat_assets.sae.training.step import AutogradStep, Step, StepSettings, batch_topk_loss, relu_l1_loss
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import remove_leftovers, replacing_file, sha256_of_json
from splat_assets.text.progress import Progress, SilentProgress, Task

METRICS_NAME = "metrics.parquet"
_CHECKPOINT_SHARE = 0.05
_INITIAL_ROWS = 1024


@dataclass(frozen=True, slots=True)
class TrainedSae:
    """A trained SAE, where its metrics are, and the figures of its end (held-out rows, gamma, decoder movement)."""

    sae: Sae
    metrics_path: Path
    summary: dict[str, Any]


def train_sae(
    activations: npt.NDArray[np.float32],
    train_rows: npt.NDArray[np.int64],
    held_out_rows: npt.NDArray[np.int64],
    recipe: SaeRecipe,
    save_dir: Path,
    *,
    provenance: dict[str, Any],
    progress: Progress | None = None,
    resume: bool = True,
    device: str = "cpu",
    step: Step | None = None,
) -> TrainedSae:
    """Train an SAE and write it, its metrics and its training state below save_dir.

    On one machine with one number of threads, an interrupted and resumed training gives the same bytes as an undisturbed one.

    Args:
        activations: float32, shape (n, d_in), an array or a memory map; rows are gathered a batch at a time.
        train_rows: int64, shape (n_train,): rows to train on.
        held_out_rows: int64, shape (n_held_out,): rows to calibrate the threshold and to measure on.
        recipe: the settings of the training.
        save_dir: folder of the SAE, metrics.parquet and the training state.
        provenance: JSON values that identify the activations; recorded, and a resumed training must agree with them.
        progress: where to report progress, in rows.
        resume: continue from a checkpoint in save_dir, or return the finished SAE of the same training; else start over.
        device: where torch computes.
        step: another implementation of a training step. [default: by architecture and device]

    Returns:
        The trained SAE, the path of its metrics, and a summary of the training.

    Raises:
        InputError: the rows or the recipe cannot be trained on.
        FingerprintMismatchError: save_dir holds the state of another training.

    Examples:
        >>> import tempfile
        >>> x = np.random.default_rng(0).random((300, 4), dtype=np.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recipe = SaeRecipe(d_sae=8, k=2, epochs=1, batch_size=100)
        ...     trained = train_sae(x, np.arange(250), np.arange(250, 300), recipe, Path(folder), provenance={})
        >>> trained.sae.d_sae, trained.summary["n_steps"], 1.5 < trained.summary["held_out"]["l0_mean"] <= 2
        (8, 3, True)
    """
    recipe = recipe.checked_for(activations.shape[1] if activations.ndim == 2 else 0)
    statistics = measure_inputs(activations, train_rows)
    check_held_out(activations, held_out_rows)
    checkpoints = Checkpoints(save_dir, _fingerprint(recipe, statistics, held_out_rows, provenance))
    remove_leftovers(save_dir)
    if not resume:
        checkpoints.discard()
    finished = checkpoints.finished()
    if finished is not None:
        checkpoints.drop()
        return TrainedSae(_sae_of(finished, save_dir), save_dir / METRICS_NAME, finished.summary)
    training = _Training(activations, train_rows, held_out_rows, recipe, statistics, device, step)
    progressed = checkpoints.restore() or Progressed(training.initial_state())
    progressed.state = progressed.state.to(device)
    n_samples, done_before = training.schedule.n_samples, training.n_seen(progressed.state)
    with (progress or SilentProgress()).task("train SAE", n_samples, "rows", done_before) as task:
        training.run(progressed, checkpoints, task)
    sae, summary = training.result(progressed.state, provenance)
    save_sae(sae, save_dir)
    with replacing_file(save_dir / METRICS_NAME) as aside:
        pl.DataFrame(progressed.metrics, schema=METRICS_SCHEMA).write_parquet(aside)
    checkpoints.finish(sae.fingerprint, summary)
    return TrainedSae(sae, save_dir / METRICS_NAME, summary)


def _sae_of(finished: Finished, save_dir: Path) -> Sae:
    sae = load_sae(save_dir)
    if sae.fingerprint != finished.sae:
        raise FingerprintMismatchError(
            f"{save_dir} holds another SAE than the training that finished there made",
            finished.sae,
            sae.fingerprint,
            "restore its files, or start over without resuming",
        )
    return sae


def _fingerprint(
    recipe: SaeRecipe, statistics: InputStatistics, held_out_rows: npt.NDArray[np.int64], provenance: dict[str, Any]
) -> str:
    held_out = hashlib.sha256(held_out_rows.astype(np.int64).tobytes()).hexdigest()
    inputs = {"training_rows": statistics.fingerprint, "held_out_rows": held_out, "provenance": provenance}
    return sha256_of_json({"recipe": recipe.as_json(), **inputs})


class _Training:
    """The loop over steps, and what becomes of the state at its end."""

    def __init__(
        self,
        activations: npt.NDArray[np.float32],
        train_rows: npt.NDArray[np.int64],
        held_out_rows: npt.NDArray[np.int64],
        recipe: SaeRecipe,
        statistics: InputStatistics,
        device: str,
        step: Step | None,
    ) -> None:
        self.schedule = Schedule(recipe, train_rows.size)
        self._activations = activations
        self._train_rows = train_rows
        self._recipe = recipe
        self._statistics = statistics
        self._device = device
        self._step = step or default_step(recipe, device)
        self._dead_after = recipe.dead_after(train_rows.size)
        self._batches = Batches(activations, train_rows, self.schedule)
        self._scale = float(np.float32(statistics.scale))
        self._calibration_rows = evenly_spaced_rows(held_out_rows, recipe.calibration_rows)
        watched = activations[evenly_spaced_rows(held_out_rows, recipe.evaluation_rows)]
        self._monitor = Monitor(recipe, np.asarray(watched, dtype=np.float32) * np.float32(self._scale))

    def initial_state(self) -> TrainingState:
        """The state before the first step."""
        sample = self._activations[evenly_spaced_rows(self._train_rows, _INITIAL_ROWS)]
        return initial_state(self._recipe, self._statistics, np.asarray(sample, dtype=np.float32))

    def n_seen(self, state: TrainingState) -> int:
        """Rows up to the state's step, repeats among them."""
        return self.schedule.samples_after(state.step - 1) if state.step else 0

    def run(self, progressed: Progressed, checkpoints: Checkpoints, task: Task) -> None:
        """Take every step that is left, with metrics and checkpoints on the way."""
        state = progressed.state
        clock = _CheckpointClock(self._recipe.checkpoint_every_seconds)
        for step in range(state.step, self.schedule.n_steps):
            x = torch.from_numpy(self._batches.of_step(step) * np.float32(self._scale)).to(self._device)
            outcome = self._step(state, x, self._settings(step))
            self._refuse_divergence(outcome.loss, step)
            self._monitor.add(progressed.since, outcome, x.shape[0])
            last = state.step == self.schedule.n_steps
            if last or state.step % self.schedule.evaluate_every == 0:
                row = self._monitor.row(state, progressed.since, self._facts(step), self._dead_after)
                self._refuse_divergence(row["fvu_held_out"], step)
                progressed.metrics.append(row)
                progressed.since.clear()
            if last or clock.due():
                with clock.writing():
                    checkpoints.save(progressed)
            task.advance(x.shape[0], _note(progressed.metrics))

    def _refuse_divergence(self, error: float, step: int) -> None:
        if not math.isfinite(error):
            raise InputError(f"the error is {error} at step {step}: lower the learning rate ({self._recipe.lr})")

    def _settings(self, step: int) -> StepSettings:
        recipe = self._recipe
        return StepSettings(
            learning_rate=self.schedule.learning_rate(step),
            k=recipe.k,
            aux_k=recipe.aux_k or 0,
            aux_coeff=recipe.aux_coeff,
            dead_after=self._dead_after,
            beta1=recipe.adam_beta1,
            beta2=recipe.adam_beta2,
            clip_norm=recipe.clip_norm,
            l1_weight=self.schedule.l1_weight(step),
        )

    def _facts(self, step: int) -> dict[str, Any]:
        return {
            "step": step + 1,
            "samples": self.schedule.samples_after(step),
            "epoch": (step + 1) / self.schedule.batches_per_epoch,
            "lr": self.schedule.learning_rate(step),
            "l1_coeff": self.schedule.l1_weight(step),
        }

    def result(self, state: TrainingState, provenance: dict[str, Any]) -> tuple[Sae, dict[str, Any]]:
        """The SAE in the units of the activations, and its figures on held-out rows."""
        state = state.to("cpu")
        scale = self._scale
        sae = Sae(
            encoder=state.encoder,
            b_enc=state.b_enc / scale,
            W_dec=state.decoder,
            b_dec=state.b_dec / scale,
            threshold=torch.zeros_like(state.b_enc),
            architecture="relu",
            metadata={
                "trained_as": self._recipe.architecture,
                "recipe": self._recipe.as_json(),
                "provenance": provenance,
            },
        )
        if self._recipe.architecture == "batch_topk":
            threshold = calibrated_threshold(sae, self._activations, self._calibration_rows, self._recipe.k)
            thresholds = torch.full_like(sae.threshold, threshold)
            sae = dataclasses.replace(sae, threshold=thresholds, architecture="jumprelu")
        live = (state.silent_for < self._dead_after).numpy()
        movement = decoder_movement(sae, live)
        held_out = reconstruction_metrics(sae, self._activations, self._calibration_rows)
        summary = {
            "gamma": self._statistics.gamma,
            "scale": self._statistics.scale,
            "n_train_rows": self.schedule.n_rows,
            "n_steps": self.schedule.n_steps,
            "dead_after_samples": self._dead_after,
            "dead_percent": dead_percent(state, self.schedule.n_samples, self._dead_after),
            "decoder_cosine_to_init": movement.median,
            "decoder_trained": movement.trained,
            "threshold": float(sae.threshold[0]),
            "held_out": held_out,
        }
        return dataclasses.replace(sae, metadata=sae.metadata | {"training": summary}), summary


def default_step(recipe: SaeRecipe, device: str) -> Step:
    """How a step of this recipe is computed on this device."""
    if recipe.architecture == "relu_l1":
        return DenseStep() if device == "cpu" else AutogradStep(relu_l1_loss)
    return FusedStep() if device == "cpu" else AutogradStep(batch_topk_loss)


def calibration_rows(held_out_rows: npt.NDArray[np.int64], sae: Sae) -> npt.NDArray[np.int64]:
    """The held-out rows that the SAE's threshold was calibrated on; InputError for one that records no recipe."""
    recipe = sae.metadata.get("recipe")
    if not isinstance(recipe, dict) or not isinstance(recipe.get("calibration_rows"), int):
        raise InputError("this SAE does not record on how many rows its threshold was calibrated")
    return evenly_spaced_rows(held_out_rows, recipe["calibration_rows"])


def _note(metrics: list[dict[str, Any]]) -> str:
    if not metrics:
        return ""
    dead = metrics[-1]["dead_percent"]
    return f"fvu {metrics[-1]['fvu_held_out']:.3f}" + ("" if dead is None else f", dead {dead:.1f} %")


class _CheckpointClock:
    """When the next checkpoint is due: after the wanted time, and not so soon that writing takes more than 5 %; 0 is always."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._last = time.monotonic()
        self._took = 0.0

    def due(self) -> bool:
        wait = max(self._every_seconds, self._took / _CHECKPOINT_SHARE) if self._every_seconds else 0
        return time.monotonic() - self._last >= wait

    @contextmanager
    def writing(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._last = time.monotonic()
        self._took = self._last - began
