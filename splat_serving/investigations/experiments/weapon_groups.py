"""Weapon classes, subs and specials enriched among the samples on which a feature fires strongly."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.intervals import benjamini_hochberg, lift_interval, two_by_two_p
from splat_assets.wording import counted
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import flags, never, strong
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject

HighPercentile = Annotated[
    float,
    Field(ge=0, lt=1, description="Strong: at or above this percentile of the activations > 0; 0.9 is the top tenth."),
]


class WeaponGroups(FeatureSpec):
    """Weapon classes, subs and specials enriched among a feature's strong samples, compared with all other samples.

    The upstream system compares with the lowest activations above 0; here the others are all other samples.
    """

    experiment: Literal["weapon-groups"] = "weapon-groups"
    high_percentile: HighPercentile = 0.9
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many rows to show.")] = 20


def _answer(subject: Subject, spec: WeaponGroups) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    high = strong(activations, spec.high_percentile)
    is_high = flags(high, subject.n_samples)
    rows = []
    for attribute in builds.attributes:
        codes, names = builds.attribute_values(attribute)
        known = codes >= 0
        n = np.bincount(codes[known], minlength=len(names))
        n_high = np.bincount(codes[known & is_high], minlength=len(names))
        rows += [(attribute, name, int(n[at]), int(n_high[at])) for at, name in enumerate(names) if n[at]]
    frame = pl.DataFrame(
        rows, {"kind": pl.String, "value": pl.String, "n": pl.Int64, "n_strong": pl.Int64}, orient="row"
    )
    n, n_strong = frame["n"].to_numpy(), frame["n_strong"].to_numpy()
    lift, low, upper = lift_interval(n_strong, n, high.n_active, subject.n_samples)
    q = benjamini_hochberg(two_by_two_p(n_strong, n, high.n_active, subject.n_samples))
    frame = frame.with_columns(
        pl.Series("share_of_strong", n_strong / max(high.n_active, 1)),
        pl.Series("lift", lift),
        pl.Series("lift_low", low),
        pl.Series("lift_high", upper),
        pl.Series("q", q),
    ).fill_nan(None)
    frame = frame.sort(["lift", "kind", "value"], descending=[True, False, False], nulls_last=True)
    described = {
        "kind": "class, sub or special of the weapon.",
        "value": "Its name.",
        "n": "Samples with it.",
        "n_strong": "Strong samples with it.",
        "share_of_strong": "Share of the strong samples.",
        "lift": "How many times as often a sample is strong with it as overall.",
        "lift_low": "Lower bound of its 95 % interval.",
        "lift_high": "Upper bound.",
        "q": "p-value of independence, adjusted for the number of rows.",
    }
    note = (
        f"{counted(high.n_active, 'strong samples')} against "
        f"{counted(subject.n_samples - high.n_active, 'others')}; {frame.height} compared."
    )
    table = ResultTable.of("groups", "Groups of weapons", "observed", frame.head(spec.top_k), described, note)
    return Answer(
        title=f"Feature {spec.feature_id}: weapons of its strongest samples",
        tables=[table],
        warnings=[] if activations.n_active else [never(spec.feature_id)],
    )


EXPERIMENT = Experiment(WeaponGroups, _answer)
