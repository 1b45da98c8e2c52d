"""How far a decoder has moved from its initialisation: what distinguishes a trained dictionary from a random one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat_assets.errors import InputError
from splat_assets.sae.autoencoder import Sae
from splat_assets.sae.training.state import initial_decoder

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
