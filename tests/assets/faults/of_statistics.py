"""Faults of what is computed about features and tokens: histograms, IDF, influences, examples, neighbours, suggested labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from splat_assets.assets.opened import base_model_of, sae_of, vocabulary_of
from splat_assets.compute.influences import wide_influences, write_influences
from splat_assets.runs import Run
from splat_assets.sae.training.state import initial_decoder
from splat_assets.store.guide.precomputed import write_guide_influences
from splat_assets.store.tables import table_facts
from tests.assets.faults.planting import (
    NAN,
    Faults,
    Plant,
    change_json,
    change_table,
    flip_a_byte,
    set_cell,
    swap_rows,
)

Change = Callable[[pl.DataFrame], pl.DataFrame]


def table(name: str, change: Change = lambda table: table, **facts: Any) -> Plant:
    return lambda run: change_table(run.layout.staged / name, change, **facts)


def file(name: str, change: Callable[[Path], object] = Path.unlink) -> Plant:
    return lambda run: change(run.layout.staged / name)


def guide_table(name: str, change: Change) -> Plant:
    return lambda run: change_table(run.layout.precomputed / name, change)


def columns(*expressions: pl.Expr, **named: pl.Expr) -> Change:
    return lambda table: table.with_columns(*expressions, **named)


def each_row_of_another_feature(table: pl.DataFrame) -> pl.DataFrame:
    return table.reverse().with_columns(table["feature_id"])


def reverse(table: pl.DataFrame) -> pl.DataFrame:
    return table.reverse()


def first(n: int) -> Change:
    return lambda table: table.head(n)


def counts(change: Callable[[int, list[int]], None]) -> Change:
    """Every histogram, changed in place."""

    def changed(table: pl.DataFrame) -> pl.DataFrame:
        held = table["counts"].to_list()
        for feature_id, of_feature in enumerate(held):
            change(feature_id, of_feature)
        return table.with_columns(pl.Series("counts", held, dtype=table.schema["counts"]))

    return changed


def move_one(feature_id: int, of_feature: list[int]) -> None:
    """One value fewer in the fullest bin and one more in the next."""
    fullest = of_feature.index(max(of_feature))
    if of_feature[fullest]:
        of_feature[fullest] -= 1
        of_feature[(fullest + 1) % len(of_feature)] += 1


def one_more(feature_id: int, of_feature: list[int]) -> None:
    if feature_id == 11:
        of_feature[0] += 1


HISTOGRAMS: Faults = {
    "histograms_are_exact": {
        "counts in other bins": table("histograms.parquet", counts(move_one)),
        "a count too many": table("histograms.parquet", counts(one_more)),
        "swapped rows": table("histograms.parquet", swap_rows(1, 2)),
        "rows of other features": table("histograms.parquet", each_row_of_another_feature),
        "a wider range": table("histograms.parquet", columns(pl.col("upper") * 2)),
        "a lost row": table("histograms.parquet", first(95)),
        "a lost file": file("histograms.parquet"),
    },
    "statistics_are_exact": {
        "NaN means": table("features.parquet", columns(mean=pl.lit(NAN))),
        "other quantiles": table("features.parquet", columns(pl.col("q90") * 1.01)),
        "rows of other features": table("features.parquet", each_row_of_another_feature),
        "a checksum of another store": table("features.parquet", set_cell(17, "crc32c", 1)),
        "a lost file": file("features.parquet"),
        "a damaged file": file("features.parquet", lambda path: flip_a_byte(path, 1.0)),
    },
}

IDF: Faults = {
    "idf_is_exact": {
        "a document too many": table("idf.parquet", columns(pl.col("doc_freq") + (pl.int_range(pl.len()) == 9))),
        "swapped rows": table("idf.parquet", swap_rows(3, 90)),
        "rows of other tokens": table("idf.parquet", swap_rows(3, 90, "ability_input_tokens")),
        "a NaN": table("idf.parquet", set_cell(4, "idf", NAN)),
        "a lost row": table("idf.parquet", first(139)),
        "other documents": table("idf.parquet", n_documents=1),
        "a lost file": file("idf.parquet"),
    },
    "guide_idf_is_the_same": {
        "another table": guide_table("idf.parquet", set_cell(4, "idf", 0.5)),
        "another summary": lambda run: change_json(run.layout.precomputed / "idf.json", unique_tokens=1),
        "a lost file": lambda run: (run.layout.precomputed / "idf.json").unlink(),
    },
}


def influences(change: Callable[[Any], Any]) -> Plant:
    def changed(found: pl.DataFrame) -> pl.DataFrame:
        values = change(found["influence"].to_numpy().copy())
        return found.with_columns(pl.Series("influence", values, dtype=found.schema["influence"]))

    return table("influences.parquet", changed)


def with_nan(values: Any) -> Any:
    values[33, 4] = NAN
    return values


def influences_of_an_untrained_decoder(run: Run) -> None:
    sae, weight = sae_of(run), base_model_of(run).output_weight.detach().numpy()
    decoder = initial_decoder(sae.d_sae, sae.d_in, 0).numpy()
    write_influences(weight, decoder, vocabulary_of(run), run.layout.staged / "influences.parquet")


def outputs_that_never_occur_first(run: Run) -> None:
    wide = run.layout.precomputed / "influences.parquet"
    unseen = table_facts(wide, "never_in_data")["never_in_data"]
    top_k = (pl.read_parquet(wide).width - 2) // 4
    write_guide_influences(wide_influences(run.layout.staged / "influences.parquet", top_k), wide, unseen)


INFLUENCES: Faults = {
    "influences_equal_the_product": {
        "signs lost": influences(abs),
        "a NaN": influences(with_nan),
        "swapped rows": table("influences.parquet", swap_rows(1, 2)),
        "rows of other features": table("influences.parquet", each_row_of_another_feature),
        "another decoder": influences_of_an_untrained_decoder,
        "other tokens": table("influences.parquet", token_ids=list(range(138, 0, -1))),
        "a lost file": file("influences.parquet"),
    },
    "guide_influences_are_the_same": {
        "another table": guide_table("influences.parquet", swap_rows(1, 2, "feature_id")),
        "outputs that never occur first": outputs_that_never_occur_first,
        "a lost source": file("influences.parquet"),
        "a lost file": lambda run: (run.layout.precomputed / "influences.parquet").unlink(),
    },
}

EXAMPLES: Faults = {
    "examples_are_those_of_the_store": {
        "other activations": table("examples.parquet", columns(pl.col("activation") * 2)),
        "other samples": table("examples.parquet", columns((pl.col("sample_id") + 1) % 980)),
        "NaNs": table("examples.parquet", columns(activation=pl.lit(NAN, pl.Float32))),
        "swapped rows": table("examples.parquet", reverse),
        "another seed": table("examples.parquet", seed=1),
        "another store": table("examples.parquet", n_samples=979),
        "the strongest lost": table("examples.parquet", lambda found: found.filter(pl.col("rank") > 1)),
        "a lost file": file("examples.parquet"),
    },
}

NEIGHBOURS: Faults = {
    "neighbours_are_the_nearest": {
        "other scores": table("neighbours.parquet", columns(pl.col("score") * 0.99)),
        "NaNs": table("neighbours.parquet", columns(score=pl.lit(NAN, pl.Float32))),
        "swapped rows": table("neighbours.parquet", reverse),
        "other numbers of shared samples": table("neighbours.parquet", columns(pl.col("n_both") + 1)),
        "features without neighbours": table(
            "neighbours.parquet", lambda found: found.filter(pl.col("feature_id") > 90)
        ),
        "the nearest lost": table(
            "neighbours.parquet", lambda found: found.filter(pl.col("rank") > 1).with_columns(pl.col("rank") - 1)
        ),
        "another store": table("neighbours.parquet", n_samples=979),
        "a lost file": file("neighbours.parquet"),
    },
}

FEATURE_MAP: Faults = {
    "map_keeps_neighbours": {
        "places of other features": table("feature_map.parquet", each_row_of_another_feature),
        "other shares kept": table("feature_map.parquet", columns(coactivation_kept=pl.lit(1, pl.Float32))),
        "another place": table("feature_map.parquet", set_cell(3, "decoder_x", 1e6)),
        "a place for nobody": table("feature_map.parquet", columns(pl.col("coactivation_x").fill_null(0.0))),
        "no place": table("feature_map.parquet", set_cell(5, "decoder_y", None)),
        "NaNs": table("feature_map.parquet", columns(coactivation_y=pl.lit(NAN, pl.Float32))),
        "other clusters": table("feature_map.parquet", columns(pl.col("coactivation_cluster") + 1)),
        "other neighbours": table("neighbours.parquet", columns(other_id=pl.lit(0, pl.UInt32))),
        "another seed": table("feature_map.parquet", seed=1),
        "features left out": table("feature_map.parquet", first(90)),
        "a lost file": file("feature_map.parquet"),
    },
}

SUGGESTED_LABELS: Faults = {
    "suggestions_are_found_again": {
        "other scores": table("suggested_labels.parquet", columns(pl.col("f1") * 0.99)),
        "NaNs": table("suggested_labels.parquet", columns(f1_low=pl.lit(NAN, pl.Float64))),
        "rules of other features": table("suggested_labels.parquet", each_row_of_another_feature),
        "swapped rows": table("suggested_labels.parquet", reverse),
        "everything suggested": table("suggested_labels.parquet", columns(suggested=~pl.col("suggested"))),
        "q that is p": table("suggested_labels.parquet", columns(q=pl.col("p") / 2)),
        "chance that reaches nothing": table("suggested_labels.parquet", null={"20": [0.0]}),
        "another seed": table("suggested_labels.parquet", seed=1),
        "another store": table("suggested_labels.parquet", n_samples=979),
        "features left out": table("suggested_labels.parquet", first(90)),
        "a lost file": file("suggested_labels.parquet"),
    },
}
