"""What a training starts from and holds between two steps: statistics of its rows, weights, Adam's moments, silent features."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.errors import InputError
from splat_assets.sae.products import Floats, subtract_decoded
from splat_assets.sae.recipe import SaeRecipe
from splat_assets.sae.training.selection import active_entries
from splat_assets.text.wording import counted

PARAMETERS = ("encoder", "b_enc", "decoder", "b_dec")
_BLOCK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """What training and export need to know of the rows it trains on.

    mean: float64, shape (d_in,). scale: x * scale has E||x - mean||^2 = d_in. gamma: ||mean|| / sqrt(E||x - mean||^2), how
    far the rows lie from the origin; above about 2, an SAE that does not start at the mean loses most features.
    fingerprint: sha256 over mean and variance, which every row enters.
    """

    mean: npt.NDArray[np.float64]
    scale: float
    gamma: float
    fingerprint: str


def measure_inputs(activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> InputStatistics:
    """Read the rows once, in blocks; raises InputError for a NaN, an infinity, or rows that are all equal."""
    if activations.ndim != 2:
        raise InputError(f"activations must be an array (n_rows, d_in), not of shape {activations.shape}")
    if rows.size == 0:
        raise InputError("an SAE needs training rows; none were passed")
    _refuse_outside(activations, rows, "training")
    mean = np.zeros(activations.shape[1], dtype=np.float64)
    ordered = np.sort(rows)
    for start in range(0, rows.size, _BLOCK_ROWS):
        chosen = ordered[start : start + _BLOCK_ROWS]
        block = np.asarray(activations[chosen], dtype=np.float64)
        _refuse_non_finite(block, chosen)
        mean += block.sum(axis=0)
    mean /= rows.size
    variance = np.zeros_like(mean)
    for start in range(0, rows.size, _BLOCK_ROWS):
        block = np.asarray(activations[ordered[start : start + _BLOCK_ROWS]], dtype=np.float64)
        variance += np.square(block - mean).sum(axis=0)
    variance /= rows.size
    total = float(variance.sum())
    if total <= 1e-12 * float(mean @ mean):
        raise InputError(
            f"all {counted(rows.size, 'training rows', 'are')} equal: there is nothing for an SAE to explain"
        )
    fingerprint = hashlib.sha256(mean.tobytes() + variance.tobytes() + rows.astype(np.int64).tobytes()).hexdigest()
    scale = float(np.sqrt(mean.size / total))
    return InputStatistics(mean, scale, float(np.linalg.norm(mean) / np.sqrt(total)), fingerprint)


def check_held_out(activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> None:
    """Raise InputError unless there are held-out rows, all in the activations, without a NaN or an infinity."""
    if rows.size == 0:
        raise InputError("an SAE needs held-out rows to be measured and calibrated on; there are none")
    _refuse_outside(activations, rows, "held-out")
    ordered = np.sort(rows)
    for start in range(0, rows.size, _BLOCK_ROWS):
        chosen = ordered[start : start + _BLOCK_ROWS]
        _refuse_non_finite(activations[chosen], chosen)


def _refuse_outside(activations: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], which: str) -> None:
    if rows.min() < 0 or rows.max() >= activations.shape[0]:
        raise InputError(f"{which} rows {rows.min()} to {rows.max()} are not all in 0 to {activations.shape[0] - 1}")


def _refuse_non_finite(block: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> None:
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        bad = int(rows[np.flatnonzero(~finite)[0]])
        raise InputError(f"row {bad} of the activations holds a NaN or an infinity; an SAE cannot be trained on it")


@dataclass
class TrainingState:
    """Weights in scaled units (x * scale), by feature: encoder and decoder are (d_sae, d_in), decoder rows unit norm.

    mean_of and square_of: Adam's moments of each parameter. silent_for: int64, rows seen since each feature last fired.
    """

    encoder: torch.Tensor
    b_enc: torch.Tensor
    decoder: torch.Tensor
    b_dec: torch.Tensor
    mean_of: dict[str, torch.Tensor]
    square_of: dict[str, torch.Tensor]
    silent_for: torch.Tensor
    step: int = 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.encoder.device

    def parameter(self, name: str) -> torch.Tensor:
        """A parameter by its name in PARAMETERS."""
        tensor: torch.Tensor = getattr(self, name)
        return tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by a name of its own: what a checkpoint holds."""
        held = {name: self.parameter(name) for name in PARAMETERS}
        held |= {f"{name}.mean": value for name, value in self.mean_of.items()}
        held |= {f"{name}.square": value for name, value in self.square_of.items()}
        return held | {"silent_for": self.silent_for}

    def to(self, device: torch.device | str) -> "TrainingState":
        """The same state on a device; itself where it is there already."""
        return self.of_tensors({name: value.to(device) for name, value in self.tensors().items()}, self.step)

    @classmethod
    def of_tensors(cls, tensors: dict[str, torch.Tensor], step: int) -> "TrainingState":
        """The state that `tensors` came from."""
        return cls(
            **{name: tensors[name] for name in PARAMETERS},
            mean_of={name: tensors[f"{name}.mean"] for name in PARAMETERS},
            square_of={name: tensors[f"{name}.square"] for name in PARAMETERS},
            silent_for=tensors["silent_for"],
            step=step,
        )


def initial_decoder(d_sae: int, d_in: int, seed: int) -> torch.Tensor:
    """The decoder a training with this seed starts from: random directions, float32, shape (d_sae, d_in), unit norm."""
    drawn = np.random.default_rng((seed, 0x5AE)).standard_normal((d_sae, d_in), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return torch.from_numpy(drawn)


def initial_state(recipe: SaeRecipe, statistics: InputStatistics, sample: Floats) -> TrainingState:
    """The state before the first step: encoder along the decoder, b_enc = 0, b_dec = the mean of the training rows.

    sample: some training rows, unscaled, shape (n, d_in). They set the one factor between decoder and encoder: that at which
    the first reconstruction has the least error. Without it an untrained wide dictionary overshoots several times over.
    """
    decoder = initial_decoder(recipe.width(sample.shape[1]), sample.shape[1], recipe.seed)
    b_dec = torch.from_numpy((statistics.mean * statistics.scale).astype(np.float32))
    centred = torch.from_numpy(sample * np.float32(statistics.scale)) - b_dec
    tensors = {
        "encoder": decoder * _least_error_factor(recipe, centred, decoder),
        "b_enc": torch.zeros(decoder.shape[0]),
        "decoder": decoder,
        "b_dec": b_dec,
        "silent_for": torch.zeros(decoder.shape[0], dtype=torch.int64),
    }
    for name in PARAMETERS:
        tensors[f"{name}.mean"] = torch.zeros_like(tensors[name])
        tensors[f"{name}.square"] = torch.zeros_like(tensors[name])
    return TrainingState.of_tensors(tensors, step=0)


def _least_error_factor(recipe: SaeRecipe, centred: torch.Tensor, decoder: torch.Tensor) -> float:
    """The a that minimises ||x - a * decoded(x)||^2 over the sample; 1 where nothing is active."""
    bias = torch.zeros(decoder.shape[0])
    decoded = torch.zeros_like(centred)
    subtract_decoded(decoded, active_entries(recipe, centred, decoder, bias), decoder)
    square = float(decoded.double().square().sum())
    return -float((decoded.double() * centred).sum()) / square if square > 0 else 1.0
