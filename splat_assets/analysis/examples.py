"""Choice of example samples of a feature: the strongest, some of each band, and random ones with and without it.

Every group is a choice of its own, so one sample may stand in several. Random choices are uniform, without replacement, and
depend on the seed and the feature alone: never on which features were looked at before.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.statistics import BANDS, band_numbers, effective_max
from splat_assets.store.activations import Activations

GROUPS = ("top", *(f"band_{band.name}" for band in BANDS), "random_active", "random_inactive")

EXAMPLES_SEED = 0
"""Default seed of the examples of a store or folder."""


@dataclass(frozen=True, slots=True)
class ExampleCounts:
    """How many examples a feature gets at most: the strongest, of each band, random with and random without it."""

    n_top: int = 20
    n_per_band: int = 10
    n_random: int = 10

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        if min(self.n_top, self.n_per_band, self.n_random) < 0:
            raise ValueError(f"numbers of examples cannot be negative: {self}")


@dataclass(frozen=True, slots=True)
class ExampleGroup:
    """Examples of one group, best first: by falling activation, then by sample id.

    sample_ids: int64, shape (n,). values: float32, shape (n,), zeros in the group of inactive ones.
    """

    name: str
    sample_ids: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


def draw_examples(
    activations: Activations, n_samples: int, counts: ExampleCounts, seed: int, feature_id: int
) -> Iterator[ExampleGroup]:
    """The groups of one feature in the order of GROUPS; those without any sample are left out."""
    rng = np.random.default_rng([seed, feature_id])
    chosen = [strongest(activations, counts.n_top)] if activations.n_active else [_NOBODY]
    chosen += _per_band(activations, counts.n_per_band, rng)
    chosen.append(_draw(np.arange(activations.n_active), counts.n_random, rng))
    for name, positions in zip(GROUPS[:-1], chosen, strict=True):
        if positions.size:
            positions = positions[_best_first(activations, positions)]
            yield ExampleGroup(name, activations.sample_ids[positions].astype(np.int64), activations.values[positions])
    silent = draw_inactive(activations, n_samples, counts.n_random, rng)
    if silent.size:
        yield ExampleGroup(GROUPS[-1], silent, np.zeros(silent.size, dtype=np.float32))


def strongest(activations: Activations, n: int) -> npt.NDArray[np.int64]:
    """Positions in activations of the n largest values, best first; equal values in sample order."""
    n = min(n, activations.n_active)
    if not n:
        return _NOBODY
    threshold = np.partition(activations.values, activations.n_active - n)[activations.n_active - n]
    candidates = np.flatnonzero(activations.values >= threshold)
    return candidates[_best_first(activations, candidates)][:n]


def draw_inactive(activations: Activations, n_samples: int, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Up to n random samples on which the feature does not fire: int64 ids, rising."""
    n_silent = n_samples - activations.n_active
    picks = np.sort(rng.choice(n_silent, size=min(n, n_silent), replace=False)) if n_silent and n else _NOBODY
    # The k-th silent sample is k plus the number of firing ones before it, and before the j-th firing one stand
    # sample_ids[j] - j silent ones.
    silent_before = activations.sample_ids.astype(np.int64) - np.arange(activations.n_active)
    return picks + np.searchsorted(silent_before, picks, side="right")


_NOBODY: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)


def _per_band(activations: Activations, n: int, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    if not activations.n_active:
        return [_NOBODY for _ in BANDS]
    numbers = band_numbers(activations.values, effective_max(activations.values))
    return [_draw(np.flatnonzero(numbers == number), n, rng) for number in range(len(BANDS))]


def _draw(positions: npt.NDArray[np.int64], n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if positions.size <= n:
        return positions
    return positions[rng.choice(positions.size, size=n, replace=False)]


def _best_first(activations: Activations, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    return np.lexsort((activations.sample_ids[positions], -activations.values[positions]))
