"""Whether a feature's associations hold: agreement of two halves of the builds, and comparison with shuffled activations."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from splat_assets.analysis.inference.similarity import phi
from splat_assets.store.activations import Activations
from splat_serving.investigations.build_text import as_sentence, token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class SplitHalf(FeatureSpec):
    """Split-half reliability: how well two random halves of the builds agree on what the feature responds to.

    For each split, the share of activations with each token (or weapon) minus its overall share, one half against the other:
    Pearson's r, and the Spearman-Brown formula 2r / (1 + r) for the whole. No build is in both halves.
    """

    experiment: Literal["split-half"] = "split-half"
    n_splits: Annotated[int, Field(ge=2, le=200, description="How many splits.")] = 20
    pass_mark: Annotated[
        float, Field(ge=0, le=1, description="Reliability from which the feature counts as stable.")
    ] = 0.7


def _split_half_answer(subject: Subject, spec: SplitHalf) -> Answer:
    activations = subject.feature(spec.feature_id)
    title = f"Feature {spec.feature_id}: split-half reliability"
    if not activations.n_active:
        return Answer(title=title, warnings=[never(spec.feature_id)])
    rng = np.random.default_rng(spec.seed)
    distinct, n_distinct = subject.builds.distinct, subject.builds.n_distinct
    rows = []
    for what in ("tokens", "weapons"):
        rs = [
            _agreement(subject, activations, what, rng.random(n_distinct)[distinct] < 0.5) for _ in range(spec.n_splits)
        ]
        known = np.array([r for r in rs if np.isfinite(r)])
        if known.size:
            whole = 2 * known / (1 + np.abs(known))
            low, high = np.quantile(whole, [0.025, 0.975])
            rows.append((what, int(known.size), float(known.mean()), float(whole.mean()), float(low), float(high)))
    described = {
        "profile": "tokens or weapons.",
        "n": "Splits in which both halves have activations.",
        "r": "Mean correlation of the two halves.",
        "reliability": "Mean of 2r / (1 + |r|), the reliability of all activations together; below 0 the halves disagree.",
        "reliability_low": "2.5th percentile over splits.",
        "reliability_high": "97.5th percentile.",
    }
    table = ResultTable.of("reliability", "Agreement of the halves", "observed", rows, described)
    if not rows:
        return Answer(title=title, tables=[table], warnings=["the feature fires on too few builds to split them"])
    what, _, _, reliability, low, high = rows[0]
    stable = low >= spec.pass_mark
    verdict = "stable" if stable else "not reliably stable"
    sentence = f"Reliability of its {what}: {reliability:.3f} (95 % of splits: {low:.3f} to {high:.3f}): {verdict}."
    return Answer(title=title, findings=[sentence], facts={"stable": bool(stable)}, tables=[table])


def _agreement(subject: Subject, activations: Activations, what: str, half: npt.NDArray[np.bool_]) -> float:
    profiles = []
    for side in (half, ~half):
        ids = activations.sample_ids[side[activations.sample_ids]]
        if not ids.size:
            return float("nan")
        profiles.append(_profile(subject, ids, what))
    with np.errstate(invalid="ignore"):
        return (
            float(np.corrcoef(profiles[0], profiles[1])[0, 1]) if all(p.std() > 0 for p in profiles) else float("nan")
        )


def _profile(subject: Subject, ids: npt.NDArray[np.integer], what: str) -> npt.NDArray[np.float64]:
    builds = subject.builds
    if what == "weapons":
        known = builds.weapons[ids]
        counts = np.bincount(known[known >= 0], minlength=len(builds.contexts))
        overall = builds.n_with_weapon
    else:
        counts = np.bincount(builds.tokens_of(ids)[0], minlength=len(builds.vocabulary))
        overall = builds.n_with_token
    there = overall > 0
    return np.asarray(counts[there] / ids.size - overall[there] / builds.n_samples)


_MOST_ACTIVATIONS = 10_000_000


_FEWEST = 19
"""With fewer shuffles no p can be 0.05."""


class ShuffleNull(FeatureSpec):
    """The largest |phi| of any token (and of any weapon) with the feature, compared with shuffled activations.

    Shuffling over samples keeps how often the feature fires and breaks every association with builds. p = (1 + k) / (1 + n)
    for k shuffles that reach the same |phi|: choosing the best of many tokens is accounted for.
    """

    experiment: Literal["shuffle-null"] = "shuffle-null"
    n_shuffles: Annotated[
        int, Field(ge=_FEWEST, le=10_000, description="How many shuffles; fewer where the feature fires very often.")
    ] = 200


def _shuffle_null_answer(subject: Subject, spec: ShuffleNull) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    title = f"Feature {spec.feature_id}: permutation test"
    if not activations.n_active:
        return Answer(title=title, warnings=[never(spec.feature_id)])
    n_shuffles = int(np.clip(_MOST_ACTIVATIONS // activations.n_active, _FEWEST, spec.n_shuffles))
    rng = np.random.default_rng(spec.seed)
    real = _strongest_associations(subject, activations.sample_ids)
    null = np.array([
        _strongest_associations(subject, np.sort(rng.choice(builds.n_samples, activations.n_active, replace=False)))[0]
        for _ in range(n_shuffles)
    ])  # fmt: skip
    rows = []
    for at, what in enumerate(("token", "weapon")):
        value = real[0][at]
        p = (1 + int((null[:, at] >= value).sum())) / (1 + n_shuffles)
        median, high = np.quantile(null[:, at], [0.5, 0.95]).tolist()
        rows.append((what, real[1][at], float(value), n_shuffles, median, high, p))
    described = {
        "what": "token or weapon.",
        "name": "The most associated one.",
        "phi": "Its |correlation| with the feature's firing.",
        "n": "Shuffles.",
        "null_median": "Median of the strongest |phi| over the shuffles.",
        "null_95": "Their 95th percentile.",
        "p": "Share of shuffles that reach the same |phi|, (1 + k) / (1 + n).",
    }
    table = ResultTable.of("null", "Strongest associations", "observed", rows, described)
    beyond = [row[1] for row in rows if row[-1] <= 0.05]
    names = ", ".join(map(token_in_words, beyond))
    sentence = (
        f"Associated beyond chance: {as_sentence(names)}"
        if beyond
        else "No token or weapon is associated with the feature beyond chance."
    )
    return Answer(title=title, findings=[sentence], facts={"beyond_chance": bool(beyond)}, tables=[table])


def _strongest_associations(
    subject: Subject, ids: npt.NDArray[np.integer]
) -> tuple[tuple[float, float], tuple[str, str]]:
    """The largest |phi| of a token and of a weapon with a set of samples, and their names."""
    builds = subject.builds
    special = [one for one in (builds.vocabulary.pad_id, builds.vocabulary.null_id) if one is not None and one >= 0]
    tokens = np.bincount(builds.tokens_of(ids)[0], minlength=len(builds.vocabulary))
    weapons = builds.weapons[ids]
    counts = np.bincount(weapons[weapons >= 0], minlength=len(builds.contexts))
    phis, names = [], []
    for held, with_it, named in (
        (tokens, builds.n_with_token, [token.name for token in builds.vocabulary.tokens]),
        (counts, builds.n_with_weapon, [item.name for item in builds.contexts.items]),
    ):
        strength = np.nan_to_num(np.abs(phi(held, with_it, ids.size, builds.n_samples)))
        if held is tokens:
            strength[special] = 0
        at = int(strength.argmax())
        phis.append(float(strength[at]))
        names.append(named[at])
    return (phis[0], phis[1]), (names[0], names[1])


EXPERIMENTS = (
    Experiment(SplitHalf, _split_half_answer),
    Experiment(ShuffleNull, _shuffle_null_answer),
)
