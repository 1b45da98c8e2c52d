"""How strongly a feature fires, in six bands: shares of its effective maximum (99.5th percentile of the values > 0)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Band:
    """Activations above one share of the effective maximum, up to and with another."""

    name: str
    above: float
    up_to: float


BANDS = (
    Band("floor", 0.0, 0.01),
    Band("low", 0.01, 0.10),
    Band("below_core", 0.10, 0.25),
    Band("core", 0.25, 0.75),
    Band("high", 0.75, 0.90),
    Band("top", 0.90, float("inf")),
)


def band_numbers(values: npt.NDArray[np.floating], effective_max: float) -> npt.NDArray[np.int64]:
    """The position in BANDS of each value > 0: int64, the shape of values."""
    edges = np.array([band.up_to for band in BANDS[:-1]]) * effective_max
    return np.searchsorted(edges, values.astype(np.float64), side="left")
