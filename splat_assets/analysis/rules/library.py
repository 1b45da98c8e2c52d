"""Simple conditions on builds, each as the set of samples on which it holds: what rules for features are put together from.

A sample belongs to one of two halves, by its build: the same tokens with the same weapon are never in both, so a rule
chosen on one half is scored on builds that it has not seen. Tokens tell the AP of an ability by rungs, not where it is
worn: its lowest rung alone is one sub, and from 29 AP on there is a main; between those, mains and subs cannot be
distinguished and no condition does.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.domain.concepts import NAME, All, Not, Rule, WeaponIs, Wears

Bits = npt.NDArray[np.uint64]
_LEAST_SAMPLES = 5
_BLOCK_ROWS = 32_768


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. positive: it says what there is, and not what is missing. token: it is a single token of the vocabulary."""

    rule: Rule
    positive: bool
    token: bool


class RuleLibrary:
    """The conditions that hold on at least five samples of each half and fail on as many, and where they hold."""

    def __init__(self, builds: BuildTable, seed: int = 0) -> None:
        self.builds = builds
        self.train = _half(builds.codes, seed)
        conditions: list[Condition] = []
        bits: list[Bits] = []
        by_sample: list[npt.NDArray[np.uint8]] = []
        for condition in _conditions(builds):
            holds = builds.holds(condition.rule)
            inside = holds & self.train
            n_first, n_second = int(inside.sum()), int(holds.sum()) - int(inside.sum())
            if not (_tells(n_first, self.n_train) and _tells(n_second, builds.n_samples - self.n_train)):
                continue
            place = len(conditions) % 8
            if place == 0:
                by_sample.append(np.zeros(builds.n_samples, dtype=np.uint8))
            by_sample[-1] |= holds.view(np.uint8) << np.uint8(place)
            conditions.append(condition)
            bits.append(as_bits(inside))
        self.conditions: tuple[Condition, ...] = tuple(conditions)
        self.bits = np.stack(bits) if bits else np.zeros((0, -(-builds.n_samples // 64)), dtype=np.uint64)
        """Where each holds within the first half: uint64, shape (n_conditions, n_words)."""
        self.rows = np.stack(by_sample, axis=1) if by_sample else np.zeros((builds.n_samples, 0), dtype=np.uint8)
        """The same by sample: uint8, shape (n_samples, ceil(n_conditions / 8)), of all samples."""

    @property
    def n_conditions(self) -> int:
        """The number of conditions."""
        return len(self.conditions)

    @cached_property
    def n_train(self) -> int:
        """Samples in the first half."""
        return int(self.train.sum())

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """On how many samples of the first half each condition holds: int64, shape (n_conditions,)."""
        counts: npt.NDArray[np.int64] = np.bitwise_count(self.bits).sum(axis=1).astype(np.int64)
        return counts

    @cached_property
    def pair_counts(self) -> npt.NDArray[np.int64]:
        """On how many samples of the first half each two conditions hold: int64, shape (n_conditions, n_conditions)."""
        counts = np.zeros((self.n_conditions, self.n_conditions), dtype=np.int64)
        for one in range(self.n_conditions):
            counts[one, one:] = counts[one:, one] = np.bitwise_count(self.bits[one] & self.bits[one:]).sum(axis=1)
        return counts

    @cached_property
    def values(self) -> dict[str, npt.NDArray[np.intp]]:
        """The conditions on the weapon by what they speak of (`class`, `sub`, `special`, `name`); values exclude each other."""
        rules = [condition.rule for condition in self.conditions]
        names = [rule.attribute if isinstance(rule, WeaponIs) else "" for rule in rules]
        return {name: np.flatnonzero(np.array(names) == name) for name in dict.fromkeys(names) if name}

    def columns(self, sample_ids: npt.NDArray[np.integer]) -> Bits:
        """Where each condition holds among these samples: uint64, shape (n_conditions, ceil(n / 64)); bits beyond them are 0."""
        n_bytes = -(-sample_ids.size // 64) * 8
        columns = np.zeros((self.n_conditions, n_bytes), dtype=np.uint8)
        for start in range(0, sample_ids.size, _BLOCK_ROWS):
            rows = self.rows[sample_ids[start : start + _BLOCK_ROWS]]
            bits = np.unpackbits(rows, axis=1, count=self.n_conditions, bitorder="little")
            packed = np.packbits(bits, axis=0, bitorder="little").T
            columns[:, start // 8 : start // 8 + packed.shape[1]] = packed
        return columns.view(np.uint64)


def as_bits(flags: npt.NDArray[np.bool_]) -> Bits:
    """Flags, shape (n,), as words of 64: uint64, shape (ceil(n / 64),)."""
    packed = np.packbits(flags, bitorder="little")
    return np.pad(packed, (0, -packed.size % 8)).view(np.uint64)


def _tells(n: int, size: int) -> bool:
    """Whether a condition that holds on n of size samples holds and fails often enough."""
    return _LEAST_SAMPLES <= n <= size - _LEAST_SAMPLES


def _half(codes: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.bool_]:
    """Which samples are in the first half: bool, shape (n_samples,). codes: of their builds, which are mixed with the seed."""
    mixed = codes ^ np.random.default_rng([seed, 1]).integers(0, 2**64, dtype=np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    in_first_half: npt.NDArray[np.bool_] = (mixed >> np.uint64(63)).astype(np.bool_)
    return in_first_half


def _conditions(builds: BuildTable) -> list[Condition]:
    conditions = []
    for group in builds.groups:
        for token in group.tokens:
            rule = Wears(group.name, token.level) if group.has_levels else Wears(group.name)
            conditions += [Condition(rule, True, True), Condition(Not(rule), False, False)]
        if group.has_levels and len(group.tokens) > 1:
            lowest, next_one = (Wears(group.name, token.level) for token in group.tokens[:2])
            conditions.append(Condition(All((lowest, Not(next_one))), True, False))
    for attribute in (NAME, *builds.attributes):
        values = sorted(
            {item.name if attribute == NAME else item.attributes[attribute] for item in builds.contexts.items
             if attribute == NAME or attribute in item.attributes}
        )  # fmt: skip
        conditions += [Condition(WeaponIs(attribute, (value,)), True, False) for value in values]
    return conditions
