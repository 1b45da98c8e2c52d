"""How well a rule over builds says where a feature fires: precision, recall, F1 with its interval, AUROC.

Samples of one build say the same again: they are drawn together when the interval is bootstrapped, so that a build that many
players wear does not pass for many observations.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.domain.concepts import Rule
from splat_assets.store.activations import Activations

Flags = npt.NDArray[np.bool_]
_BOOTSTRAPS = 1_000
_MOST_CODES = 2**20


@dataclass(frozen=True, slots=True)
class Score:
    """How well a rule says where a feature fires, over n samples. Shares are None where they have no denominator.

    n_rule: samples on which the rule holds. n_active: on which the feature fires. n_both: on which both. auroc: probability
    that the activation is higher on a sample of the rule than on another one, ties (zeros) counting half. f1_low, f1_high: 95 %
    interval, bootstrap over distinct builds.
    """

    n: int
    n_rule: int
    n_active: int
    n_both: int
    precision: float | None
    recall: float | None
    f1: float
    f1_low: float
    f1_high: float
    auroc: float | None


class RuleScorer:
    """Scores rules over some of the samples: within, bool, shape (n_samples,); all if left out."""

    def __init__(self, builds: BuildTable, within: Flags | None = None) -> None:
        self._builds = builds
        self._within = np.ones(builds.n_samples, dtype=np.bool_) if within is None else within
        self._n = int(self._within.sum())
        self._sizes = np.bincount(builds.distinct[self._within], minlength=builds.n_distinct)
        self._n_builds = int(np.count_nonzero(self._sizes))

    def f1(self, rule: Rule, sample_ids: npt.NDArray[np.integer]) -> float:
        """The F1 of the rule for a feature that fires on these samples."""
        holds, inside = self._builds.holds(rule), self._within[sample_ids]
        n = int(np.count_nonzero(holds & self._within)) + int(np.count_nonzero(inside))
        return 2 * int(np.count_nonzero(holds[sample_ids[inside]])) / n if n else 0.0

    def score(self, rule: Rule, activations: Activations, seed: int = 0) -> Score:
        """How well the rule says where the feature fires; InputError for a rule of what is not there."""
        holds = self._builds.holds(rule)
        inside = self._within[activations.sample_ids]
        ids, values = activations.sample_ids[inside], activations.values[inside]
        n_rule, n_active = int(np.count_nonzero(holds & self._within)), int(ids.size)
        right = holds[ids]
        n_both = int(np.count_nonzero(right))
        low, high = self._f1_interval(holds, ids, seed) if n_rule + n_active else (0.0, 0.0)
        return Score(
            n=self._n,
            n_rule=n_rule,
            n_active=n_active,
            n_both=n_both,
            precision=n_both / n_rule if n_rule else None,
            recall=n_both / n_active if n_active else None,
            f1=2 * n_both / (n_rule + n_active) if n_rule + n_active else 0.0,
            f1_low=low,
            f1_high=high,
            auroc=_auroc(values, right, n_rule, self._n - n_rule),
        )

    def _f1_interval(self, holds: Flags, ids: npt.NDArray[np.integer], seed: int) -> tuple[float, float]:
        """Percentile interval over resamples of the builds (Efron 1979, of clusters).

        A build counts by whether the rule holds on it, its samples and its active ones; builds that have these alike are drawn
        as one kind, which makes a resample one multinomial draw.
        """
        distinct = self._builds.distinct
        of_rule = np.zeros(self._builds.n_distinct, dtype=np.bool_)
        of_rule[distinct[holds & self._within]] = True
        n_active = np.bincount(distinct[ids], minlength=self._builds.n_distinct)
        involved = np.flatnonzero(of_rule | (n_active > 0))
        fits, fires, sizes = of_rule[involved].astype(np.int64), n_active[involved], self._sizes[involved]
        width = int(sizes.max()) + 1
        codes = (sizes * width + fires) * 2 + fits
        if 2 * width**2 <= _MOST_CODES:
            counts = np.bincount(codes)
            kinds = np.flatnonzero(counts)
            counts = counts[kinds]
        else:
            kinds, counts = np.unique(codes, return_counts=True)
        fits, fires, sizes = kinds % 2, kinds // 2 % width, kinds // 2 // width
        shares = np.append(counts, self._n_builds - counts.sum()) / self._n_builds
        drawn = np.random.default_rng(seed).multinomial(self._n_builds, shares, size=_BOOTSTRAPS)[:, :-1]
        f1 = 2 * (drawn @ (fits * fires)) / np.maximum(drawn @ (fits * sizes + fires), 1)
        low, high = np.quantile(f1, [0.025, 0.975])
        return float(low), float(high)


def score_rule(
    rule: Rule, builds: BuildTable, activations: Activations, within: Flags | None = None, seed: int = 0
) -> Score:
    """How well a rule says where a feature fires. within: only these samples, bool, shape (n_samples,); all if left out."""
    return RuleScorer(builds, within).score(rule, activations, seed)


def _auroc(values: npt.NDArray[np.float32], right: Flags, n_rule: int, n_other: int) -> float | None:
    """Mann and Whitney's statistic over all samples, zeros included, as a probability; None where a side is empty."""
    if not n_rule or not n_other:
        return None
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    zeros = n_rule + n_other - values.size
    # Midranks: zeros come first, equal values share the mean of their ranks.
    ends = zeros + np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[places]
    n_zero_rule = n_rule - int(np.count_nonzero(right))
    total = float(ranks[right].sum()) + n_zero_rule * (zeros + 1) / 2
    return (total - n_rule * (n_rule + 1) / 2) / (n_rule * n_other)
