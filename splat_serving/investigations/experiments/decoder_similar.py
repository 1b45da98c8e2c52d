"""Features with a similar decoder direction, and whether they also fire together."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from splat_assets.wording import counted
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import how_to_compute
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.results.feature_names import LABEL, named
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class DecoderSimilar(FeatureSpec):
    """Features with a similar decoder direction (cosine), and whether they fire on the same samples.

    Similar directions that fire on different samples are alternatives; those that fire together share one concept.
    """

    experiment: Literal["decoder-similar"] = "decoder-similar"
    top_k: Annotated[
        int, Field(ge=1, le=1_000, description="How many features to show; a store keeps the nearest 20.")
    ] = 10


def _answer(subject: Subject, spec: DecoderSimilar) -> Answer:
    summary = subject.database.feature(spec.feature_id)
    if summary.neighbours is None:
        raise NotComputedError(
            f"neighbours were not computed for version {summary.version}: {how_to_compute('neighbours', subject.about.layout)}"
        )
    counts = dict(subject.database.features().select("feature_id", "n_active").iter_rows())
    own = counts[spec.feature_id]
    rows = []
    for one in summary.neighbours.get("decoder_cosine", [])[: spec.top_k]:
        other, both = counts[one["feature_id"]], one["n_both"]
        either = own + other - both
        rows.append((one["feature_id"], one["score"], other, both, both / either if either else None))
    schema = {
        "feature": pl.Int64,
        "cosine": pl.Float64,
        "n_active": pl.Int64,
        "n_both": pl.Int64,
        "jaccard": pl.Float64,
    }
    described = {
        "feature": "The other feature.",
        "label": LABEL,
        "cosine": "Cosine of the decoder directions.",
        "n_active": "Samples on which the other feature fires.",
        "n_both": "Samples on which both fire.",
        "jaccard": "n_both over samples on which at least one fires.",
    }
    frame = named(subject, pl.DataFrame(rows, schema, orient="row"), "feature")
    table = ResultTable.of("similar", "Nearest decoder directions", "weights", frame, described)
    fewer = [f"only {counted(len(rows), 'neighbours')} per feature are stored"] if len(rows) < spec.top_k else []
    return Answer(
        title=f"Features with a decoder direction like feature {spec.feature_id}", tables=[table], warnings=fewer
    )


EXPERIMENT = Experiment(DecoderSimilar, _answer)
