"""Does a feature look the same on two halves of the builds? Profiles of tokens and weapons, half against half."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.store.activations import Activations
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class SplitHalf(FeatureSpec):
    """How well two random halves of the builds agree on what the feature responds to, over many splits.

    For each split the share of activations that have each token (or weapon), less its share at large, in one half against the
    other: Pearson's r, and Spearman and Brown's 2r / (1 + r) for the whole. The same build is never in both halves.
    """

    experiment: Literal["split-half"] = "split-half"
    n_splits: Annotated[int, Field(ge=2, le=200, description="So many splits.")] = 20
    pass_mark: Annotated[float, Field(ge=0, le=1, description="Reliability that counts as stable.")] = 0.7


def _answer(subject: Subject, spec: SplitHalf) -> Answer:
    found = subject.feature(spec.feature_id)
    title = f"Feature {spec.feature_id}: two halves"
    if not found.n_active:
        return Answer(title=title, warnings=[never(spec.feature_id)])
    rng = np.random.default_rng(spec.seed)
    distinct, n_distinct = subject.builds.distinct, subject.builds.n_distinct
    rows = []
    for what in ("tokens", "weapons"):
        rs = [_agreement(subject, found, what, rng.random(n_distinct)[distinct] < 0.5) for _ in range(spec.n_splits)]
        known = np.array([r for r in rs if np.isfinite(r)])
        if known.size:
            whole = 2 * known / (1 + np.abs(known))
            low, high = np.quantile(whole, [0.025, 0.975])
            rows.append((what, int(known.size), float(known.mean()), float(whole.mean()), float(low), float(high)))
    schema = {"profile": pl.String, "n": pl.Int64, "r": pl.Float64, "reliability": pl.Float64, "reliability_low": pl.Float64,
              "reliability_high": pl.Float64}  # fmt: skip
    frame = pl.DataFrame(rows, schema, orient="row")
    described = {
        "profile": "What was compared.",
        "n": "Splits in which both halves have activations.",
        "r": "Mean correlation of the halves.",
        "reliability": "Mean of 2r / (1 + |r|): of all activations together; below 0 the halves disagree.",
        "reliability_low": "2.5th percentile over splits.",
        "reliability_high": "97.5th percentile.",
    }
    table = ResultTable.of("reliability", "Agreement of halves", "observed", frame, described)
    if frame.is_empty():
        return Answer(title=title, tables=[table], warnings=["it fires on too few builds to be split"])
    tokens = frame.row(0, named=True)
    what = "tokens" if tokens["profile"] == "tokens" else "weapons"
    stable = tokens["reliability_low"] >= spec.pass_mark
    verdict = "stable" if stable else "not sure to be stable"
    low, high = tokens["reliability_low"], tokens["reliability_high"]
    said = f"Reliability of its {what} {tokens['reliability']:.3f} ({low:.3f} to {high:.3f}): {verdict}."
    return Answer(title=title, findings=[said], facts={"stable": bool(stable)}, tables=[table])


def _agreement(subject: Subject, found: Activations, what: str, half: npt.NDArray[np.bool_]) -> float:
    profiles = []
    for side in (half, ~half):
        ids = found.sample_ids[side[found.sample_ids]]
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
        at_large = builds.n_with_weapon
    else:
        counts = np.bincount(builds.tokens_of(ids)[0], minlength=len(builds.vocabulary))
        at_large = builds.n_with_token
    there = at_large > 0
    return np.asarray(counts[there] / ids.size - at_large[there] / builds.n_samples)


EXPERIMENT = Experiment(SplitHalf, _answer)
