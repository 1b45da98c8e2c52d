"""A feature in groups of samples: firing rate and mean activation, zeros included.

The samples of a group on which it does not fire count with 0. Sums run over the activations alone, so a rare feature costs
little however many samples there are.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.inference.intervals import bootstrap_mean_interval, resampled_mean_interval, share_interval
from splat_assets.store.activations import Activations

FEW_ACTIVE = 20
"""In groups with fewer activations the interval of the mean is drawn; beyond, moments tell the same more exactly and at once."""


@dataclass(frozen=True)
class Grouped:
    """Per group, shape (n_groups,): n samples, n_active on which the feature fires, sum and sum of squares of activations."""

    n: npt.NDArray[np.int64]
    n_active: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64]
    total_of_squares: npt.NDArray[np.float64]
    codes: npt.NDArray[np.integer]
    values: npt.NDArray[np.float32]

    @cached_property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean over all samples of each group, zeros included; NaN for an empty group."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(self.n > 0, self.total / np.maximum(self.n, 1), np.nan))

    @cached_property
    def mean_active(self) -> npt.NDArray[np.float64]:
        """Mean over the samples of each group on which it fires; NaN where it never does."""
        return np.asarray(np.where(self.n_active > 0, self.total / np.maximum(self.n_active, 1), np.nan))

    @cached_property
    def share(self) -> npt.NDArray[np.float64]:
        """The share of each group on which it fires; NaN for an empty group."""
        return np.asarray(np.where(self.n > 0, self.n_active / np.maximum(self.n, 1), np.nan))

    def share_interval(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The exact 95 % interval of `share`."""
        return share_interval(self.n_active, self.n)

    def mean_interval(self, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The 95 % interval of `mean`, of the bootstrap: drawn in groups with fewer than FEW_ACTIVE activations.

        NaN where the feature never fires: how strongly it would is not known.
        """
        exact = self.values.astype(np.float64)
        higher = [np.bincount(self.codes, weights=exact**power, minlength=self.n.size) for power in (3, 4)]
        low, high = resampled_mean_interval(self.n, [self.total, self.total_of_squares, *higher])
        unknown = (self.n_active == 0) | (self.n < 2)
        low[unknown] = high[unknown] = np.nan
        rng = np.random.default_rng(seed)
        few = np.flatnonzero((self.n > 1) & (self.n_active > 0) & (self.n_active < FEW_ACTIVE))
        if few.size:
            order = np.argsort(self.codes, kind="stable")
            edges = np.concatenate([[0], np.cumsum(self.n_active)])
            for group in few.tolist():
                values = self.values[order[edges[group] : edges[group + 1]]]
                low[group], high[group] = bootstrap_mean_interval(values, int(self.n[group] - values.size), rng)
        return low, high


def group_sizes(codes: npt.NDArray[np.integer], n_groups: int) -> npt.NDArray[np.int64]:
    """Samples in each group, shape (n_groups,); codes as in `grouped`."""
    return np.bincount(codes[codes >= 0], minlength=n_groups)


def grouped(
    activations: Activations,
    codes: npt.NDArray[np.integer],
    n_groups: int,
    sizes: npt.NDArray[np.int64] | None = None,
) -> Grouped:
    """The activations of a feature by group. codes: the group of every sample, shape (n_samples,); -1 for none.

    sizes: samples in each group, shape (n_groups,), where they were counted before; that is what takes time for a rare feature.
    """
    here = codes[activations.sample_ids].astype(np.int64)
    inside = here >= 0
    groups, values = here[inside], activations.values[inside]
    exact = values.astype(np.float64)
    return Grouped(
        n=group_sizes(codes, n_groups) if sizes is None else sizes,
        n_active=np.bincount(groups, minlength=n_groups),
        total=np.bincount(groups, weights=exact, minlength=n_groups).astype(np.float64),
        total_of_squares=np.bincount(groups, weights=exact**2, minlength=n_groups).astype(np.float64),
        codes=groups,
        values=values,
    )
