"""The features with the largest effect on a token: those that raise its logit and those that lower it, from the weights."""

import polars as pl

from splat_assets.text.wording import agreeing, counted
from splat_serving.investigations.results.outputs import never_in_data
from splat_serving.investigations.results.result import ResultTable
from splat_serving.investigations.subject import Subject

_DESCRIBED = {
    "feature_id": "The feature.",
    "influence": "Change of the token's logit per unit of activation: W_dec @ W_out^T.",
    "mean": "Mean activation over the samples on which it fires.",
    "moves": "influence times that mean: the typical change of the token's logit where it fires, on the direct path.",
    "n_active": "Samples on which it fires.",
}


def features_by_effect_on(subject: Subject, token: str, top_k: int) -> list[ResultTable]:
    """The features with the largest effect on a token, `raising` it and `lowering` it, at most top_k each, the largest first.

    NotComputedError without influences, UnknownNameError for a token that is not an output.
    """
    frame = subject.database.influences_on(token).join(
        subject.database.features().select("feature_id", "n_active", "mean"), on="feature_id", maintain_order="left"
    )
    frame = frame.filter(pl.col("n_active") > 0).with_columns(moves=pl.col("influence") * pl.col("mean"))
    unseen = token in never_in_data(subject.database.tokens())
    return [
        _table("raising", f"Features that raise {token}", frame.filter(pl.col("influence") > 0), -1, top_k, unseen),
        _table("lowering", f"Features that lower {token}", frame.filter(pl.col("influence") < 0), 1, top_k, unseen),
    ]


def _table(name: str, title: str, frame: pl.DataFrame, sign: int, top_k: int, unseen: bool) -> ResultTable:
    strongest = frame.sort(sign * pl.col("moves"), "feature_id").head(top_k)
    note = f"{counted(frame.height, 'features')} that fire {agreeing(frame.height, 'do')}."
    if unseen:
        note += " The token never occurs in the data: the model could not learn when it is right."
    return ResultTable.of(name, title, "weights", strongest, _DESCRIBED, note)
