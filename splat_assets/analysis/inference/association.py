"""Association of two sets of samples, from four counts: shares, lift and phi."""

import numpy as np
import numpy.typing as npt
import polars as pl


def phi(
    n_both: npt.NDArray[np.int64], n_left: npt.NDArray[np.int64], n_right: int, n_all: int
) -> npt.NDArray[np.float64]:
    """Pearson's correlation of two indicators (the phi coefficient, Yule 1912), shape of n_both; NaN where one is constant.

    n_both: samples in both sets. n_left, n_right: samples in each. n_all: all samples.
    """
    left, right, total = n_left.astype(np.float64), float(n_right), float(n_all)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(left) * np.sqrt(total - left) * np.sqrt(right) * np.sqrt(total - right)
        return np.asarray((total * n_both - left * right) / spread)


def association_table(
    n_both: npt.NDArray[np.int64], n_active: npt.NDArray[np.int64], n_set: int, n_samples: int
) -> pl.DataFrame:
    """Association of each feature with a set of samples that it fires in; largest phi first, then by feature id.

    n_both: samples of the set on which each feature fires, shape (n_features,). n_active: samples on which it fires at all.

    share_of_set: n_both / n_set. share_of_feature: n_both / n_active. lift: share_of_set / (n_active / n_samples), how
    many times more often it fires in the set than overall. phi is null where the set or the feature covers every
    sample.
    """
    fires = np.flatnonzero(n_both)
    both, active = n_both[fires], n_active[fires]
    return (
        pl.DataFrame(
            {
                "feature_id": fires.astype(np.uint32),
                "n_both": both.astype(np.int64),
                "n_active": active.astype(np.int64),
                "share_of_set": both / max(n_set, 1),
                "share_of_feature": both / active,
                "lift": both / max(n_set, 1) / (active / max(n_samples, 1)),
                "phi": phi(both, active, n_set, n_samples),
            }
        )
        .with_columns(pl.col("phi").fill_nan(None))
        .sort(["phi", "feature_id"], descending=[True, False], nulls_last=True)
    )
