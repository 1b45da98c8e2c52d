"""Rows of a version's tables for one feature (influences, neighbours, examples), as JSON values; None without the table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.examples import EXAMPLES_SEED, ExampleCounts, draw_examples
from splat_assets.analysis.influence import StrongestTokens, most_lowered, most_raised
from splat_assets.store.activations import ActivationReader
from splat_assets.store.errors import LayoutError
from splat_serving.database.errors import UnknownNameError
from splat_serving.database.folder import Source
from splat_serving.database.protocol import Influence, Influences

Described = Callable[[Sequence[int]], list[dict[str, Any]]]


def influences_of(
    table: pl.DataFrame, facts: Mapping[str, Any], feature_id: int, in_data: Mapping[str, bool] | None = None
) -> Influences:
    """`{raised: [{token_id, token, value, in_data}], lowered: […]}`: outputs by their change per unit of activation.

    The strongest first, but outputs that never occur in the data last: the model only learned to predict their absence.
    table, facts: a version's influences, or the guide's wide table, row number = feature id. Values are entries of
    `W_dec @ W_out^T`. in_data: by output; if None, entries lack that member.
    """
    row = table[feature_id]
    wide = "influence" not in row.columns
    influences = _of_wide_row(row.row(0, named=True)) if wide else _of_list(row["influence"], facts)
    if in_data is None:
        return influences
    return {"raised": _marked(influences["raised"], in_data), "lowered": _marked(influences["lowered"], in_data)}


def _marked(entries: list[Influence], in_data: Mapping[str, bool]) -> list[Influence]:
    """The entries with `in_data`, those that never occur last."""
    marked: list[Influence] = [{**one, "in_data": in_data.get(one["token"], True)} for one in entries]
    return sorted(marked, key=lambda one: not one["in_data"])


def _of_list(influence: pl.Series, facts: Mapping[str, Any]) -> Influences:
    values = influence.to_numpy().reshape(1, -1)

    def entries(strongest: StrongestTokens) -> list[Influence]:
        return [
            {"token_id": facts["token_ids"][at], "token": facts["token_names"][at], "value": float(value)}
            for at, value in zip(strongest.columns[0], strongest.values[0], strict=True)
            if at >= 0
        ]

    return {
        "raised": entries(most_raised(values, values.shape[1])),
        "lowered": entries(most_lowered(values, values.shape[1])),
    }


def influences_on(table: pl.DataFrame, facts: Mapping[str, Any], token: str) -> pl.DataFrame:
    """`feature_id, influence` (float32) of every feature on a token, by row; null if a guide table lacks it.

    table, facts: as for `influences_of`. UnknownNameError for a token that is not an output.
    """
    ids = pl.Series("feature_id", range(table.height), pl.UInt32)
    if "influence" in table.columns:
        names = facts["token_names"]
        if token not in names:
            raise UnknownNameError(f"{token[:60]!r} is not an output of the model")
        return pl.DataFrame([ids, table["influence"].arr.get(names.index(token)).alias("influence")])
    ranks = [name.removesuffix("_tok") for name in table.columns if name.endswith("_tok")]
    named = [pl.when(pl.col(f"{rank}_tok") == token).then(pl.col(f"{rank}_val")) for rank in ranks]
    return pl.DataFrame([ids, table.select(pl.coalesce(named).cast(pl.Float32).alias("influence"))["influence"]])


def largest_influences(
    table: pl.DataFrame, facts: Mapping[str, Any], in_data: Mapping[str, bool] | None = None
) -> npt.NDArray[np.float64]:
    """The largest |influence| of each feature on any output that occurs in the data, float64, by row; as for `influences_of`.

    Of the guide's wide table the strongest of each sign counts, whatever it is.
    """
    if "influence" in table.columns:
        values = table["influence"].to_numpy().astype(np.float64).reshape(table.height, -1)
        if in_data is not None:
            values = values[:, [in_data.get(name, True) for name in facts["token_names"]]]
        return np.asarray(np.abs(values).max(axis=1, initial=0.0))
    ends = table.select(
        pl.max_horizontal(pl.col(f"{sign}1_val").abs() for sign in "+-").fill_null(0.0).alias("largest")
    )
    return np.asarray(ends["largest"].to_numpy(), dtype=np.float64)


def _of_wide_row(row: dict[str, Any]) -> Influences:
    """The guide's table: `+1_tok, +1_val, …`. It names tokens and has no ids."""

    def entries(sign: str) -> list[Influence]:
        ranks = sorted(int(name[1:-4]) for name in row if name.startswith(sign) and name.endswith("_tok"))
        pairs = [(row[f"{sign}{rank}_tok"], row[f"{sign}{rank}_val"]) for rank in ranks]
        return [{"token": token, "value": value} for token, value in pairs if token is not None]

    return {"raised": entries("+"), "lowered": entries("-")}


def neighbours_of(tables: Source, feature_id: int) -> dict[str, Any] | None:
    """`{kind: [{feature_id, score, n_both}]}`, nearest first; kinds are decoder_cosine, jaccard and pearson."""
    if not tables.has("neighbours.parquet"):
        return None
    rows = _rows_of(tables, "neighbours", feature_id, ("kind", "rank", "other_id", "score", "n_both")).sort(
        "kind", "rank"
    )
    return {
        str(kind): part.select(pl.col("other_id").alias("feature_id"), "score", "n_both").to_dicts()
        for (kind,), part in rows.partition_by("kind", as_dict=True, maintain_order=True).items()
    }


def examples_of(tables: Source, feature_id: int, described: Described) -> dict[str, Any] | None:
    """`{group: [{rank, activation, …the sample's columns}]}`: the strongest, some of each band, some at random.

    described: returns the columns of samples by their ids.
    """
    if not tables.has("examples.parquet"):
        return None
    rows = _rows_of(tables, "examples", feature_id, ("group", "rank", "sample_id", "activation"))
    return _with_samples(rows, described)


def drawn_examples(reader: ActivationReader, feature_id: int, described: Described) -> dict[str, Any]:
    """As `examples_of`, drawn now from the feature's activations: the same as `splat examples` would write."""
    parts = [
        pl.DataFrame({"rank": range(1, group.sample_ids.size + 1), "sample_id": group.sample_ids, "activation": group.values})
        .with_columns(group=pl.lit(group.name))
        for group in draw_examples(reader.read(feature_id), reader.n_samples, ExampleCounts(), EXAMPLES_SEED, feature_id)
    ]  # fmt: skip
    return _with_samples(pl.concat(parts), described) if parts else {}


def _with_samples(rows: pl.DataFrame, described: Described) -> dict[str, Any]:
    samples = described(np.asarray(rows["sample_id"]).tolist())
    examples: dict[str, Any] = {}
    for row, sample in zip(rows.iter_rows(named=True), samples, strict=True):
        examples.setdefault(row["group"], []).append({"rank": row["rank"], "activation": row["activation"], **sample})
    return examples


def _rows_of(tables: Source, name: str, feature_id: int, needed: Sequence[str]) -> pl.DataFrame:
    """The rows of one feature; LayoutError for a table without a required column."""
    rows = tables.rows_of(name, feature_id)
    missing = [column for column in needed if column not in rows.columns]
    if missing:
        raise LayoutError(f"{name}.parquet lacks {', '.join(missing)}: recompute or remove it")
    return rows
