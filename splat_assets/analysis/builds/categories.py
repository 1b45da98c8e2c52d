"""A feature by the values of a category (weapon, class, sub, special): firing rate, strength, lift and significance."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.inference.grouped import grouped
from splat_assets.analysis.inference.intervals import benjamini_hochberg, lift_interval, two_by_two_p
from splat_assets.store.activations import Activations

COLUMNS = {
    "n": "Samples of the category.",
    "n_active": "Samples of the category on which the feature is active.",
    "share_active": "n_active / n.",
    "share_active_low": "Lower bound of its exact 95 % interval.",
    "share_active_high": "Upper bound.",
    "mean": "Mean activation over all n samples, zeros included.",
    "mean_low": "Lower bound of its 95 % interval.",
    "mean_high": "Upper bound.",
    "lift": "Lift: how many times as often the feature fires there as over all samples compared.",
    "lift_low": "Lower bound of its 95 % interval.",
    "lift_high": "Upper bound.",
    "q": "p-value of firing as often as elsewhere, adjusted for the number of rows compared.",
}
"""The columns of `category_table` besides the category's name."""


def category_table(
    activations: Activations,
    codes: npt.NDArray[np.integer],
    names: Sequence[str],
    what: str,
    least: int = 1,
    seed: int = 0,
    within: npt.NDArray[np.bool_] | None = None,
) -> pl.DataFrame:
    """One row per category with at least so many samples, strongest mean first: COLUMNS.

    codes: the category of each sample, -1 for unknown. within: only these samples count.
    """
    kept = codes.astype(np.int64) if within is None else np.where(within, codes, -1).astype(np.int64)
    by = grouped(activations, kept, len(names))
    rows = np.flatnonzero(by.n >= max(least, 1))
    total, active = int(by.n.sum()), int(by.n_active.sum())
    low, high = by.mean_interval(seed)
    share_low, share_high = by.share_interval()
    lift, lift_low, lift_high = lift_interval(by.n_active, by.n, active, total)
    p = two_by_two_p(by.n_active[rows], by.n[rows], active, total)
    columns = {
        what: [names[row] for row in rows.tolist()],
        "n": by.n[rows],
        "n_active": by.n_active[rows],
        "share_active": by.share[rows],
        "share_active_low": share_low[rows],
        "share_active_high": share_high[rows],
        "mean": by.mean[rows],
        "mean_low": low[rows],
        "mean_high": high[rows],
        "lift": lift[rows],
        "lift_low": lift_low[rows],
        "lift_high": lift_high[rows],
        "q": benjamini_hochberg(p),
    }
    frame = pl.DataFrame(columns).fill_nan(None)
    return frame.sort(["mean", what], descending=[True, False], nulls_last=True)
