"""Which tokens and weapons the strongest samples of a feature have more often than builds at large."""

from typing import Literal

import polars as pl

from splat_assets.analysis.builds.profile import token_profile, weapon_profile
from splat_assets.wording import counted
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.weapon_groups import HighPercentile
from splat_serving.investigations.experiments.weapon_sweep import TopK
from splat_serving.investigations.profiles import bars, never, profile_table, strong
from splat_serving.investigations.results.result import Answer
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class Enrichment(FeatureSpec):
    """Which tokens and weapons a feature's strongest samples have more often (or less) than builds at large.

    lift = P(token | strong) / P(token), over all samples. Every token is compared, whatever its id.
    """

    experiment: Literal["enrichment"] = "enrichment"
    high_percentile: HighPercentile = 0.9
    top_k: TopK = 15


def _answer(subject: Subject, spec: Enrichment) -> Answer:
    found, builds = subject.feature(spec.feature_id), subject.builds
    if not found.n_active:
        return Answer(title=f"Feature {spec.feature_id}: enrichment", warnings=[never(spec.feature_id)])
    high = strong(found, spec.high_percentile)
    tokens, weapons = token_profile(high, builds), weapon_profile(high, builds)
    more = tokens.filter(pl.col("phi") > 0)
    less = tokens.filter(pl.col("phi") < 0).sort("phi", "token_id")
    note = f"{counted(high.n_active, 'strong samples')}; {counted(tokens.height, 'tokens')} compared."
    return Answer(
        title=f"Feature {spec.feature_id}: what its strongest samples have",
        tables=[
            profile_table("enhancers", "Tokens they have more often", more, "token", spec.top_k, note),
            profile_table("suppressors", "Tokens they have less often", less, "token", spec.top_k, note),
            profile_table("weapons", "Weapons", weapons, "weapon", spec.top_k),
        ],
        figures=[bars("tokens", "Lift of tokens among strong samples", tokens, "token", "lift", "lift", spec.top_k)],
    )


EXPERIMENT = Experiment(Enrichment, _answer)
