"""PageRank of abilities among the builds on which a feature fires, compared with all builds."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.pagerank import edge_weights
from splat_assets.analysis.pagerank import pagerank as scores_of
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import bars, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject

_BLOCKS = 50
_RESAMPLES = 400


class PageRank(FeatureSpec):
    """PageRank of abilities among the builds on which the feature fires, compared with all builds.

    Every ability of a build points to every other one, weighted by the activation (`ap_weighted`: times the AP of the target).
    The upstream system lacks a baseline, so frequent abilities always lead, and it loses the weight of dead ends.
    """

    experiment: Literal["pagerank"] = "pagerank"
    mode: Annotated[
        Literal["raw", "ap_weighted"],
        Field(description="Weight of an edge: the activation (raw), or times the AP of the target (ap_weighted)."),
    ] = "ap_weighted"
    damping: Annotated[float, Field(gt=0, lt=1, description="Probability of following an edge.")] = 0.85


def _answer(subject: Subject, spec: PageRank) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    title = f"Feature {spec.feature_id}: PageRank of abilities"
    if not activations.n_active:
        return Answer(title=title, warnings=[never(spec.feature_id)])
    rng = np.random.default_rng(spec.seed)
    blocks = np.stack([
        _edges(builds, part, activations.values[rows], spec.mode)
        for rows in np.array_split(rng.permutation(activations.n_active), min(_BLOCKS, activations.n_active))
        if (part := activations.sample_ids[rows]).size
    ])  # fmt: skip
    everywhere = np.arange(builds.n_samples)
    baseline = scores_of(_edges(builds, everywhere, np.ones(builds.n_samples), spec.mode), spec.damping)
    score = scores_of(blocks.sum(axis=0), spec.damping)
    drawn = rng.integers(0, len(blocks), (_RESAMPLES, len(blocks)))
    ratios = np.stack([scores_of(blocks[rows].sum(axis=0), spec.damping) / baseline for rows in drawn])
    low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
    worn = np.array([int((builds.rungs[at][activations.sample_ids] > 0).sum()) for at in range(len(builds.groups))])
    frame = pl.DataFrame({
        "ability": [group.name for group in builds.groups],
        "n": worn,
        "score": score,
        "baseline": baseline,
        "ratio": score / baseline,
        "ratio_low": low,
        "ratio_high": high,
    }).sort(["ratio", "ability"], descending=[True, False])  # fmt: skip
    described = {
        "ability": "The ability.",
        "n": "Samples with the ability on which the feature fires.",
        "score": "PageRank among the builds on which the feature fires; all scores add up to 1.",
        "baseline": "PageRank among all builds.",
        "ratio": "score / baseline; interval: bootstrap over 50 blocks of activations.",
    }
    table = ResultTable.of("scores", "Abilities", "observed", frame, described)
    figure = bars("ratios", "PageRank relative to the baseline", frame, "ability", "ratio", "score / baseline", 26)
    return Answer(title=title, tables=[table], figures=[figure])


def _edges(
    builds: BuildTable, ids: npt.NDArray[np.integer], weights: npt.NDArray[np.floating], mode: str
) -> npt.NDArray[np.float64]:
    rungs = builds.rungs[:, ids]
    ap = (rungs > 0).astype(np.float64)
    if mode == "ap_weighted":
        ap = np.stack([
            np.array([level if group.has_levels else 10 * level for level in group.levels], dtype=np.float64)[row]
            for group, row in zip(builds.groups, rungs, strict=True)
        ])  # fmt: skip
    return edge_weights(rungs > 0, ap, weights)


EXPERIMENTS = (Experiment(PageRank, _answer),)
