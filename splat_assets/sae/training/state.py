"""What a training holds between two steps: weights, Adam's moments, and since when each feature has been silent."""

from dataclasses import dataclass

import numpy as np
import torch

from splat_assets.sae.products import Floats, subtract_decoded
from splat_assets.sae.recipe import SaeRecipe
from splat_assets.sae.training.inputs import InputStatistics
from splat_assets.sae.training.selection import active_entries

PARAMETERS = ("encoder", "b_enc", "decoder", "b_dec")


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
