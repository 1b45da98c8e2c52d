"""A rule tested against a feature: how well it predicts where the feature fires, and counterexamples."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.rules.score import Score, score_rule
from splat_assets.domain.concepts import Rule
from splat_serving.investigations.build_text import build_of_sample
from splat_serving.investigations.subject import Subject


@dataclass(frozen=True, slots=True)
class Evidence:
    """score: over all samples. missed: the strongest of the n_missed samples where the feature fires and the rule does not hold.
    silent: a random sample of the n_silent where the rule holds and the feature does not fire. Each has
    `global_index, activation, weapon_name, abilities`, and no build comes twice."""

    score: Score
    n_missed: int
    missed: list[dict[str, Any]]
    n_silent: int
    silent: list[dict[str, Any]]


def rule_evidence(subject: Subject, feature_id: int, rule: Rule, n: int = 5, seed: int = 0) -> Evidence:
    """The score of a rule for a feature, and up to n counterexamples of each kind; SplatError."""
    activations, builds = subject.feature(feature_id), subject.builds
    holds = builds.holds(rule)
    unlike = np.flatnonzero(~holds[activations.sample_ids])
    by_strength = activations.sample_ids[unlike[np.argsort(-activations.values[unlike], kind="stable")]]
    silent = holds.copy()
    silent[activations.sample_ids] = False
    waiting = np.flatnonzero(silent)
    drawn = np.random.default_rng(seed).permutation(waiting)
    return Evidence(
        score_rule(rule, builds, activations),
        int(unlike.size),
        [
            _described(subject, one, float(activations.values[np.searchsorted(activations.sample_ids, one)]))
            for one in _of_other_builds(by_strength, builds.distinct, n)
        ],
        int(waiting.size),
        [_described(subject, one, 0.0) for one in _of_other_builds(drawn, builds.distinct, n)],
    )


def _of_other_builds(samples: npt.NDArray[np.integer[Any]], distinct: npt.NDArray[np.int32], n: int) -> Iterable[int]:
    """The first n samples that have a build of their own."""
    seen: set[int] = set()
    for sample in map(int, samples):
        if len(seen) == n:
            return
        build = int(distinct[sample])
        if build not in seen:
            seen.add(build)
            yield sample


def _described(subject: Subject, sample_id: int, activation: float) -> dict[str, Any]:
    weapon, names = build_of_sample(subject, sample_id)
    return {"global_index": sample_id, "activation": activation, "weapon_name": weapon, "abilities": names}
