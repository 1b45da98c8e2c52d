"""Tokens and weapons that are more frequent among a feature's strongest samples than overall."""

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
    """Tokens and weapons that are more (or less) frequent among a feature's strongest samples than overall.

    lift = P(token | strong) / P(token), over all samples. Every token is compared.
    """

    experiment: Literal["enrichment"] = "enrichment"
    high_percentile: HighPercentile = 0.9
    top_k: TopK = 15


def _answer(subject: Subject, spec: Enrichment) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    if not activations.n_active:
        return Answer(title=f"Feature {spec.feature_id}: enrichment", warnings=[never(spec.feature_id)])
    high = strong(activations, spec.high_percentile)
    tokens, weapons = token_profile(high, builds), weapon_profile(high, builds)
    more = tokens.filter(pl.col("phi") > 0)
    less = tokens.filter(pl.col("phi") < 0).sort("phi", "token_id")
    note = f"{counted(high.n_active, 'strong samples')}; {counted(tokens.height, 'tokens')} compared."
    return Answer(
        title=f"Feature {spec.feature_id}: enrichment among its strongest samples",
        tables=[
            profile_table("enhancers", "Enriched tokens", more, "token", spec.top_k, note),
            profile_table("suppressors", "Depleted tokens", less, "token", spec.top_k, note),
            profile_table("weapons", "Weapons", weapons, "weapon", spec.top_k),
        ],
        figures=[bars("tokens", "Lift of tokens among strong samples", tokens, "token", "lift", "lift", spec.top_k)],
    )


EXPERIMENT = Experiment(Enrichment, _answer)
