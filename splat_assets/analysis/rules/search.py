"""The best rule for a feature: up to three conditions, chosen on half of the builds and scored on the other half.

"Best" is the F1 of "the rule holds" for "the feature fires", less a little for every condition. Choosing among thousands of
rules finds something in noise, too: scoring on builds that did not choose corrects for that, and `rule_null` says what noise
reaches.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.rules.library import Bits, RuleLibrary
from splat_assets.analysis.rules.null import RuleNull
from splat_assets.analysis.rules.score import RuleScorer, Score
from splat_assets.domain.concepts import All, Rule, WeaponIs
from splat_assets.store.activations import Activations

BEAM = 24
LONGEST_LIST = 4
"""Values in one condition `class in (roller, brush)`."""
MUST_GAIN = 0.01
NOISE_SHARE = 0.3
"""What every further condition, or value of a list, must add to F1 on the half that chooses: MUST_GAIN, and where the feature
fires on few samples there, NOISE_SHARE / sqrt(their number), a part of the standard error."""
LEAST_F1 = 0.5
"""Below this no rule is suggested as a label, however far from chance: it misses or invents as much as it gets right."""
LEAST_AUROC = 0.7
"""A rule that nearly every build fulfils has a high F1 for a feature that fires nearly everywhere, and tells nothing."""
LEAST_ACTIVE = 10
"""A feature must fire on so many samples of each half, and be silent on as many."""
N_DRAWS = 99
"""Permuted features per size."""
_MOST_TRIPLES = 400
_BLOCK_TRIPLES = 32
_LISTED_STARTS = 8
_LISTED_VALUES = 8

Chosen: TypeAlias = tuple[tuple[int, ...], ...]
"""Conditions that must all hold, by their numbers in the library; of several numbers, one of them."""
ScoredRule: TypeAlias = tuple[Chosen, float]
"""A rule, and its F1 on the first half less the price of each number in it."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The best rule for a feature, and how it does on the half that did not choose it.

    train_f1: on the half that chose. token, token_f1: the best single token, chosen and scored alike. threshold: the highest
    F1 that one of n_null permuted features of this size reached. p: how many of them reach as much, (1 + k) / (1 + n_null).
    """

    rule: Rule
    train_f1: float
    score: Score
    token: Rule
    token_f1: float
    threshold: float
    n_null: int
    p: float

    @property
    def suggested(self) -> bool:
        """Whether the rule is good enough to be proposed as a label: its interval lies beyond chance, F1 is at least LEAST_F1 and
        AUROC at least LEAST_AUROC."""
        good = self.score.f1 >= LEAST_F1 and (self.score.auroc or 0.0) >= LEAST_AUROC
        return good and self.score.f1_low > self.threshold


class RuleSearch:
    """Best rules for features over one set of builds.

    Args:
        builds: the samples' builds; both halves are cut from them by seed.
        n_draws: permuted features per size.
        nulls: F1s of permuted features, by size, that the same builds and seed gave before.

    Examples:
        >>> from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary
        >>> vocabulary = Vocabulary(tuple(Token(i, name, name, None) for i, name in enumerate(("haunt", "tenacity"))), -1, None)
        >>> rng = np.random.default_rng(0)
        >>> worn = rng.random((400, 2)) < 0.5
        >>> worn[:, 1] |= ~worn.any(axis=1)
        >>> rows, tokens = np.nonzero(worn)
        >>> offsets = np.concatenate([[0], np.cumsum(worn.sum(axis=1))])
        >>> weapons = rng.integers(0, 200, 400).astype(np.int32)
        >>> contexts = Contexts(tuple(Context(i, f"weapon_id_{i}", f"W{i}") for i in range(200)))
        >>> builds = BuildTable(tokens.astype(np.int32), offsets, weapons, vocabulary, contexts)
        >>> RuleSearch(builds, n_draws=20).suggest(Activations.from_dense(worn[:, 0].astype(np.float32))).rule
        Wears(ability='haunt', at_least=None)
    """

    def __init__(
        self,
        builds: BuildTable,
        seed: int = 0,
        n_draws: int = N_DRAWS,
        nulls: Mapping[int, npt.NDArray[np.float64]] | None = None,
    ) -> None:
        self.builds = builds
        self.seed = seed
        self.library = RuleLibrary(builds, seed)
        self.null = RuleNull(self._held_out_f1, builds.n_samples, LEAST_ACTIVE, seed, n_draws, nulls)
        self._scorer = RuleScorer(builds, ~self.library.train)
        self._tokens = np.array([condition.token for condition in self.library.conditions], dtype=np.bool_)
        self._values = _padded([*self.library.values.values()], len(self.library.conditions))

    def suggest(self, activations: Activations, feature_id: int = 0) -> Suggestion | None:
        """The best rule for a feature; None where it fires on too few samples of a half, or on nearly all."""
        best = self._best(activations.sample_ids)
        if best is None:
            return None
        chosen, train_f1, token_at = best
        rule, token = as_rule(self.library, chosen), self.library.conditions[token_at].rule
        score = self._scorer.score(rule, activations, self.seed + feature_id)
        null = self.null.near(activations.n_active)
        return Suggestion(
            rule,
            train_f1,
            score,
            token,
            self._scorer.f1(token, activations.sample_ids),
            threshold=float(null[-1]),
            n_null=int(null.size),
            p=(1 + int((null >= score.f1).sum())) / (1 + null.size),
        )

    def _held_out_f1(self, sample_ids: npt.NDArray[np.int64]) -> float | None:
        best = self._best(sample_ids)
        return None if best is None else self._scorer.f1(as_rule(self.library, best[0]), sample_ids)

    def _best(self, sample_ids: npt.NDArray[np.integer]) -> tuple[Chosen, float, int] | None:
        """The best rule on the first half, its F1 there, and the best single token."""
        library = self.library
        active = sample_ids[library.train[sample_ids]].astype(np.int64)
        price = _price(active.size)
        n_test = sample_ids.size - active.size
        silent = (library.n_train - active.size, self.builds.n_samples - library.n_train - n_test)
        if min(active.size, n_test, *silent) < LEAST_ACTIVE or not self._tokens.any():
            return None
        held = library.columns(active)
        ones = _sums(held, [()])[0]
        f1 = _f1(ones, library.counts, active.size)
        beam = np.argsort(-f1, kind="stable")[:BEAM]
        singles = [(int(one),) for one in beam]
        twos = _sums(held, singles)
        two_f1 = _f1(twos, library.pair_counts[beam], active.size)
        pairs = _best_pairs(beam, two_f1)
        threes = _sums(held, pairs)
        best: ScoredRule = (((int(beam[0]),),), float(f1[beam[0]]) - price)
        i, j = np.unravel_index(int(two_f1.argmax()), two_f1.shape)
        best = _better(best, (((int(beam[i]),), (int(j),)), float(two_f1[i, j]) - 2 * price))
        best = _better(best, self._best_three(active.size, pairs, threes, best[1] + 3 * price))
        starts = [(), *singles[:_LISTED_STARTS], *pairs[:_LISTED_STARTS]]
        both = np.concatenate([ones[None], twos[:_LISTED_STARTS], threes[:_LISTED_STARTS]])
        best = _better(best, self._best_list(active.size, starts, both))
        n_numbers = sum(len(part) for part in best[0])
        return best[0], best[1] + n_numbers * price, int(np.where(self._tokens, f1, -1).argmax())

    def _best_three(
        self, n_active: int, pairs: Sequence[tuple[int, ...]], both: npt.NDArray[np.float64], above: float
    ) -> ScoredRule | None:
        """The best three conditions with an F1 above a bound; counted in order of what they could reach, 400 at most."""
        bits = self.library.bits
        # A rule holds at least where it is right.
        bound = 2 * both / (n_active + both)
        rows, thirds = np.nonzero(bound > above)
        order = np.argsort(-bound[rows, thirds], kind="stable")[:_MOST_TRIPLES]
        triples = np.column_stack([np.array(pairs)[rows[order]], thirds[order]])
        distinct = (triples[:, :2] != triples[:, 2:]).all(axis=1)
        rows, thirds, triples = rows[order][distinct], thirds[order][distinct], triples[distinct]
        best: ScoredRule | None = None
        for start in range(0, len(triples), _BLOCK_TRIPLES):
            block = slice(start, start + _BLOCK_TRIPLES)
            if bound[rows[start], thirds[start]] <= above:
                break
            n_rule = np.bitwise_count(np.bitwise_and.reduce(bits[triples[block]], axis=1)).sum(axis=1, dtype=np.int64)
            f1 = _f1(both[rows[block], thirds[block]], n_rule, n_active)
            at = int(f1.argmax())
            if f1[at] > above:
                above = float(f1[at])
                best = tuple((int(one),) for one in triples[start + at]), above - 3 * _price(n_active)
        return best

    def _best_list(
        self, n_active: int, starts: Sequence[tuple[int, ...]], both: npt.NDArray[np.float64]
    ) -> ScoredRule | None:
        """The best of the rules that join a start to a list of two to four values of one attribute.

        both: active samples of each start with each condition, shape (n_starts, n_conditions). Values exclude each other, so the
        best list holds those of the highest precision. Arrays below have the shape (n_starts, n_attributes, values).
        """
        values = self._values
        if values.size == 0:
            return None
        padded = np.concatenate([both, np.zeros((len(starts), 1))], axis=1)[:, values]
        order = np.argsort(-padded, axis=2, kind="stable")[..., :_LISTED_VALUES]
        likely = np.take_along_axis(np.broadcast_to(values, padded.shape), order, axis=2)
        n_both = np.take_along_axis(padded, order, axis=2)
        is_free = (n_both > 0).sum(axis=2) > 1
        for at, start in enumerate(starts):
            is_free[at, np.isin(values, start).any(axis=1)] = False
        n_rule = self._n_listed(starts, likely, is_free)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(n_both > 0, n_both / n_rule, -np.inf)
        order = np.argsort(-precision, axis=2, kind="stable")[..., :LONGEST_LIST]
        likely, n_both, n_rule = (np.take_along_axis(one, order, axis=2) for one in (likely, n_both, n_rule))
        f1 = _f1(np.cumsum(n_both, axis=2), np.cumsum(n_rule, axis=2), n_active)
        n_values = np.array([len(start) for start in starts])[:, None, None] + 1 + np.arange(order.shape[2])
        worth = np.where((n_both > 0) & is_free[..., None], f1 - _price(n_active) * n_values, -np.inf)
        longest = np.where(worth.argmax(axis=2) > 0, worth.max(axis=2), -np.inf)
        best = int(longest.argmax())
        if not np.isfinite(longest.flat[best]):
            return None
        row, attribute = divmod(best, longest.shape[1])
        listed = likely[row, attribute, : int(worth[row, attribute].argmax()) + 1]
        chosen = (*((one,) for one in starts[row]), tuple(int(one) for one in np.sort(listed)))
        return chosen, float(longest[row, attribute])

    def _n_listed(
        self, starts: Sequence[tuple[int, ...]], likely: npt.NDArray[np.intp], is_free: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Samples of the first half on which each start holds with each of its likely values; 0 where it is not free."""
        bits, counts = self.library.bits, np.zeros(likely.shape, dtype=np.int64)
        for at, start in enumerate(starts):
            held = bits[np.minimum(likely[at, is_free[at]], len(bits) - 1)]
            if start:
                held &= np.bitwise_and.reduce(bits[list(start)], axis=0)
            counts[at, is_free[at]] = np.bitwise_count(held).sum(axis=2)
        return counts


def _padded(rows: Sequence[npt.NDArray[np.intp]], filler: int) -> npt.NDArray[np.intp]:
    """Rows of different lengths as one array, the shorter ones filled up."""
    padded = np.full((len(rows), max((row.size for row in rows), default=0)), filler, dtype=np.intp)
    for at, row in enumerate(rows):
        padded[at, : row.size] = row
    return padded


def _price(n_active: int) -> float:
    """What each condition costs when the feature fires on so many samples of the first half."""
    return max(MUST_GAIN, NOISE_SHARE / math.sqrt(max(n_active, 1)))


def as_rule(library: RuleLibrary, chosen: Chosen) -> Rule:
    """The conditions together, those that say what there is first; one that another implies on the first half is left out."""
    single = [part[0] for part in chosen if len(part) == 1]
    needed = [one for one in single if not any(_makes_idle(library, other, one) for other in single if other != one)]
    needed.sort(key=lambda at: (not library.conditions[at].positive, at))
    parts: list[Rule] = []
    for at in needed:
        rule = library.conditions[at].rule
        parts += rule.rules if isinstance(rule, All) else (rule,)
    lists = [part for part in chosen if len(part) > 1]
    parts[:0] = [_list_of(library, part) for part in lists]
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _list_of(library: RuleLibrary, part: tuple[int, ...]) -> Rule:
    rules = [rule for at in part if isinstance(rule := library.conditions[at].rule, WeaponIs)]
    return WeaponIs(rules[0].attribute, tuple(value for rule in rules for value in rule.one_of))


def _makes_idle(library: RuleLibrary, other: int, one: int) -> bool:
    """Whether a condition adds nothing to another one; of two that hold on the same samples, the later adds nothing."""
    shared = int(library.pair_counts[one, other])
    return shared == int(library.counts[other]) and (shared < int(library.counts[one]) or other < one)


def _better(best: ScoredRule, other: ScoredRule | None) -> ScoredRule:
    return best if other is None or other[1] <= best[1] else other


def _best_pairs(beam: npt.NDArray[np.intp], two_f1: npt.NDArray[np.float64]) -> list[tuple[int, ...]]:
    """The pairs with the highest F1, each once."""
    order = np.argsort(-two_f1, axis=None, kind="stable")[: 4 * BEAM]
    rows, columns = np.unravel_index(order, two_f1.shape)
    pairs = [tuple(sorted((int(beam[i]), int(j)))) for i, j in zip(rows, columns, strict=True) if beam[i] != j]
    return list(dict.fromkeys(pairs))[:BEAM]


def _sums(held: Bits, starts: Sequence[tuple[int, ...]]) -> npt.NDArray[np.float64]:
    """On how many active samples each condition holds, together with each of starts: shape (n_starts, n_conditions).

    held: where each condition holds among the active samples, shape (n_conditions, n_words).
    """
    sums = np.zeros((len(starts), held.shape[0]))
    for at, start in enumerate(starts):
        inside = held & np.bitwise_and.reduce(held[list(start)], axis=0) if start else held
        sums[at] = np.bitwise_count(inside).sum(axis=1, dtype=np.int64)
    return sums


def _f1(both: npt.NDArray[np.float64], n_rule: npt.NDArray[np.integer], n_active: int) -> npt.NDArray[np.float64]:
    return np.asarray(2 * both / (n_rule + n_active))
