"""A sweep: runs that differ in nothing but their SAE's recipe, and how they compare.

`<data root>/sweeps/<name>/sweep.json` names its runs; `comparison.parquet` and `pareto.png` beside it are made of their
scorecards and decoders. The runs share their base activations, which are computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from splat_assets.analysis.sweep import pareto_front, stability
from splat_assets.assets.pictures import pareto_plot
from splat_assets.errors import InputError
from splat_assets.runs import Run, RunConfig, create_run, open_run
from splat_assets.store.documents import WRONG_CONTENT, entries, read_json
from splat_assets.store.files import replacing_file, write_json
from splat_assets.store.layout import DataRoot, checked_name
from splat_assets.store.scorecard import read_scorecard
from splat_assets.text.wording import counted

_FIGURES = ("fvu", "l0_mean", "fidelity", "dead_percent", "dense_percent")
COMPARISON_SCHEMA: dict[str, Any] = {
    **{"run": pl.String, "width": pl.Int64, "k": pl.Int64, "seed": pl.Int64},
    **dict.fromkeys(_FIGURES, pl.Float64),
    **{"stability": pl.Float64, "on_front": pl.Boolean},
}
"""The columns of `comparison.parquet`."""
LARGEST = 200
"""Runs of a sweep, at most."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep that exists. runs: their names, in the order of widths, k and seeds."""

    root: DataRoot
    name: str
    runs: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is."""
        return sweep_folder(self.root, self.name)


def sweep_folder(root: DataRoot, name: str) -> Path:
    """The folder of the sweep called name; InputError for a name that cannot be one."""
    return root.path / "sweeps" / checked_name(name, "sweep")


def create_sweep(
    root: DataRoot, name: str, like: RunConfig, ks: Sequence[int], widths: Sequence[int], seeds: Sequence[int]
) -> Sweep:
    """Freeze the runs of a sweep; the same again changes nothing.

    Args:
        name: Its runs are called `<name>-w<width>-k<k>-s<seed>`.
        like: Inputs and recipe of every run, but for the three settings below.
        ks: Active features per sample.
        widths: Features of the SAE (`d_sae`).
        seeds: Of the SAE's training.

    Raises:
        InputError: `like` has a ready-made SAE or one that is not batch_topk, a recipe contradicts itself, there are more than
            LARGEST runs or none, or the sweep exists with other runs.

    Examples:
        >>> with TemporaryDirectory() as folder:
        ...     file = InputFile("/data/model.pth", "0" * 64)
        ...     like = RunConfig(RunInputs(file, file, file, file))
        ...     create_sweep(DataRoot(Path(folder)), "widths", like, ks=[8], widths=[64, 128], seeds=[0]).runs
        ('widths-w64-k8-s0', 'widths-w128-k8-s0')
    """
    if like.inputs.sae_checkpoint is not None:
        raise InputError("a sweep trains SAEs, but that run has a ready-made one: choose a run that trains its own")
    if like.sae.architecture != "batch_topk":
        raise InputError(f"a sweep over k is of batch_topk SAEs, and that run's is {like.sae.architecture}")
    recipes = [
        (f"{name}-w{width}-k{k}-s{seed}", replace(like.sae, k=k, d_sae=width, seed=seed))
        for width, k, seed in product(widths, ks, seeds)
    ]
    if not 1 <= len(recipes) <= LARGEST:
        raise InputError(f"the sweep has {counted(len(recipes), 'runs')}; 1 to {LARGEST} are allowed")
    path = sweep_folder(root, name) / "sweep.json"
    runs = tuple(run for run, _ in recipes)
    if path.is_file() and open_sweep(root, name).runs != runs:
        raise InputError(f"sweep {name!r} exists with other runs: see {path}, or choose another name")
    for run, recipe in recipes:
        create_run(root, run, replace(like, sae=recipe))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"runs": runs})
    return Sweep(root, name, runs)


def sweep_names(root: DataRoot) -> list[str]:
    """The sweeps there are, by name."""
    return [one.name for one in entries(root.path / "sweeps") if (one / "sweep.json").is_file()]


def open_sweep(root: DataRoot, name: str) -> Sweep:
    """The sweep called name; InputError lists those that exist, or says why its file cannot be read."""
    path = sweep_folder(root, name) / "sweep.json"
    try:
        return Sweep(root, name, tuple(map(str, read_json(path)["runs"])))
    except FileNotFoundError:
        there = ", ".join(sweep_names(root)) or "none"
        raise InputError(f"sweep {name!r} does not exist; there are {there}") from None
    except WRONG_CONTENT as error:
        raise InputError(f"{path} does not describe a sweep: {error}") from error


def compare_sweep(sweep: Sweep) -> pl.DataFrame:
    """Lay the runs side by side, and write `comparison.parquet` and `pareto.png`; runs without an SAE yet are left out.

    Columns: `run, width, k, seed, fvu, l0_mean, fidelity, dead_percent, dense_percent` (of the scorecard), `stability` (of the
    seeds of the same width and k; null for one) and `on_front` (no other run has both less FVU and less L0). Best first: those on
    the front, then by fidelity. InputError when no run has an SAE yet.
    """
    runs = [run for run in (open_run(sweep.root, name) for name in sweep.runs) if run.layout.scorecard.is_file()]
    if not runs:
        raise InputError(f"no run of sweep {sweep.name} has an SAE yet: `splat sweep --name {sweep.name}` trains them")
    alike = {
        cell: stability([_decoder(run) for run in runs if _cell(run) == cell]) for cell in {_cell(run) for run in runs}
    }
    rows = []
    for run in runs:
        card = read_scorecard(run.layout.scorecard)
        recipe = run.config.sae
        rows.append(
            (run.name, recipe.d_sae, recipe.k, recipe.seed, *(card.get(name) for name in _FIGURES), alike[_cell(run)])
        )
    written = {name: kind for name, kind in COMPARISON_SCHEMA.items() if name != "on_front"}
    frame = pl.DataFrame(rows, written, orient="row")
    front = pareto_front([*zip(frame["fvu"].to_list(), frame["l0_mean"].to_list(), strict=True)])
    frame = frame.with_columns(on_front=pl.Series(front)).sort(
        ["on_front", "fidelity", "run"], descending=[True, True, False]
    )
    sweep.folder.mkdir(parents=True, exist_ok=True)
    with replacing_file(sweep.folder / "comparison.parquet") as aside:
        frame.write_parquet(aside)
    with replacing_file(sweep.folder / "pareto.png") as aside:
        aside.write_bytes(pareto_plot(frame))
    return frame


def _cell(run: Run) -> tuple[int | None, int]:
    return run.config.sae.d_sae, run.config.sae.k


def _decoder(run: Run) -> np.ndarray:
    from splat_assets.sae import load_sae

    return np.asarray(load_sae(run.layout.sae).W_dec.numpy(), dtype=np.float32)
