"""The histogram of a feature's activations: where its bins are, and exact counts in them.

One rule for everybody: n_bins bins of equal width from 0 to the feature's largest activation. A bin holds its lower edge and
not its upper one, except the last, which holds both. Zeros (samples on which the feature does not fire) are not in any bin.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EDGES_RULE = "n_bins equal bins from lower to upper in float64; [edge, next edge), the last one closed; zeros left out"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of the values > 0 of one feature.

    lower, upper: the range, None for a feature that never fires. counts: uint64, shape (n_bins,).
    """

    lower: float | None
    upper: float | None
    counts: npt.NDArray[np.uint64]

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """The n_bins + 1 edges, none for a feature that never fires."""
        if self.lower is None or self.upper is None:
            return np.empty(0, dtype=np.float64)
        return bin_edges(self.lower, self.upper, self.counts.size)


def bin_edges(lower: float, upper: float, n_bins: int) -> npt.NDArray[np.float64]:
    """The edges of n_bins equal bins: float64, shape (n_bins + 1,), first and last exactly lower and upper."""
    return np.linspace(lower, upper, n_bins + 1, dtype=np.float64)


def histogram_of(values: npt.NDArray[np.floating], n_bins: int = 100) -> Histogram:
    """The histogram of values > 0, in any order.

    Examples:
        >>> histogram = histogram_of(np.array([1.0, 4.0, 2.0]), n_bins=2)
        >>> histogram.edges.tolist(), histogram.counts.tolist()
        ([0.0, 2.0, 4.0], [1, 2])
    """
    return histogram_of_sorted(np.sort(values).astype(np.float64), n_bins)


def histogram_of_sorted(ordered: npt.NDArray[np.float64], n_bins: int) -> Histogram:
    """As `histogram_of`, of values that already rise."""
    if not ordered.size:
        return Histogram(None, None, np.zeros(n_bins, dtype=np.uint64))
    upper = float(ordered[-1])
    edges = bin_edges(0.0, upper, n_bins)
    n_below = np.searchsorted(ordered, edges[1:-1], side="left")
    counts = np.diff(np.concatenate(([0], n_below, [ordered.size])))
    return Histogram(0.0, upper, counts.astype(np.uint64))
