"""Measure a run's bytes and seconds at several sizes, fit the cost model, test it on another size: `python -m benchmarks.scale`.

Builds and the base model are synthetic (untrained weights cost as much as trained ones); the rest is the pipeline itself,
artifact by artifact. Coefficients are never negative (non-negative least squares on relative errors). With --write they go
to `splat_assets/compute/cost_model.json`, which `splat doctor` and `splat materialize` read; the table of the run that was
not fitted goes to standard output.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from scipy.optimize import nnls

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import bring_up_to_date
from splat_assets.compute.cost import (
    BYTES_BY,
    SECONDS_BY,
    Size,
    base_activation_bytes,
    expected_bytes,
    expected_seconds,
)
from splat_assets.data.demo import make_demo_inputs
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.model import SplatGPT, save_base_model
from splat_assets.model.dimensions import SplatGPTDimensions
from splat_assets.runs import ActivationsRecipe, RunConfig, create_run, hash_inputs
from splat_assets.sae import SaeRecipe
from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot
from splat_assets.store.receipts import read_receipt
from splat_assets.text.numerals import number, whole
from splat_assets.text.progress import SilentProgress

_SIZES = "6000x1024x16,12000x256x32,24000x768x16,36000x512x32"
_CHECKED = "48000x896x24"
_EPOCHS = 5
_MODEL = Path(__file__).parents[1] / "splat_assets" / "compute" / "cost_model.json"


@click.command()
@click.option(
    "--sizes", default=_SIZES, show_default=True, help="builds x features x k, separated by commas: to be fitted."
)
@click.option("--checked", default=_CHECKED, show_default=True, help="The one that the fit is checked on.")
@click.option("--write/--no-write", default=False, show_default=True, help="Whether the fit becomes the project's.")
@click.option("--expect", metavar="SIZE", help="Measure nothing: what a run of that size takes by the project's model.")
@click.option("--d-in", default=512, type=whole(), show_default=True, help="Width of the hook, with --expect.")
@click.option(
    "--epochs", default=1.0, type=number(), show_default=True, help="How often training sees a sample, with --expect."
)
def main(sizes: str, checked: str, write: bool, expect: str | None, d_in: int, epochs: float) -> None:
    """Print measured and expected cost of each artifact of the test size."""
    if expect is not None:
        _expect(*map(int, expect.split("x")), d_in, epochs)
        return
    measured = [_measured(*map(int, one.split("x"))) for one in sizes.split(",")]
    fit = {
        "bytes": {
            name: _fitted(by, [(one[0], one[1][name]["bytes"]) for one in measured]) for name, by in BYTES_BY.items()
        },
        "seconds": {
            name: _fitted(by, [(one[0], one[1][name]["seconds"]) for one in measured])
            for name, by in SECONDS_BY.items()
        },
    }
    if write:
        _MODEL.write_text(json.dumps(fit, indent=1) + "\n", encoding="utf-8")
    size, found = _measured(*map(int, checked.split("x")))
    click.echo(f"fitted to {sizes}; tested on {checked}: {size.n_samples:,.0f} samples, {size.n_active:.1f} active")
    click.echo("| artifact | bytes measured | expected | ratio | seconds measured | expected | ratio |")
    click.echo("|---|---:|---:|---:|---:|---:|---:|")
    sums = np.zeros(4)
    for name, one in found.items():
        row = [one["bytes"], _sum(fit["bytes"][name], size), one["seconds"], _sum(fit["seconds"][name], size)]
        sums += row
        click.echo(_row(name, row))
    click.echo(_row("all", sums.tolist()))


def _expect(n_samples: int, n_features: int, k: int, d_in: int, epochs: float) -> None:
    size = Size(n_samples, n_features, k, d_in, 140, epochs * n_samples, embeddings=False)
    click.echo(f"{n_samples:,} samples x {n_features:,} features, {k} active, width {d_in}, {epochs:g} epochs")
    click.echo("| artifact | GB | core-hours, two cores as measured |")
    click.echo("|---|---:|---:|")
    found = {name: (expected_bytes(name, size), expected_seconds(name, size)) for name in BYTES_BY}
    for name, (n_bytes, seconds) in found.items():
        click.echo(f"| {name} | {n_bytes / 1e9:,.1f} | {2 * seconds / 3600:,.1f} |")
    click.echo(f"| base activations (cache) | {base_activation_bytes(size) / 1e9:,.1f} | |")


def _row(name: str, found: list[float]) -> str:
    n_bytes, expected_bytes, seconds, expected_seconds = found
    return (
        f"| {name} | {n_bytes:,.0f} | {expected_bytes:,.0f} | {expected_bytes / max(n_bytes, 1):.2f} "
        f"| {seconds:.1f} | {expected_seconds:.1f} | {expected_seconds / max(seconds, 0.05):.2f} |"
    )


def _measured(n_builds: int, n_features: int, k: int) -> tuple[Size, dict[str, dict[str, float]]]:
    """A run of that size, and bytes and seconds of each of its artifacts."""
    scratch = Path(tempfile.mkdtemp())
    try:
        root = DataRoot(scratch)
        dataset, model = root.datasets / "scale", root.models / "scale"
        make_demo_inputs(dataset, n_builds=n_builds, seed=0)
        _save_model(dataset, model)
        recipe = SaeRecipe(d_sae=n_features, k=k, epochs=_EPOCHS, batch_size=512)
        config = RunConfig(
            inputs=hash_inputs(model, None, None, dataset / "tokenized_data.csv"),
            sae=recipe,
            activations=ActivationsRecipe(shard_items=8_192),
        )
        run = create_run(root, "scale", config)
        found: dict[str, dict[str, float]] = {}
        for asset in ASSETS:
            began = time.monotonic()
            receipt = bring_up_to_date(asset, run, SilentProgress())
            found[asset.name] = {"bytes": receipt.size_bytes, "seconds": time.monotonic() - began}
        store = open_store(run.layout.root)
        trained = read_receipt(run.layout.receipts, "sae_checkpoint")
        influences = read_receipt(run.layout.receipts, "influences")
        assert trained is not None and influences is not None
        size = Size(
            n_samples=store.n_samples,
            n_features=store.n_features,
            n_active=store.reader.nnz / store.n_samples,
            d_in=float(trained.facts["d_in"]),
            n_outputs=float(str(influences.facts["shape"]).split("x")[1].replace(",", "").strip().split()[0]),
            n_seen=_EPOCHS * n_builds * 0.8,
        )
        click.echo(
            f"{n_builds:,} x {n_features:,}, k {k}: {sum(one['seconds'] for one in found.values()):.0f} s", err=True
        )
        return size, found
    finally:
        shutil.rmtree(scratch)


def _fitted(by: tuple[str, ...], measured: list[tuple[Size, float]]) -> dict[str, float]:
    """Non-negative coefficients of the drivers, of the least relative squared error."""
    matrix = np.array([[size.drivers[name] for name in by] for size, _ in measured])
    values = np.array([max(value, 1e-3) for _, value in measured])
    scaled = matrix / values[:, None]
    scale = scaled.max(axis=0)
    found, _ = nnls(scaled / scale, np.ones(len(values)))
    return {name: float(value) for name, value in zip(by, found / scale, strict=True) if value > 0}


def _sum(coefficients: dict[str, float], size: Size) -> float:
    return sum(value * size.drivers[name] for name, value in coefficients.items())


def _save_model(dataset: Path, folder: Path) -> None:
    """A seeded SplatGPT, as wide as the demo's."""
    vocabulary, contexts = read_vocabulary(dataset / "vocab.json"), read_contexts(dataset / "weapon_vocab.json")
    dimensions = SplatGPTDimensions(
        vocab_size=len(vocabulary), weapon_vocab_size=len(contexts), embedding_dim=32, hidden_dim=64,
        output_dim=len(vocabulary), num_layers=2, num_heads=4, num_inducing_points=16, use_layer_norm=True,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    model: Any = SplatGPT(dimensions, pad_id=vocabulary.pad_id)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    save_base_model(model, folder)
    for name in ("vocab.json", "weapon_vocab.json"):
        shutil.copyfile(dataset / name, folder / name)


if __name__ == "__main__":
    main()
