"""FVU against L0 on real builds: `python benchmarks/real_builds.py FOLDER statink/*.csv.gz`.

Ingests stat.ink exports, trains a base model, and trains one SAE for each k and each L1 coefficient on the same base
activations, split and seed. Prints a table and how many times more active features `relu_l1` needs at the same FVU, and writes
FOLDER/fvu_l0.png. Results already in FOLDER are reused, so a second call is quick.
"""

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from splat_assets.commands.inputs import trained_on_others
from splat_assets.compute.fit import fit_sae
from splat_assets.compute.harvest import BaseActivations, BaseModelFiles, harvest
from splat_assets.compute.items import Items, make_items
from splat_assets.data.splits import split_builds
from splat_assets.data.statink import ingest_statink
from splat_assets.data.tokenised import read_tokenised
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.model import SplatGPT, load_base_model
from splat_assets.model.hooks import HookPoint
from splat_assets.model.recipe import BaseTrainingRecipe
from splat_assets.model.train import train_base_model
from splat_assets.sae import SaeRecipe
from splat_assets.store.files import sha256_of_json
from splat_assets.text.numerals import number, whole
from splat_assets.text.progress import Progress, progress_for

_HOOK = HookPoint("masked_mean")
_COLUMNS = ("l0_mean", "fvu", "dead_percent", "dense_percent", "fidelity", "cosine")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("files", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--k", "ks", default="4,8,16,32", show_default=True)
@click.option("--l1", "l1s", default="3e-3,1e-2,3e-2", show_default=True)
@click.option("--d-sae", default=512, type=whole(), show_default=True)
@click.option("--epochs", default=40, type=whole(), show_default=True)
@click.option("--lr", type=number(), help="Learning rate of the SAEs. If not given: the recipe's default.")
@click.option("--hidden-dim", default=64, type=whole(), show_default=True)
@click.option("--base-epochs", default=BaseTrainingRecipe().epochs, show_default=True)
@click.option("--seed", default=0, type=whole(), show_default=True)
def main(
    folder: Path,
    files: tuple[Path, ...],
    ks: str,
    l1s: str,
    d_sae: int,
    epochs: int,
    lr: float | None,
    hidden_dim: int,
    base_epochs: int,
    seed: int,
) -> None:
    """Print the figures of docs/results.md."""
    progress = progress_for(Console(stderr=True))
    base_recipe = BaseTrainingRecipe(hidden_dim=hidden_dim, epochs=base_epochs, seed=seed)
    model, items, base = _prepared(folder, files, base_recipe, progress)
    shared = SaeRecipe(d_sae=d_sae, epochs=epochs, batch_size=512, lr=lr, seed=seed)
    recipes = [replace(shared, architecture="batch_topk", k=int(k)) for k in ks.split(",")]
    recipes += [replace(shared, architecture="relu_l1", l1_coeff=float(l1)) for l1 in l1s.split(",")]
    rows = []
    for recipe in recipes:
        name = f"k{recipe.k}" if recipe.architecture == "batch_topk" else f"l1_{recipe.l1_coeff:g}"
        used = recipe.checked_for(base.values.shape[1]).as_json()
        saved = folder / "saes" / f"{name}-{sha256_of_json(used)[:8]}"
        card = fit_sae(items, base, recipe, _HOOK, model, saved, progress)
        rows.append({"sae": name, "architecture": recipe.architecture, **{column: card[column] for column in _COLUMNS}})
    click.echo("| SAE | " + " | ".join(_COLUMNS) + " |\n|" + "---|" * (1 + len(_COLUMNS)))
    for row in rows:
        click.echo(f"| {row['sae']} | " + " | ".join(f"{row[column]:.4g}" for column in _COLUMNS) + " |")
    for line in _factors(rows):
        click.echo(line)
    _plot(rows, folder / "fvu_l0.png")
    (folder / "figures.json").write_text(json.dumps(rows, indent=1))


def _prepared(
    folder: Path, files: tuple[Path, ...], recipe: BaseTrainingRecipe, progress: Progress
) -> tuple[SplatGPT, Items, BaseActivations]:
    dataset, model_folder = folder / "dataset", folder / "model"
    if not (dataset / "tokenized_data.csv").is_file():
        ingest_statink(list(files), dataset, progress=progress)
    click.echo((dataset / "ingest_report.json").read_text())
    vocabulary, contexts = read_vocabulary(dataset / "vocab.json"), read_contexts(dataset / "weapon_vocab.json")
    builds = split_builds(read_tokenised(dataset / "tokenized_data.csv", vocabulary, contexts), recipe.seed)
    if not (model_folder / "training_metrics.json").is_file():
        train_base_model(builds, vocabulary, contexts, recipe, model_folder, progress)
    if trained_on_others(model_folder / "model.pth", builds):
        raise click.ClickException(
            f"{model_folder} was trained on other builds or another split: give its --seed, or another FOLDER"
        )
    click.echo((model_folder / "training_metrics.json").read_text())
    vocab, weapon_vocab = model_folder / "vocab.json", model_folder / "weapon_vocab.json"
    model = load_base_model(model_folder, vocab_path=vocab, weapon_vocab_path=weapon_vocab)
    items = make_items(builds, vocabulary, contexts, masked_variants=0, seed=recipe.seed)
    model_files = BaseModelFiles(model_folder / "model.pth", vocab, weapon_vocab)
    base = harvest(folder / "base_activations", items, model_files, _HOOK, 32_768, 1_024, progress=progress)
    return model, items, base


def _factors(rows: list[dict]) -> list[str]:
    """For each relu_l1: the L0 at which batch_topk has the same FVU, between its points on a log-log line, and the factor."""
    curve = sorted((row["l0_mean"], row["fvu"]) for row in rows if row["architecture"] == "batch_topk")
    l0s, fvus = (np.log(np.array(column)) for column in zip(*curve, strict=True))
    lines = []
    for row in rows:
        if row["architecture"] != "relu_l1":
            continue
        if not np.exp(fvus.min()) <= row["fvu"] <= np.exp(fvus.max()):
            at = float(np.exp(np.interp(np.log(row["l0_mean"]), l0s, fvus)))
            inside = l0s.min() <= np.log(row["l0_mean"]) <= l0s.max()
            beside = f"batch_topk at that L0: {at:.4g}" if inside else "batch_topk was not measured there"
            lines.append(f"{row['sae']}: FVU {row['fvu']:.4g} at L0 {row['l0_mean']:.1f}; {beside}")
            continue
        same = float(np.exp(np.interp(np.log(row["fvu"]), fvus[::-1], l0s[::-1])))
        lines.append(
            f"{row['sae']}: FVU {row['fvu']:.4g} with {row['l0_mean']:.1f} active; batch_topk needs {same:.1f}, "
            f"{row['l0_mean'] / same:.1f} times fewer"
        )
    return lines


def _plot(rows: list[dict], path: Path) -> None:
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for architecture, mark in (("batch_topk", "o-"), ("relu_l1", "s--")):
        points = sorted((row["l0_mean"], row["fvu"]) for row in rows if row["architecture"] == architecture)
        axes.plot([x for x, _ in points], [y for _, y in points], mark, label=architecture)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="active features per build (L0, test)",
        ylabel="unexplained variance (FVU, test)",
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
