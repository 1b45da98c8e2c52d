"""What rules reach for features that mean nothing: activations permuted over samples, searched like any other.

A permuted feature fires on a random set of samples of the same size, so what rules reach depends on that size alone. It is
measured on a grid of sizes. Between two of them nearly all that changes is the F1 of the rule "always", which is known.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_FEW = 8
_FULL = 6
_DRAWN_ACTIVE = 16_000_000
_LEAST_DRAWS = 20
_MOST_TRIES = 50


class RuleNull:
    """The F1 that the best rules for permuted features have on the half that did not choose them, by size.

    Args:
        held_out_f1: searches one random set of samples and returns the score; None where the set is too small for a search.
        n_samples: of the builds.
        least_active: on how many samples of each half a feature must fire to be searched.
        n_draws: per size; fewer where more than 16 million activations would be searched, whose F1s hardly differ.
        drawn: sizes that were drawn before, by the same builds and seed.

    Examples:
        >>> null = RuleNull(lambda ids: 0.5, n_samples=100, least_active=10, seed=0, n_draws=20)
        >>> null.of_size(30).size, float(null.near(30).max()) >= 0.5
        (20, True)
    """

    def __init__(
        self,
        held_out_f1: Callable[[npt.NDArray[np.int64]], float | None],
        n_samples: int,
        least_active: int,
        seed: int,
        n_draws: int,
        drawn: Mapping[int, Floats] | None = None,
    ) -> None:
        self._held_out_f1 = held_out_f1
        self._n_samples = n_samples
        self._least = 2 * least_active
        self._seed = seed
        self._n_draws = n_draws
        self.drawn: dict[int, Floats] = dict(drawn or {})

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of active samples for which it is drawn, rising: closest for features that are rare or everywhere."""
        n, least = self._n_samples, self._least
        eighth = max(n // 8, least + 1)
        few = np.geomspace(least, eighth, _FEW)
        full = n - np.geomspace(eighth, 2 * least, _FULL)
        sizes = {int(size) for size in (*few, n // 4, n // 2, 3 * n // 4, *full)}
        return tuple(sorted(size for size in sizes if least <= size <= n - least))

    def of_size(self, size: int) -> Floats:
        """The F1s of permuted features that fire on so many samples, sorted; drawn once."""
        if size not in self.drawn:
            rng = np.random.default_rng([self._seed, 2, size])
            n = min(self._n_draws, max(_LEAST_DRAWS, _DRAWN_ACTIVE // size))
            self.drawn[size] = np.sort([self._draw(size, rng) for _ in range(n)])
        return self.drawn[size]

    def near(self, size: int) -> Floats:
        """The F1s of permuted features that fire on so many samples, sorted: those of the neighbouring size that reaches further,
        moved by what "always" gains or loses."""
        sizes = self.sizes or (size,)
        above = next((one for one in sizes if one >= size), sizes[-1])
        below = next((one for one in reversed(sizes) if one <= size), sizes[0])
        moved = [self.of_size(one) + self._always(size) - self._always(one) for one in {below, above}]
        return np.clip(max(moved, key=lambda values: float(values[-1])), 0.0, 1.0)

    def _always(self, size: int) -> float:
        """The F1 of a rule that always holds."""
        return 2 * size / (self._n_samples + size)

    def _draw(self, size: int, rng: np.random.Generator) -> float:
        """One F1. A set too uneven over the halves to be searched is drawn again, as no such feature is searched."""
        for _ in range(_MOST_TRIES):
            ids = np.sort(rng.choice(self._n_samples, size, replace=False))
            f1 = self._held_out_f1(ids)
            if f1 is not None:
                return f1
        return 0.0
