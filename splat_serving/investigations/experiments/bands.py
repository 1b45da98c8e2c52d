"""What lies in each band of activation, from the faintest to the strongest: the same builds, more of it, or something else?"""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.bands import BANDS
from splat_assets.analysis.builds.profile import token_profile, weapon_profile
from splat_assets.analysis.inference.intervals import share_interval
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import PROFILE, in_band, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class Bands(FeatureSpec):
    """What lies in each band of activation (shares of the effective maximum): its tokens and weapons, with lift."""

    experiment: Literal["bands"] = "bands"
    top_k: Annotated[int, Field(ge=1, le=100, description="So many tokens and weapons of each band.")] = 5


def _answer(subject: Subject, spec: Bands) -> Answer:
    found, builds = subject.feature(spec.feature_id), subject.builds
    if not found.n_active:
        return Answer(title=f"Feature {spec.feature_id}: bands", warnings=[never(spec.feature_id)])
    parts, counts = [], []
    for band in BANDS:
        held = in_band(found, band.name)
        counts.append(held.n_active)
        if held.n_active:
            for what, profile in (("token", token_profile), ("weapon", weapon_profile)):
                top = profile(held, builds).head(spec.top_k).rename({what: "name"})
                parts.append(top.select(pl.lit(band.name).alias("band"), pl.lit(what).alias("what"), "name", *PROFILE))
    low, high = share_interval(counts, found.n_active)
    sizes = pl.DataFrame({"band": [band.name for band in BANDS], "n": counts, "share": np.array(counts) / found.n_active,
                          "share_low": low, "share_high": high})  # fmt: skip
    described = {
        "band": "A range of activations, by shares of the effective maximum (its 99.5th percentile).",
        "n": "Activations in it.",
        "share": "Share of all activations.",
        "share_low": "Lower border of its exact 95 % interval.",
        "share_high": "Upper border.",
    }
    held_by = {"band": "The band.", "what": "token or weapon.", "name": "Which.", **PROFILE}
    return Answer(
        title=f"Feature {spec.feature_id}: what lies in each band",
        tables=[
            ResultTable.of("sizes", "Bands", "observed", sizes, described),
            ResultTable.of("profiles", "Tokens and weapons of each band", "observed", pl.concat(parts), held_by),
        ],
    )


EXPERIMENT = Experiment(Bands, _answer)
