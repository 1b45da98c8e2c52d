"""Permutation test: the strongest association of a feature, compared with activations shuffled over samples."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.similarity import phi
from splat_serving.investigations.build_text import as_sentence, token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject

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


def _answer(subject: Subject, spec: ShuffleNull) -> Answer:
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
        rows.append(
            (
                what,
                real[1][at],
                float(value),
                n_shuffles,
                float(np.median(null[:, at])),
                float(np.quantile(null[:, at], 0.95)),
                p,
            )
        )
    schema = {"what": pl.String, "name": pl.String, "phi": pl.Float64, "n": pl.Int64, "null_median": pl.Float64,
              "null_95": pl.Float64, "p": pl.Float64}  # fmt: skip
    frame = pl.DataFrame(rows, schema, orient="row")
    described = {
        "what": "token or weapon.",
        "name": "The most associated one.",
        "phi": "Its |correlation| with the feature's firing.",
        "n": "Shuffles.",
        "null_median": "Median of the strongest |phi| over the shuffles.",
        "null_95": "Their 95th percentile.",
        "p": "Share of shuffles that reach the same |phi|, (1 + k) / (1 + n).",
    }
    table = ResultTable.of("null", "Strongest associations", "observed", frame, described)
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


EXPERIMENT = Experiment(ShuffleNull, _answer)
