"""Tokens and weapons in each activation band, from the weakest to the strongest: is it the same concept throughout?"""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import token_profile, weapon_profile
from splat_assets.analysis.inference.intervals import share_interval
from splat_assets.analysis.statistics import BANDS
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import PROFILE, in_band, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class Bands(FeatureSpec):
    """Tokens and weapons in each activation band (shares of the effective maximum), with lift."""

    experiment: Literal["bands"] = "bands"
    top_k: Annotated[int, Field(ge=1, le=100, description="How many tokens and weapons to show per band.")] = 5


def _answer(subject: Subject, spec: Bands) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    if not activations.n_active:
        return Answer(title=f"Feature {spec.feature_id}: bands", warnings=[never(spec.feature_id)])
    parts, counts = [], []
    for band in BANDS:
        held = in_band(activations, band.name)
        counts.append(held.n_active)
        if held.n_active:
            for kind, profile in (("token", token_profile), ("weapon", weapon_profile)):
                top = profile(held, builds).head(spec.top_k).rename({kind: "name"})
                parts.append(top.select(pl.lit(band.name).alias("band"), pl.lit(kind).alias("what"), "name", *PROFILE))
    low, high = share_interval(counts, activations.n_active)
    sizes = pl.DataFrame({"band": [band.name for band in BANDS], "n": counts, "share": np.array(counts) / activations.n_active,
                          "share_low": low, "share_high": high})  # fmt: skip
    described = {
        "band": "A range of activations, as shares of the effective maximum (the 99.5th percentile).",
        "n": "Number of activations in it.",
        "share": "Share of all activations.",
        "share_low": "Lower bound of its exact 95 % interval.",
        "share_high": "Upper bound.",
    }
    profile_columns = {"band": "The band.", "what": "token or weapon.", "name": "Its name.", **PROFILE}
    return Answer(
        title=f"Feature {spec.feature_id}: activation bands",
        tables=[
            ResultTable.of("sizes", "Bands", "observed", sizes, described),
            ResultTable.of(
                "profiles", "Tokens and weapons of each band", "observed", pl.concat(parts), profile_columns
            ),
        ],
    )


EXPERIMENT = Experiment(Bands, _answer)
