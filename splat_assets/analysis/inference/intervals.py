"""Intervals and tests for shares, means and lifts, and the correction for multiple testing.

All of them take arrays and answer with arrays. Where too little is known for an answer, the answer is NaN.
"""

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import betaincinv, erfc, gammaln, ndtri

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
"""Coverage of every reported interval."""
Z = float(ndtri((1 + LEVEL) / 2))
"""Half the width of such an interval of a normal quantity, in standard errors."""


def share_interval(n_hits: npt.ArrayLike, n: npt.ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The exact interval of a share (Clopper and Pearson 1934): covers the true share at least `level` of the time.

    Returns:
        Low and high, of the shape of the counts; NaN where n is 0.

    Examples:
        >>> low, high = share_interval(0, 10)
        >>> round(float(low), 3), round(float(high), 3)
        (0.0, 0.308)
    """
    hits, total = np.asarray(n_hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        low = np.where(hits > 0, betaincinv(np.maximum(hits, 1), total - hits + 1, tail), 0.0)
        high = np.where(hits < total, betaincinv(hits + 1, np.maximum(total - hits, 1), 1 - tail), 1.0)
    return np.where(total > 0, low, np.nan), np.where(total > 0, high, np.nan)


def wilson_interval(n_hits: npt.ArrayLike, n: npt.ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The score interval of a share (Wilson 1927); for n = 0 what it is for n = 1.

    Returns:
        Low and high, of the shape of the counts.

    Examples:
        >>> low, high = wilson_interval(5, 10)
        >>> round(float(low), 3), round(float(high), 3)
        (0.237, 0.763)
    """
    hits, total = np.asarray(n_hits, dtype=np.float64), np.maximum(np.asarray(n, dtype=np.float64), 1)
    z = ndtri((1 + level) / 2)
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    return centre - half, centre + half


def bootstrap_mean_interval(
    values: npt.NDArray[np.floating], n_zeros: int, rng: np.random.Generator, level: float = LEVEL, n_draws: int = 2_000
) -> tuple[float, float]:
    """Percentile interval of the mean of values and n_zeros zeros (Efron 1979), from n_draws resamples; NaN for nothing.

    Examples:
        >>> low, high = bootstrap_mean_interval(np.ones(50), 50, np.random.default_rng(0))
        >>> 0.39 < low < 0.42 and 0.58 < high < 0.61
        True
    """
    n = values.size + n_zeros
    if n == 0:
        return float("nan"), float("nan")
    if values.size == 0:
        return 0.0, 0.0
    # A resample of n holds a binomial number of values that are not 0, and those are drawn from the values.
    n_drawn = rng.binomial(n, values.size / n, size=n_draws)
    drawn = values.astype(np.float64)[rng.integers(0, values.size, size=int(n_drawn.sum()))]
    edges = np.concatenate([[0], np.cumsum(n_drawn)])
    sums = np.concatenate([[0.0], np.cumsum(drawn)])
    means = (sums[edges[1:]] - sums[edges[:-1]]) / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_mean_interval(n: npt.ArrayLike, powers: npt.ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The interval that `bootstrap_mean_interval` draws, from moments instead: its quantiles by Cornish and Fisher (1938).

    n: numbers in each group, zeros among them, shape (n_groups,). powers: sums of their first four powers, shape (4, n_groups).
    With 20 numbers or more that are not 0 it is nearer to what endless resamples would give than 2,000 are. NaN for no number.
    """
    n = np.asarray(n, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        m1, m2, m3, m4 = np.asarray(powers, dtype=np.float64) / n
        variance = np.maximum(m2 - m1**2, 0)
        third = m3 - 3 * m1 * m2 + 2 * m1**3
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        spread = variance > 1e-12 * m2
        skewness = np.where(spread, third / variance**1.5, 0) / np.sqrt(n)
        excess = np.where(spread, fourth / variance**2 - 3, 0) / n
        z = ndtri((1 + level) / 2)
        even = skewness * (z**2 - 1) / 6
        odd = z + excess * (z**3 - 3 * z) / 24 - skewness**2 * (2 * z**3 - 5 * z) / 36
        error = np.sqrt(variance / n)
    return m1 + (even - odd) * error, m1 + (even + odd) * error


def lift_interval(
    n_both: npt.ArrayLike, n_left: npt.ArrayLike, n_right: npt.ArrayLike, n_all: npt.ArrayLike, level: float = LEVEL
) -> tuple[Floats, Floats, Floats]:
    """Lift P(both) / (P(left) P(right)) and its interval; NaN where left or right is empty.

    log(lift) is asymptotically normal; by the delta method on the four counts of a multinomial its variance is
    1/n_both - 1/n_left - 1/n_right + (2 lift - 1)/n_all (n_both = 0 counts as 1/2 here, and its interval begins at 0).

    Returns:
        Lift, low and high, of the shape of the counts.

    Examples:
        >>> [round(float(value), 2) for value in lift_interval(20, 40, 50, 200)]
        [2.0, 1.52, 2.64]
    """
    both, left = np.asarray(n_both, dtype=np.float64), np.asarray(n_left, dtype=np.float64)
    right, total = np.asarray(n_right, dtype=np.float64), np.asarray(n_all, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        lift = both * total / (left * right)
        counted = np.maximum(both, 0.5)
        centre = counted * total / (left * right)
        spread = np.sqrt(np.maximum(1 / counted - 1 / left - 1 / right + (2 * centre - 1) / total, 0))
        factor = np.exp(ndtri((1 + level) / 2) * spread)
        low = np.where(both > 0, lift / factor, 0.0)
        high = centre * factor
    known = (left > 0) & (right > 0)
    return np.where(known, lift, np.nan), np.where(known, low, np.nan), np.where(known, high, np.nan)


def two_by_two_p(n_both: npt.ArrayLike, n_left: npt.ArrayLike, n_right: npt.ArrayLike, n_all: npt.ArrayLike) -> Floats:
    """Two-sided p of independence of two sets, from four counts.

    Pearson's chi-square with one degree of freedom; Fisher's exact test (twice the smaller tail) where an expected count is
    below 5. NaN where a set is empty or everything.

    Examples:
        >>> round(float(two_by_two_p(30, 50, 50, 100)), 3)
        0.046
    """
    both, left, right, total = (
        counts.astype(np.float64) for counts in np.broadcast_arrays(n_both, n_left, n_right, n_all)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = left * right / total
        chi = (both - expected) ** 2 / (expected * (1 - left / total) * (1 - right / total))
        p = erfc(np.sqrt(chi / 2))
        least = np.minimum.reduce([expected, left - expected, right - expected, total - left - right + expected])
    meaningful = (left > 0) & (right > 0) & (left < total) & (right < total)
    p = np.where(meaningful, p, np.nan)
    for at in np.flatnonzero(meaningful & (least < 5)):
        p.reshape(-1)[at] = _fisher(*(int(of.reshape(-1)[at]) for of in (both, left, right, total)))
    return np.asarray(p)


def _fisher(both: int, left: int, right: int, total: int) -> float:
    counts = np.arange(max(0, left + right - total), min(left, right) + 1, dtype=np.float64)
    log_p = _log_choose(right, counts) + _log_choose(total - right, left - counts) - _log_choose(total, float(left))
    p = np.exp(log_p)
    at = both - int(counts[0])
    return float(min(1.0, 2 * min(p[: at + 1].sum(), p[at:].sum())))


def _log_choose(n: int, k: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    return np.asarray(gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - np.asarray(k) + 1))


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Adjusted p-values (q): rejecting q <= alpha keeps the expected share of false discoveries at most alpha (Benjamini and
    Hochberg 1995). NaN stays NaN and does not count as a test.

    Examples:
        >>> benjamini_hochberg([0.01, 0.04, float("nan"), 0.03]).round(3).tolist()
        [0.03, 0.04, nan, 0.04]
    """
    raw = np.asarray(p, dtype=np.float64)
    adjusted = np.full(raw.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(raw))
    if tested.size == 0:
        return adjusted
    order = tested[np.argsort(raw[tested], kind="stable")]
    scaled = raw[order] * tested.size / np.arange(1, tested.size + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def with_q(frame: pl.DataFrame, p: str = "p", q: str = "q") -> pl.DataFrame:
    """The frame with missing values for NaN, and with the column q, `q_of` its column p, in the place of p."""
    return frame.drop(p).with_columns(q_of(frame[p]).alias(q)).fill_nan(None)


def q_of(p: pl.Series) -> pl.Series:
    """`benjamini_hochberg` of a column of p-values; missing where p is."""
    return pl.Series("q", benjamini_hochberg(p.fill_null(np.nan).to_numpy())).fill_nan(None)
