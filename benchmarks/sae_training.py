"""Time a BatchTopK training step against its one encoder product: `python -m benchmarks.sae_training`.

Sizes are the reference ones (512 -> 24,576, k = 64, 4,096 rows a step) and the demo's. The bare product is x @ W_enc into a
buffer that is there already, in turn with the steps of the same run. Where SAELens is installed its BatchTopK training step is
timed in the same run too. Samples are sparse mixtures of random directions; the seed is fixed.
"""

import importlib.util
import resource
import statistics
import time
from collections.abc import Callable

import click
import numpy as np
import torch

from splat_assets.sae.fused_step import FusedStep
from splat_assets.sae.inputs import InputStatistics
from splat_assets.sae.recipe import SaeRecipe
from splat_assets.sae.state import TrainingState, initial_state
from splat_assets.sae.step import StepSettings

_SIZES = ((512, 24_576, 64, 4_096), (64, 1_024, 16, 1_024))
_NEVER = 2**62


@click.command()
@click.option("--steps", default=8, show_default=True, help="Counted steps, after three that warm up.")
def main(steps: int) -> None:
    """Print samples a second and their share of the bare product's."""
    click.echo(f"{torch.get_num_threads()} threads, medians of {steps}")
    click.echo("| size | what | ms a step | samples/s | share of the bare product's rate |")
    click.echo("|---|---|---|---|---|")
    for d_in, d_sae, k, n_rows in _SIZES:
        batches = _batches(d_in, n_rows)
        state, settings = _state(d_in, d_sae, k, batches[0])
        step, out = FusedStep(), torch.empty(n_rows, d_sae)
        timed: dict[str, Callable[[torch.Tensor], object]] = {
            "bare encoder product": lambda x, state=state, out=out: torch.mm(x, state.encoder.t(), out=out),
            "training step": lambda x, state=state, step=step, settings=settings: step(state, x, settings),
        }
        if importlib.util.find_spec("sae_lens") is not None:
            timed["SAELens step"] = _sae_lens_step(d_in, d_sae, k)
        seconds = _in_turn(timed, batches, steps)
        for what, median in seconds.items():
            share = seconds["bare encoder product"] / median
            size = f"{d_in} -> {d_sae:,}, k {k}, {n_rows:,} rows"
            click.echo(f"| {size} | {what} | {median * 1e3:,.1f} | {n_rows / median:,.0f} | {share:.2f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    click.echo(f"peak memory {peak / 1e9:.2f} GB")


def _in_turn(
    timed: dict[str, Callable[[torch.Tensor], object]], batches: list[torch.Tensor], steps: int
) -> dict[str, float]:
    """The median seconds of each, called in turn so that a drift of the machine meets all alike."""
    seconds: dict[str, list[float]] = {what: [] for what in timed}
    for i in range(steps + 3):
        for what, call in timed.items():
            began = time.perf_counter()
            call(batches[i % len(batches)])
            seconds[what].append(time.perf_counter() - began)
    return {what: statistics.median(times[3:]) for what, times in seconds.items()}


def _batches(d_in: int, n_rows: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2 * d_in, d_in, generator=generator)
    batches = []
    for _ in range(4):
        fires = torch.rand(n_rows, 2 * d_in, generator=generator) < 0.06
        x = (torch.randn(n_rows, 2 * d_in, generator=generator) * fires) @ directions
        batches.append(x / x.std())
    return batches


def _state(d_in: int, d_sae: int, k: int, sample: torch.Tensor) -> tuple[TrainingState, StepSettings]:
    """A state that has just begun, with no feature dead; a tiny learning rate keeps the steps alike."""
    recipe = SaeRecipe(d_sae=d_sae, k=k).checked_for(d_in)
    state = initial_state(recipe, InputStatistics(np.zeros(d_in), 1.0, 0.0, ""), sample[:256].numpy())
    settings = StepSettings(
        learning_rate=1e-6,
        k=k,
        aux_k=recipe.aux_k or 0,
        aux_coeff=recipe.aux_coeff,
        dead_after=_NEVER,
        beta1=recipe.adam_beta1,
        beta2=recipe.adam_beta2,
        clip_norm=recipe.clip_norm,
    )
    return state, settings


def _sae_lens_step(d_in: int, d_sae: int, k: int) -> Callable[[torch.Tensor], object]:
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.sae import TrainStepInput

    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=k))
    adam = torch.optim.Adam(sae.parameters(), lr=1e-6)
    mask = torch.zeros(d_sae, dtype=torch.bool)

    def step(x: torch.Tensor) -> None:
        adam.zero_grad()
        taken = TrainStepInput(sae_in=x, coefficients={}, dead_neuron_mask=mask, n_training_steps=0)
        sae.training_forward_pass(taken).loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()

    return step


if __name__ == "__main__":
    main()
