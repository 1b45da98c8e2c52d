"""Split-half reliability: how well the token and weapon profiles of two halves of the builds agree."""

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
    """Split-half reliability: how well two random halves of the builds agree on what the feature responds to.

    For each split, the share of activations with each token (or weapon) minus its overall share, one half against the other:
    Pearson's r, and the Spearman-Brown formula 2r / (1 + r) for the whole. No build is in both halves.
    """

    experiment: Literal["split-half"] = "split-half"
    n_splits: Annotated[int, Field(ge=2, le=200, description="How many splits.")] = 20
    pass_mark: Annotated[
        float, Field(ge=0, le=1, description="Reliability from which the feature counts as stable.")
    ] = 0.7


def _answer(subject: Subject, spec: SplitHalf) -> Answer:
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
    schema = {"profile": pl.String, "n": pl.Int64, "r": pl.Float64, "reliability": pl.Float64, "reliability_low": pl.Float64,
              "reliability_high": pl.Float64}  # fmt: skip
    frame = pl.DataFrame(rows, schema, orient="row")
    described = {
        "profile": "tokens or weapons.",
        "n": "Splits in which both halves have activations.",
        "r": "Mean correlation of the two halves.",
        "reliability": "Mean of 2r / (1 + |r|), the reliability of all activations together; below 0 the halves disagree.",
        "reliability_low": "2.5th percentile over splits.",
        "reliability_high": "97.5th percentile.",
    }
    table = ResultTable.of("reliability", "Agreement of the halves", "observed", frame, described)
    if frame.is_empty():
        return Answer(title=title, tables=[table], warnings=["the feature fires on too few builds to split them"])
    tokens = frame.row(0, named=True)
    what = "tokens" if tokens["profile"] == "tokens" else "weapons"
    stable = tokens["reliability_low"] >= spec.pass_mark
    verdict = "stable" if stable else "not reliably stable"
    low, high = tokens["reliability_low"], tokens["reliability_high"]
    sentence = (
        f"Reliability of its {what}: {tokens['reliability']:.3f} (95 % of splits: {low:.3f} to {high:.3f}): {verdict}."
    )
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


EXPERIMENT = Experiment(SplitHalf, _answer)
