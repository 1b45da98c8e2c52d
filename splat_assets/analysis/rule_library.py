"""Simple conditions on builds, each as the set of samples on which it holds: what rules for features are put together from.

A sample belongs to one of two halves, by its build: the same tokens with the same weapon are never in both, so a rule chosen
on one half is scored on builds that it has not seen. Tokens tell the AP of an ability by rungs, not where it is worn: rung 3
is one sub, and from rung 29 on at least one main; between those, mains and subs cannot be told apart and no condition does.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.build_table import BuildTable
from splat_assets.domain.concepts import NAME, Not, Rule, WeaponIs, Wears

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
        self.train = _half(builds, seed)
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
        found: npt.NDArray[np.int64] = np.bitwise_count(self.bits).sum(axis=1).astype(np.int64)
        return found

    @cached_property
    def pair_counts(self) -> npt.NDArray[np.int64]:
        """On how many samples of the first half each two conditions hold: int64, shape (n_conditions, n_conditions)."""
        found = np.zeros((self.n_conditions, self.n_conditions))
        samples = np.flatnonzero(self.train)
        for start in range(0, samples.size, _BLOCK_ROWS):
            block = self.members(samples[start : start + _BLOCK_ROWS])
            found += block.T @ block
        return found.round().astype(np.int64)

    def members(self, sample_ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Which conditions hold on these samples: float32 of 0 and 1, shape (n, n_conditions)."""
        bits = np.unpackbits(self.rows[sample_ids], axis=1, count=self.n_conditions, bitorder="little")
        return bits.astype(np.float32)


def as_bits(flags: npt.NDArray[np.bool_]) -> Bits:
    """Flags, shape (n,), as words of 64: uint64, shape (ceil(n / 64),)."""
    packed = np.packbits(flags, bitorder="little")
    return np.pad(packed, (0, -packed.size % 8)).view(np.uint64)


def _tells(n: int, size: int) -> bool:
    """Whether a condition that holds on n of size samples holds and fails often enough."""
    return _LEAST_SAMPLES <= n <= size - _LEAST_SAMPLES


def _half(builds: BuildTable, seed: int) -> npt.NDArray[np.bool_]:
    """Which samples are in the first half: bool, shape (n_samples,). One random number per token and weapon is added up."""
    rng = np.random.default_rng([seed, 1])
    of_token = rng.integers(0, 2**63, len(builds.vocabulary), dtype=np.uint64)
    of_weapon = rng.integers(0, 2**63, len(builds.contexts) + 1, dtype=np.uint64)
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(of_token[builds.tokens], dtype=np.uint64)])
    code = running[builds.offsets[1:]] - running[builds.offsets[:-1]] + of_weapon[builds.weapons]
    code = (code ^ (code >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    found: npt.NDArray[np.bool_] = (code >> np.uint64(63)).astype(np.bool_)
    return found


def _conditions(builds: BuildTable) -> list[Condition]:
    found = []
    for group in builds.groups:
        for token in group.tokens:
            rule = Wears(group.name, token.level) if group.has_levels else Wears(group.name)
            found += [Condition(rule, True, True), Condition(Not(rule), False, False)]
    for attribute in (NAME, *builds.attributes):
        values = sorted(
            {item.name if attribute == NAME else item.attributes[attribute] for item in builds.contexts.items
             if attribute == NAME or attribute in item.attributes}
        )  # fmt: skip
        found += [Condition(WeaponIs(attribute, (value,)), True, False) for value in values]
    return found
