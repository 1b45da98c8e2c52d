"""What is measured while an SAE trains: one row of metrics per interval, on batches seen and on held-out rows;
and at its end, how far the decoder has moved from its initialisation: what distinguishes a trained dictionary from a random one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from splat_assets.errors import InputError
from splat_assets.sae.autoencoder import Sae
from splat_assets.sae.products import by_row
from splat_assets.sae.recipe import SaeRecipe
from splat_assets.sae.training.selection import active_entries
from splat_assets.sae.training.state import TrainingState, initial_decoder
from splat_assets.sae.training.step import StepOutcome
from splat_assets.store.activations import SparseRows

METRICS_SCHEMA = {
    "step": pl.Int64,
    "samples": pl.Int64,
    "epoch": pl.Float64,
    "lr": pl.Float64,
    "l1_coeff": pl.Float64,
    "loss": pl.Float64,
    "fvu_train": pl.Float64,
    "fvu_held_out": pl.Float64,
    "l0_train": pl.Float64,
    "l0_held_out": pl.Float64,
    "dead_percent": pl.Float64,
    "dense_percent": pl.Float64,
    "aux_loss": pl.Float64,
    "gradient_norm": pl.Float64,
}
_SUMMED = ("steps", "samples", "loss", "squared_error", "n_active", "aux_loss", "gradient_norm")


class Monitor:
    """Sums outcomes of steps and turns them, with a measurement on held-out rows, into a row of metrics."""

    def __init__(self, recipe: SaeRecipe, held_out: npt.NDArray[np.float32]) -> None:
        """held_out: the rows to measure on, scaled, shape (n, d_in)."""
        self._recipe = recipe
        self._held_out = torch.from_numpy(held_out)
        self._variance = float(np.square(held_out - held_out.mean(axis=0, dtype=np.float64)).sum())
        self._d_in = held_out.shape[1]

    def add(self, since: dict[str, float], outcome: StepOutcome, n_rows: int) -> None:
        """Add a step to the sums since the last row of metrics."""
        seen = (
            1,
            n_rows,
            outcome.loss,
            outcome.squared_error,
            outcome.n_active,
            outcome.aux_loss,
            outcome.gradient_norm,
        )
        for name, value in zip(_SUMMED, seen, strict=True):
            since[name] = since.get(name, 0) + value

    def row(
        self, state: TrainingState, since: dict[str, float], facts: dict[str, Any], dead_after: int
    ) -> dict[str, Any]:
        """A row of metrics.parquet. fvu_train is over the batches since the last row, each before the step it caused.

        dead_percent is None until dead_after rows were seen: before that no feature can have been silent for so long.
        """
        held_out = self._measure_held_out(state)
        return facts | {
            "loss": since["loss"] / since["steps"],
            "fvu_train": since["squared_error"] / (since["samples"] * self._d_in),
            "l0_train": since["n_active"] / since["samples"],
            "dead_percent": dead_percent(state, facts["samples"], dead_after),
            "aux_loss": since["aux_loss"] / since["steps"],
            "gradient_norm": since["gradient_norm"] / since["steps"],
            **held_out,
        }

    def _measure_held_out(self, state: TrainingState) -> dict[str, float]:
        encoder, b_enc, decoder, b_dec = (t.cpu() for t in (state.encoder, state.b_enc, state.decoder, state.b_dec))
        n_rows, d_sae = self._held_out.shape[0], decoder.shape[0]
        centred = self._held_out - b_dec
        lists = active_entries(self._recipe, centred, encoder, b_enc)
        indptr, features, positions = by_row(lists.indptr, lists.rows, n_rows)
        rows = SparseRows(indptr, features, lists.values[positions])
        rebuilt = Sae(encoder, b_enc, decoder, b_dec, torch.zeros(d_sae), "relu").decode_rows(rows)
        error = float(np.square(self._held_out.numpy() - rebuilt, dtype=np.float64).sum())
        return {
            "fvu_held_out": error / self._variance if self._variance > 0 else float(error > 0),
            "l0_held_out": lists.nnz / n_rows,
            "dense_percent": float(100 * (np.diff(lists.indptr) > 0.1 * n_rows).mean()),
        }


def dead_percent(state: TrainingState, n_seen: int, dead_after: int) -> float | None:
    """The features without an activation in the last dead_after rows; None where fewer were seen."""
    return float(100 * (state.silent_for >= dead_after).double().mean()) if n_seen >= dead_after else None


MOVED_COSINE = 0.95


@dataclass(frozen=True, slots=True)
class DecoderMovement:
    """cos(decoder, initial decoder) of the selected features: 1 means unchanged.

    cosines: float32, shape (n_features,).
    """

    cosines: npt.NDArray[np.float32]

    @property
    def n_features(self) -> int:
        """The number of selected features."""
        return int(self.cosines.size)

    @property
    def median(self) -> float:
        """The median cosine; 1.0 without features."""
        return float(np.median(self.cosines)) if self.cosines.size else 1.0

    @property
    def trained(self) -> bool:
        """Whether the median feature has turned away from its random beginning (cosine below 0.95)."""
        return self.median < MOVED_COSINE


def decoder_movement(sae: Sae, live: npt.NDArray[np.bool_] | None = None) -> DecoderMovement:
    """Compare the decoder with its beginning, drawn again from the recorded seed.

    live: bool, shape (d_sae,): the selected features, such as those that fire at all; None is every one.
    Raises InputError for an SAE that does not record a seed, such as an imported one.
    """
    seed = sae.metadata.get("recipe", {}).get("seed")
    if not isinstance(seed, int):
        raise InputError(
            "this SAE does not record the seed it was trained with, so how far its decoder moved is not known"
        )
    began = initial_decoder(sae.d_sae, sae.d_in, seed).numpy()
    cosines = np.einsum("fd,fd->f", sae.W_dec.cpu().numpy(), began)
    return DecoderMovement(cosines if live is None else cosines[live])
