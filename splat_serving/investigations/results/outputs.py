"""Outputs of the model in tables and sentences: which of them never occur in the data, so that those never lead."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

IN_DATA = "Whether the token occurs in the data; tokens that never do are listed last: the model could not learn them."
INFLUENCE = "Change of its logit per unit of activation, W_dec @ W_out^T: the direct path, without the output bias."


def outputs_frame(entries: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """`token, influence, in_data` of the influences of a feature, in the order of the database; in_data is null if not known."""
    rows = [(one["token"], one["value"], one.get("in_data")) for one in entries]
    return pl.DataFrame(rows, {"token": pl.String, "influence": pl.Float64, "in_data": pl.Boolean}, orient="row")


def never_in_data(tokens: pl.DataFrame) -> set[str]:
    """The names of the tokens that never occur, from a database's table of tokens; none where that was not counted."""
    return set(tokens.filter(pl.col("doc_freq") == 0)["token"]) if "doc_freq" in tokens.columns else set()


def marked(token: str, in_data: bool | None) -> str:
    """A token's name without a column beside it."""
    return f"{token} (never in the data)" if in_data is False else token
