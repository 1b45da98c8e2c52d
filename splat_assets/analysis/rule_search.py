"""The best rule for a feature: up to three conditions, chosen on half of the builds and scored on the other half.

"Best" is the F1 of "the rule holds" for "the feature fires". Choosing among thousands of rules finds something in noise,
too; scoring on builds that did not choose corrects for that, and the null says what noise reaches: activations that are
permuted over samples fire on a random set of the same size, so its distribution depends on that size alone.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.build_table import BuildTable
from splat_assets.analysis.rule_library import RuleLibrary
from splat_assets.domain.concepts import All, Rule
from splat_assets.store.activations import Activations

BEAM = 24
LONGER_MUST_GAIN = 0.01
"""What a further condition must add to F1 on the half that chooses, so that shorter rules are kept where they are as good."""
LEAST_F1 = 0.5
"""Below this no rule is suggested as a label, however far from chance: it misses or invents as much as it gets right."""
LEAST_AUROC = 0.7
"""A rule that nearly every build fulfils has a high F1 for a feature that fires nearly everywhere, and tells nothing."""
LEAST_ACTIVE = 10
"""A feature must fire on so many samples of each half."""
_BLOCK_ACTIVE = 32_768
_BOOTSTRAPS = 1_000
NULL_QUANTILE = 0.99
_NULL_SIZES = 16
_MOST_TRIPLES = 400
_NULL_ACTIVE = 4_000_000


@dataclass(frozen=True, slots=True)
class Score:
    """How well a rule says where a feature fires, over n samples. Shares are None where they have no denominator.

    n_rule: samples on which the rule holds. n_active: on which the feature fires. n_both: on which both. auroc: probability
    that the activation is higher on a sample of the rule than on another one, ties (zeros) counting half. f1_low, f1_high: 95 %
    interval, bootstrap over samples.
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


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The best rule for a feature, and how it does on the half that did not choose it.

    train_f1: on the half that chose. token, token_score: the best single token, chosen and scored alike. threshold: the F1 that
    NULL_QUANTILE of permuted features of this size stay below. p: how many of them reach as much, (1 + k) / (1 + n).
    """

    rule: Rule
    train_f1: float
    score: Score
    token: Rule
    token_score: Score
    threshold: float
    p: float

    @property
    def suggested(self) -> bool:
        """Whether the rule is good enough to be proposed as a label: its interval lies beyond chance, F1 is at least LEAST_F1 and
        AUROC at least LEAST_AUROC."""
        good = self.score.f1 >= LEAST_F1 and (self.score.auroc or 0.0) >= LEAST_AUROC
        return good and self.score.f1_low > self.threshold


def score_rule(
    rule: Rule, builds: BuildTable, found: Activations, within: npt.NDArray[np.bool_] | None = None, seed: int = 0
) -> Score:
    """How well a rule says where a feature fires. within: only these samples, bool, shape (n_samples,); all if left out."""
    return _score(builds.holds(rule), found, within, seed)


class RuleSearch:
    """Best rules for features over one set of builds.

    null_size: permuted features per size; fewer where so many activations are searched that their F1s hardly differ. nulls: of
    sizes that were drawn before, by the same builds and seed.
    """

    def __init__(
        self,
        builds: BuildTable,
        seed: int = 0,
        null_size: int = 30,
        nulls: Mapping[int, npt.NDArray[np.float64]] | None = None,
    ) -> None:
        self.builds = builds
        self.seed = seed
        self._null_size = null_size
        self.library = RuleLibrary(builds, seed)
        self.nulls: dict[int, npt.NDArray[np.float64]] = dict(nulls or {})

    def suggest(self, found: Activations, feature_id: int = 0) -> Suggestion | None:
        """The best rule for a feature; None where it fires on too few samples of a half, or on nearly all."""
        best = self._best(found.sample_ids)
        if best is None:
            return None
        rule, train_f1, token = best
        test, seed = ~self.library.train, self.seed + feature_id
        threshold, p_of = self._null_at(found.n_active)
        score = score_rule(rule, self.builds, found, test, seed)
        return Suggestion(
            rule,
            train_f1,
            score,
            token,
            score_rule(token, self.builds, found, test, seed),
            threshold,
            (1 + int((p_of >= score.f1).sum())) / (1 + p_of.size),
        )

    def _best(self, sample_ids: npt.NDArray[np.integer]) -> tuple[Rule, float, Rule] | None:
        """The rule with the highest F1 on the first half, that F1, and the best single token."""
        library = self.library
        active = sample_ids[library.train[sample_ids]].astype(np.int64)
        n_test = sample_ids.size - active.size
        left = (library.n_train - active.size, self.builds.n_samples - library.n_train - n_test)
        if min(active.size, n_test) < LEAST_ACTIVE or min(left) < LEAST_ACTIVE or not library.n_conditions:
            return None
        ones = _sums(library, active, None)
        f1 = _f1(ones, library.counts, active.size)
        tokens = np.array([condition.token for condition in library.conditions])
        token = int(np.where(tokens, f1, -1).argmax())
        chosen: tuple[int, ...] = (int(f1.argmax()),)
        value = float(f1[chosen[0]])
        beam = np.argsort(-f1, kind="stable")[:BEAM]
        twos = _sums(library, active, [(int(one),) for one in beam])
        pair_f1 = _f1(twos, library.pair_counts[beam], active.size)
        at = np.unravel_index(int(pair_f1.argmax()), pair_f1.shape)
        if pair_f1[at] > value + LONGER_MUST_GAIN:
            chosen, value = (int(beam[at[0]]), int(at[1])), float(pair_f1[at])
        three = self._best_three(active, beam, pair_f1, value + LONGER_MUST_GAIN)
        if three is not None:
            chosen, value = three
        return _as_rule(library, chosen), value, library.conditions[token].rule

    def _best_three(
        self, active: npt.NDArray[np.int64], beam: npt.NDArray[np.intp], pair_f1: npt.NDArray[np.float64], above: float
    ) -> tuple[tuple[int, ...], float] | None:
        """The best three conditions, if better than `above`; counted in order of what they could reach, _MOST_TRIPLES at most."""
        library = self.library
        order = np.argsort(-pair_f1, axis=None, kind="stable")[: 4 * BEAM]
        pairs = list(dict.fromkeys(tuple(sorted((int(beam[i]), int(j)))) for i, j in
                                   zip(*np.unravel_index(order, pair_f1.shape), strict=True) if beam[i] != j))[:BEAM]  # fmt: skip
        if not pairs:
            return None
        both = _sums(library, active, pairs)
        # A rule holds at least where it is right, and at most where each two of its conditions do.
        bound = 2 * both / (active.size + both)
        queue = [(-float(bound[i, j]), i, j) for i, j in zip(*np.nonzero(bound > above), strict=True)]
        heapq.heapify(queue)
        best, value = None, above
        for _ in range(_MOST_TRIPLES):
            if not queue or -queue[0][0] <= value:
                break
            _, i, j = heapq.heappop(queue)
            a, b = pairs[i]
            if j in (a, b):
                continue
            n_rule = int(np.bitwise_count(library.bits[a] & library.bits[b] & library.bits[j]).sum())
            f1 = 2 * float(both[i, j]) / (active.size + n_rule)
            if f1 > value:
                best, value = (a, b, int(j)), f1
        return None if best is None else (best, value)

    @cached_property
    def null_sizes(self) -> tuple[int, ...]:
        """Numbers of active samples for which the null is drawn: close together where F1 of chance is large."""
        n = self.builds.n_samples
        few = np.geomspace(2 * LEAST_ACTIVE, max(n // 8, 2 * LEAST_ACTIVE + 1), _NULL_SIZES // 2)
        many = np.linspace(n // 8, n, _NULL_SIZES // 2)
        return tuple(sorted({int(size) for size in (*few, *many) if 0 < size <= n}))

    def null(self, size: int) -> npt.NDArray[np.float64]:
        """The F1 on the second half of the best rules for permuted features that fire on so many samples; drawn once."""
        if size not in self.nulls:
            self.nulls[size] = np.sort(list(self._null_of(size)))
        return self.nulls[size]

    def _null_of(self, size: int) -> Iterator[float]:
        rng = np.random.default_rng([self.seed, 2, size])
        test = ~self.library.train
        for _ in range(max(10, min(self._null_size, _NULL_ACTIVE // size))):
            ids = np.sort(rng.choice(self.builds.n_samples, size, replace=False))
            best = self._best(ids)
            yield 0.0 if best is None else _f1_within(self.builds.holds(best[0]), ids, test)

    def _null_at(self, n_active: int) -> tuple[float, npt.NDArray[np.float64]]:
        """The threshold at a size, and the null F1s of the nearest size; the higher of the two sizes around it decides."""
        sizes = self.null_sizes
        above = next((size for size in sizes if size >= n_active), sizes[-1])
        below = next((size for size in reversed(sizes) if size <= n_active), sizes[0])
        around = [self.null(size) for size in {below, above}]
        values = max(around, key=lambda held: float(np.quantile(held, NULL_QUANTILE)))
        return float(np.quantile(values, NULL_QUANTILE)), values


def _sums(
    library: RuleLibrary, active: npt.NDArray[np.int64], starts: Sequence[tuple[int, ...]] | None
) -> npt.NDArray[np.float64]:
    """On how many active samples each condition holds, together with each of starts: shape (n_starts, n_conditions)."""
    rows = 1 if starts is None else len(starts)
    found = np.zeros((rows, library.n_conditions))
    for first in range(0, active.size, _BLOCK_ACTIVE):
        members = library.members(active[first : first + _BLOCK_ACTIVE])
        if starts is None:
            found += members.sum(axis=0)
        else:
            held = np.stack([members[:, list(start)].min(axis=1) for start in starts])
            found += held @ members
    return found if starts is not None else found[0]


def _f1(both: npt.NDArray[np.float64], n_rule: npt.NDArray[np.integer], n_active: int) -> npt.NDArray[np.float64]:
    return np.asarray(2 * both / (n_rule + n_active))


def _as_rule(library: RuleLibrary, chosen: tuple[int, ...]) -> Rule:
    """The conditions together, those that say what there is first; one that another implies is left out."""
    needed = [one for one in sorted(chosen) if not any(
        _implies(library, other, one) and not (_implies(library, one, other) and other > one)
        for other in chosen if other != one)]  # fmt: skip
    ordered = sorted(needed, key=lambda at: (not library.conditions[at].positive, at))
    rules = [library.conditions[at].rule for at in ordered]
    return rules[0] if len(rules) == 1 else All(tuple(rules))


def _implies(library: RuleLibrary, one: int, other: int) -> bool:
    """Whether, on the first half, the other condition holds wherever the one does."""
    return int(library.pair_counts[one, other]) == int(library.counts[one])


def _f1_within(holds: npt.NDArray[np.bool_], ids: npt.NDArray[np.integer], within: npt.NDArray[np.bool_]) -> float:
    inside = ids[within[ids]]
    n_both, n_rule = int(holds[inside].sum()), int((holds & within).sum())
    return 2 * n_both / max(1, n_rule + int(inside.size))


def _score(holds: npt.NDArray[np.bool_], found: Activations, within: npt.NDArray[np.bool_] | None, seed: int) -> Score:
    kept = np.ones(holds.size, dtype=np.bool_) if within is None else within
    inside = kept[found.sample_ids]
    ids, values = found.sample_ids[inside], found.values[inside]
    n, n_rule, n_active = int(kept.sum()), int((holds & kept).sum()), int(ids.size)
    right = holds[ids]
    n_both = int(right.sum())
    f1 = 2 * n_both / (n_rule + n_active) if n_rule + n_active else 0.0
    low, high = _f1_interval(n, n_rule, n_active, n_both, seed)
    return Score(
        n,
        n_rule,
        n_active,
        n_both,
        n_both / n_rule if n_rule else None,
        n_both / n_active if n_active else None,
        f1,
        low,
        high,
        _auroc(values, right, n_rule, n - n_rule),
    )


def _f1_interval(n: int, n_rule: int, n_active: int, n_both: int, seed: int) -> tuple[float, float]:
    """Percentile interval over resamples of the samples, of which only the four kinds matter: a multinomial draw."""
    kinds = np.array([n_both, n_rule - n_both, n_active - n_both, n - n_rule - n_active + n_both], dtype=np.float64)
    if n == 0 or n_rule + n_active == 0:
        return 0.0, 0.0
    drawn = np.random.default_rng(seed).multinomial(n, kinds / n, size=_BOOTSTRAPS)
    f1 = 2 * drawn[:, 0] / np.maximum(2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2], 1)
    low, high = np.quantile(f1, [0.025, 0.975])
    return float(low), float(high)


def _auroc(values: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], n_rule: int, n_other: int) -> float | None:
    """Mann and Whitney's statistic over all samples, zeros included, as a probability; None where a side is empty."""
    if not n_rule or not n_other:
        return None
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    zeros = n_rule + n_other - values.size
    # Midranks: zeros come first, equal values share the mean of their ranks.
    ends = zeros + np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[places]
    n_zero_rule = n_rule - int(right.sum())
    total = float(ranks[right].sum()) + n_zero_rule * (zeros + 1) / 2
    return (total - n_rule * (n_rule + 1) / 2) / (n_rule * n_other)
