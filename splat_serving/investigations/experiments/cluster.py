"""Whether several features form groups: correlations over all samples, connected groups, and shared tokens."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from splat_assets.analysis.builds.profile import token_profile
from splat_assets.analysis.contrast import agreement
from splat_assets.errors import InputError
from splat_assets.text.wording import counted
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.results.result import Answer, Heatmap, ResultTable, finite
from splat_serving.investigations.spec import Seed, Spec
from splat_serving.investigations.subject import Subject


class Cluster(Spec):
    """Whether several features form groups: Pearson correlation over all samples, groups above a threshold, shared tokens."""

    experiment: Literal["cluster"] = "cluster"
    features: Annotated[
        tuple[int, ...], Field(min_length=2, max_length=64, description="The features, for example 1,2,3.")
    ]
    threshold: Annotated[float, Field(ge=-1, le=1, description="Connect features with at least this correlation.")] = (
        0.5
    )
    top_k: Annotated[int, Field(ge=1, le=200, description="How many tokens of each feature to compare.")] = 10
    seed: Seed = 0


def _answer(subject: Subject, spec: Cluster) -> Answer:
    features = list(dict.fromkeys(spec.features))
    if len(features) < 2:
        raise InputError("features: name at least two different ones, for example 1,2,3")
    activations = {feature: subject.feature(feature) for feature in features}
    r = np.eye(len(features))
    rows = []
    for i, left in enumerate(features):
        for j in range(i + 1, len(features)):
            pair = agreement(activations[left], activations[features[j]], subject.n_samples)
            r[i, j] = r[j, i] = np.nan if pair.pearson is None else pair.pearson
            rows.append((left, features[j], pair.pearson, pair.n_both, pair.jaccard))
    groups = _connected(np.nan_to_num(r, nan=-2) >= spec.threshold)
    top = {feature: set(token_profile(activations[feature], subject.builds)["token"][: spec.top_k]) for feature in features
           if activations[feature].n_active}  # fmt: skip
    members = [
        (number, len(group), ", ".join(str(features[at]) for at in group),
         ", ".join(sorted(set.intersection(*(top.get(features[at], set()) for at in group)))))
        for number, group in enumerate(groups, start=1)
    ]  # fmt: skip
    rows.sort(key=lambda row: -2 if row[2] is None else row[2], reverse=True)
    described = {
        "left": "A feature.",
        "right": "Another one.",
        "pearson": "Correlation of the activations over all samples, zeros included.",
        "n_both": "Samples on which both fire.",
        "jaccard": "n_both over samples on which at least one fires.",
    }
    group_columns = {
        "group": "Number of the group.",
        "n": "Features in it.",
        "features": "Their ids.",
        "shared_tokens": f"Tokens among the {spec.top_k} most associated with each of them.",
    }
    heat = Heatmap(
        name="pearson", title="Correlation of the activations", x_label="feature", y_label="feature", z_label="r",
        x=[*map(str, features)], y=[*map(str, features)], z=[finite(row) for row in r],
    )  # fmt: skip
    return Answer(
        title=f"Features {', '.join(map(str, features))}",
        findings=[
            f"At a correlation of {spec.threshold:g} or more the features form {counted(len(groups), 'groups')}."
        ],
        tables=[
            ResultTable.of("groups", "Groups", "observed", members, group_columns),
            ResultTable.of("pairs", "Pairs", "observed", rows, described),
        ],
        figures=[heat],
    )


def _connected(linked: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Connected groups of a symmetric relation, largest first."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n, of = connected_components(csr_array(linked), directed=False)
    groups = [np.flatnonzero(of == at).tolist() for at in range(n)]
    return sorted(groups, key=lambda group: (-len(group), group))


EXPERIMENTS = (Experiment(Cluster, _answer),)
