"""Positions of features on the map, and what the features of each cluster have in common."""

from typing import Final

import polars as pl

from splat_serving.investigations.results.result import Evidence, ResultTable
from splat_serving.investigations.subject import Subject

MAPS: Final = {"decoder": "by decoder direction", "coactivation": "by co-activation"}
"""The maps of a store, in words; see `compute.feature_map`."""
_EVIDENCE: Final[dict[str, Evidence]] = {"decoder": "weights", "coactivation": "observed"}
_COLUMNS: Final = {
    "cluster": "A group of similar features (Louvain community); 0 is the largest.",
    "n_features": "Features in it.",
    "n_labelled": "Features in it with a label.",
    "density": "Median share of all samples on which a feature of it fires.",
    "token": "The commonest best single token of its features.",
    "share_of_cluster": "Share of its features with that token.",
}


def places(subject: Subject, by: str) -> pl.DataFrame:
    """`feature_id, x, y, cluster, kept` of every feature on one of MAPS, null for those without a place; NotComputedError."""
    named = {name: pl.col(f"{by}_{name}") for name in ("x", "y", "cluster", "kept")}
    return subject.database.feature_map().select("feature_id", **named)


def clusters(placed: pl.DataFrame, by: str) -> ResultTable:
    """The clusters with what their features have in common, the largest first.

    placed: `cluster, density, token` (the best single token for the feature, null where none was searched) and `labelled` of
    the features that have a place.
    """
    commonest = pl.col("token").drop_nulls().mode().sort().first()
    summary = (
        placed.drop_nulls("cluster")
        .group_by("cluster")
        .agg(
            pl.len().alias("n_features"),
            pl.col("labelled").sum().alias("n_labelled"),
            pl.col("density").median(),
            commonest.alias("token"),
            pl.when(commonest.is_not_null())
            .then((pl.col("token") == commonest).sum() / pl.len())
            .alias("share_of_cluster"),
        )
        .sort("cluster")
    )
    return ResultTable.of("clusters", f"Clusters {MAPS[by]}", _EVIDENCE[by], summary, _COLUMNS)
