"""Response of a feature to the AP of every ability: mean activation and firing rate by rung, and monotonicity."""

import numpy as np
import polars as pl

from splat_assets.analysis.builds.build_table import BuildTable, Group
from splat_assets.analysis.inference.grouped import Grouped, grouped
from splat_assets.analysis.inference.intervals import with_q
from splat_assets.store.activations import Activations

FEW_ACTIVE = 30


def response_curve(activations: Activations, builds: BuildTable, seed: int = 0) -> pl.DataFrame:
    """One row per ability and rung ("not worn" included): n, n_active, mean and share_active with 95 % intervals.

    Intervals of means are bootstrapped with seed in small groups. Rungs that no build has are left out.
    """
    parts = [_by_rung(activations, builds, name, seed) for name in builds.group_numbers]
    return pl.concat(parts).fill_nan(None)


def dose_summary(activations: Activations, builds: BuildTable) -> pl.DataFrame:
    """One row per ability, by falling share of variance explained: what its rung tells of the activation.

    n: samples that wear it. mean_absent, mean_worn: activation without and with it. eta2: between-rung share of the variance of
    the activation, (SS between rungs) / (SS total). slope: change of the activation per 10 AP, least squares over all samples,
    0 AP for "not worn", 10 for a main-only ability. q: of an F test of eta2, adjusted for the number of abilities; None below
    FEW_ACTIVE activations, where that test does not hold.
    """
    rows = [_summary_of(by_rung(activations, builds, group), group.name, group.ap) for group in builds.groups]
    frame = with_q(pl.DataFrame(rows, schema=_SUMMARY, orient="row"))
    return frame.sort(["eta2", "ability"], descending=[True, False], nulls_last=True)


_SUMMARY = {
    "ability": pl.String,
    "n": pl.Int64,
    "mean_absent": pl.Float64,
    "mean_worn": pl.Float64,
    "slope": pl.Float64,
    "eta2": pl.Float64,
    "p": pl.Float64,
}


def by_rung(activations: Activations, builds: BuildTable, group: Group) -> Grouped:
    """The activations of a feature by the rung of one ability."""
    return grouped(activations, builds.rungs_of(group.name), group.n_rungs, builds.n_on_rungs(group.name))


def _by_rung(activations: Activations, builds: BuildTable, name: str, seed: int) -> pl.DataFrame:
    group = builds.group(name)
    here = by_rung(activations, builds, group)
    low, high = here.mean_interval(seed)
    share_low, share_high = here.share_interval()
    return pl.DataFrame(
        {
            "ability": [name] * group.n_rungs,
            "rung": [group.rung_name(rung) for rung in range(group.n_rungs)],
            "ap": group.ap,
            "n": here.n,
            "n_active": here.n_active,
            "mean": here.mean,
            "mean_low": low,
            "mean_high": high,
            "share_active": here.share,
            "share_active_low": share_low,
            "share_active_high": share_high,
        }
    ).filter(pl.col("n") > 0)


def _summary_of(here: Grouped, name: str, ap: list[int]) -> tuple[str, int, float, float, float, float, float]:
    from scipy.special import fdtrc

    n, total = here.n.astype(np.float64), here.total
    n_all, sum_all = n.sum(), total.sum()
    mean = sum_all / n_all
    worn = n[1:].sum()
    there = n > 0
    between = float((n[there] * (here.mean[there] - mean) ** 2).sum())
    whole = float(here.total_of_squares.sum() - n_all * mean**2)
    x = np.array(ap, dtype=np.float64)
    x_mean = (n * x).sum() / n_all
    spread = float((n * (x - x_mean) ** 2).sum())
    slope = float(((x - x_mean) * total).sum()) / spread * 10 if spread > 0 else np.nan
    k = int(there.sum())
    eta2 = between / whole if whole > 0 and k > 1 else np.nan
    p = np.nan
    if whole > between > 0 and n_all > k > 1 and here.n_active.sum() >= FEW_ACTIVE:
        p = float(fdtrc(k - 1, n_all - k, (between / (k - 1)) / ((whole - between) / (n_all - k))))
    return (
        name,
        int(worn),
        float(here.mean[0]),
        float(total[1:].sum() / worn) if worn else np.nan,
        slope,
        eta2,
        p,
    )
