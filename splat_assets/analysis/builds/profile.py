"""Association of a feature with each token, weapon or value of a category over all samples, and its response to AP."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.builds.build_table import BuildTable, Group
from splat_assets.analysis.inference.grouped import Grouped, grouped
from splat_assets.analysis.inference.intervals import benjamini_hochberg, lift_interval, two_by_two_p, with_q
from splat_assets.analysis.inference.similarity import phi
from splat_assets.store.activations import Activations


def token_profile(activations: Activations, builds: BuildTable) -> pl.DataFrame:
    """One row per ordinary token that any build has, as `_profile`, by falling phi. Columns: `token`, and those."""
    tokens, owners = builds.tokens_of(activations.sample_ids)
    n_tokens = len(builds.vocabulary)
    n_both = np.bincount(tokens, minlength=n_tokens)
    total = np.bincount(tokens, weights=activations.values[owners], minlength=n_tokens).astype(np.float64)
    special = [i for i in (builds.vocabulary.pad_id, builds.vocabulary.null_id) if i is not None and i >= 0]
    ordinary = np.setdiff1d(np.flatnonzero(builds.n_with_token), special)
    names = [token.name for token in builds.vocabulary.tokens]
    return _profile("token", names, ordinary, n_both, builds.n_with_token, total, activations, builds.n_samples)


def weapon_profile(activations: Activations, builds: BuildTable) -> pl.DataFrame:
    """One row per weapon that any build has, as `_profile`, by falling phi. Columns: `weapon`, and those."""
    weapons = builds.weapons[activations.sample_ids]
    known = weapons >= 0
    n_weapons = len(builds.contexts)
    n_both = np.bincount(weapons[known], minlength=n_weapons)
    total = np.bincount(weapons[known], weights=activations.values[known], minlength=n_weapons).astype(np.float64)
    there = np.flatnonzero(builds.n_with_weapon)
    names = [context.name for context in builds.contexts.items]
    return _profile("weapon", names, there, n_both, builds.n_with_weapon, total, activations, builds.n_samples)


def _profile(
    what: str,
    names: list[str],
    rows: npt.NDArray[np.integer],
    n_both: npt.NDArray[np.int64],
    n_with: npt.NDArray[np.int64],
    total: npt.NDArray[np.float64],
    activations: Activations,
    n_samples: int,
) -> pl.DataFrame:
    """n: samples with it. n_active: those of them on which the feature fires. share_of_active: of all samples on which it
    fires. lift: how many times as often it fires there as overall. mean, mean_without: activation with and without it, zeros
    included. phi, q: correlation of the two facts, and its p adjusted for the number of rows."""
    both, with_it = n_both[rows], n_with[rows]
    lift, low, high = lift_interval(both, with_it, activations.n_active, n_samples)
    whole = float(activations.values.astype(np.float64).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total[rows] / with_it
        without = (whole - total[rows]) / (n_samples - with_it)
    correlation = phi(both, with_it, activations.n_active, n_samples)
    return (
        pl.DataFrame(
            {
                what: [names[row] for row in rows.tolist()],
                f"{what}_id": rows.astype(np.int32),
                "n": with_it,
                "n_active": both,
                "share_of_active": both / max(activations.n_active, 1),
                "lift": lift,
                "lift_low": low,
                "lift_high": high,
                "mean": mean,
                "mean_without": without,
                "phi": correlation,
                "q": benjamini_hochberg(two_by_two_p(both, with_it, activations.n_active, n_samples)),
            }
        )
        .fill_nan(None)
        .sort(["phi", f"{what}_id"], descending=[True, False], nulls_last=True)
    )


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
