"""Time SAE training steps against the bare encoder product: `python -m benchmarks.sae_training`.

Planted sparse activations, fixed seed. Before each step the bare product of the same batch and encoder is timed, so that
both are measured under the same load; shown are medians, the interquartile range, and the ratio of the medians. Where
SAELens is installed, its BatchTopK step runs on the same batches. Ratios are comparable between machines, seconds are not.
"""

import importlib.util
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import click
import numpy as np
import torch

from splat_assets.sae.recipe import SaeRecipe
from splat_assets.sae.training.dense_step import DenseStep
from splat_assets.sae.training.fused_step import FusedStep
from splat_assets.sae.training.state import TrainingState, initial_state, measure_inputs
from splat_assets.sae.training.step import Step, StepSettings
from splat_assets.text.numerals import number, whole

_N_BATCHES = 6
_WARM_UP_STEPS = 2
_NEVER = 1 << 60


@dataclass(frozen=True)
class Sizes:
    """Sizes of the SAE and the batch."""

    d_in: int
    d_sae: int
    k: int
    batch_size: int

    def __str__(self) -> str:
        return f"{self.d_in} -> {self.d_sae:,}, k {self.k}, batch {self.batch_size:,}"


@click.command()
@click.option("--d-in", default=512, type=whole(), show_default=True)
@click.option("--d-sae", default=24_576, type=whole(), show_default=True)
@click.option("--k", default=64, type=whole(), show_default=True)
@click.option("--batch-size", default=4_096, type=whole(), show_default=True)
@click.option("--n-steps", default=7, type=whole(), show_default=True, help="Timed steps of each kind.")
@click.option(
    "--dead-percent",
    default=10.0,
    type=number(),
    show_default=True,
    help="Percent of dead features in the row with dead features.",
)
@click.option("--relu/--no-relu", default=False, show_default=True, help="Also time the dense step of relu_l1.")
def main(d_in: int, d_sae: int, k: int, batch_size: int, n_steps: int, dead_percent: float, relu: bool) -> None:
    """Print samples a second of each step and its share of the bare product's rate."""
    click.echo(f"{torch.get_num_threads()} threads; spread: lower to upper quartile")
    click.echo("| sizes | step | samples/s | spread | rate relative to the bare product |")
    click.echo("|---|---|---|---|---|")
    full = Sizes(d_in, d_sae, k, batch_size)
    _compare(full, n_steps, dead_percent, relu)
    for width in (1_024, 2_048):
        _compare(Sizes(64, width, 16, 1_024), 40, dead_percent, relu=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    click.echo(f"peak memory {peak / 1e9:.2f} GB")
    if importlib.util.find_spec("sae_lens") is None:
        click.echo("SAELens is not installed; `pip install sae-lens` adds it to the table")
        return
    _compare_saelens(full, n_steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    click.echo(f"peak memory with SAELens {peak / 1e9:.2f} GB")


def _compare(sizes: Sizes, n_steps: int, dead_percent: float, relu: bool) -> None:
    recipe, state, batches = _training(sizes)
    settings = _settings(recipe)
    _row(sizes, "batch_topk, none dead", *_timed(state, batches, FusedStep(), settings, n_steps))
    n_dead = _let_die(state, dead_percent)
    some_dead = replace(settings, dead_after=_NEVER // 2)
    _row(sizes, f"batch_topk, {n_dead:,} dead", *_timed(state, batches, FusedStep(), some_dead, n_steps))
    if relu:
        recipe, state, batches = _training(sizes, "relu_l1")
        with_l1 = replace(_settings(recipe), l1_weight=1e-2)
        _row(sizes, "relu_l1", *_timed(state, batches, DenseStep(), with_l1, n_steps))


def _training(sizes: Sizes, architecture: str = "batch_topk") -> tuple[SaeRecipe, TrainingState, list[torch.Tensor]]:
    rng = np.random.default_rng(0)
    n_rows, n_true = _N_BATCHES * sizes.batch_size, 4 * sizes.d_in
    directions = rng.standard_normal((n_true, sizes.d_in), dtype=np.float32)
    present = rng.random((n_rows, n_true), dtype=np.float32) < sizes.k / n_true / 2
    x = (present * rng.random((n_rows, n_true), dtype=np.float32)) @ directions + 1
    statistics = measure_inputs(x, np.arange(n_rows))
    recipe = SaeRecipe(architecture=architecture, d_sae=sizes.d_sae, k=sizes.k).checked_for(sizes.d_in)
    state = initial_state(recipe, statistics, x[:1024])
    scaled = torch.from_numpy(x * np.float32(statistics.scale))
    return recipe, state, list(scaled.split(sizes.batch_size))


def _settings(recipe: SaeRecipe) -> StepSettings:
    return StepSettings(
        learning_rate=1e-4, k=recipe.k, aux_k=recipe.aux_k or 0, aux_coeff=recipe.aux_coeff, dead_after=_NEVER,
        beta1=recipe.adam_beta1, beta2=recipe.adam_beta2, clip_norm=recipe.clip_norm,
    )  # fmt: skip


def _let_die(state: TrainingState, percent: float) -> int:
    """Make some features too faint to be selected, and mark them as silent for long."""
    dead = torch.arange(state.b_enc.numel()) < state.b_enc.numel() * percent / 100
    state.encoder[dead] *= 0.2
    state.silent_for[dead] = _NEVER
    return int(dead.sum())


def _timed(
    state: TrainingState, batches: list[torch.Tensor], step: Step, settings: StepSettings, n_steps: int
) -> tuple[int, list[float], list[float]]:
    """Rows per batch, seconds of the bare products, and seconds of the steps, in turn."""
    out = torch.empty(len(batches[0]), state.encoder.shape[0])
    bare, steps = [], []
    for i in range(_WARM_UP_STEPS + n_steps):
        x = batches[i % len(batches)]
        bare.append(_seconds(lambda x=x: torch.mm(x, state.encoder.t(), out=out)))
        steps.append(_seconds(lambda x=x: step(state, x, settings)))
    return len(batches[0]), bare[_WARM_UP_STEPS:], steps[_WARM_UP_STEPS:]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _row(sizes: Sizes, name: str, n_rows: int, bare: list[float], steps: list[float]) -> None:
    low, middle, high = (n_rows / np.quantile(steps, q) for q in (0.75, 0.5, 0.25))
    share = float(np.median(bare) / np.median(steps))
    click.echo(f"| {sizes} | {name} | {middle:,.0f} | {low:,.0f} to {high:,.0f} | {share:.2f} |")


def _compare_saelens(sizes: Sizes, n_steps: int) -> None:
    """SAELens' own trainer on the same batches; the bare product is timed while it waits for the next batch."""
    from sae_lens import (  # type: ignore[import-not-found,unused-ignore]
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        SAETrainer,
    )
    from sae_lens.config import SAETrainerConfig  # type: ignore[import-not-found,unused-ignore]

    _, state, batches = _training(sizes)
    out = torch.empty(sizes.batch_size, sizes.d_sae)
    bare: list[float] = []
    steps: list[float] = []

    def timed_batches() -> Iterator[torch.Tensor]:
        i = 0
        while True:
            x = batches[i % len(batches)]
            bare.append(_seconds(lambda x=x: torch.mm(x, state.encoder.t(), out=out)))
            began = time.perf_counter()
            yield x
            steps.append(time.perf_counter() - began)
            i += 1

    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=(_WARM_UP_STEPS + n_steps + 1) * sizes.batch_size,
            train_batch_size_samples=sizes.batch_size,
            lr_end=3e-5,
        ),
        sae=BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=sizes.d_in, d_sae=sizes.d_sae, k=sizes.k)),
        data_provider=timed_batches(),
    )
    trainer.fit()
    n_rows = sizes.batch_size
    _row(sizes, "SAELens BatchTopK", n_rows, bare[_WARM_UP_STEPS : len(steps)], steps[_WARM_UP_STEPS:])


if __name__ == "__main__":
    main()
