"""A rule for every feature that one describes: `suggested_labels.parquet`. The search for rules is in `analysis.rules.search`."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.inference.intervals import q_of
from splat_assets.analysis.rules.search import N_DRAWS, RuleSearch, Suggestion
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.store.activations import ActivationReader, offsets_of
from splat_assets.store.tables import read_table, spot_check_ids, table_facts, write_table
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.progress import Progress, SilentProgress

logger = logging.getLogger(__name__)

SUGGESTED_SCHEMA: dict[str, Any] = {
    "feature_id": pl.UInt32,
    "n_active": pl.Int64,
    "suggested": pl.Boolean,
    "text": pl.String,
    "rule": pl.String,
    "precision": pl.Float64,
    "recall": pl.Float64,
    "f1": pl.Float64,
    "f1_low": pl.Float64,
    "f1_high": pl.Float64,
    "auroc": pl.Float64,
    "n": pl.Int64,
    "n_rule": pl.Int64,
    "n_active_held_out": pl.Int64,
    "n_both": pl.Int64,
    "train_f1": pl.Float64,
    "token": pl.String,
    "token_f1": pl.Float64,
    "threshold": pl.Float64,
    "n_null": pl.Int64,
    "p": pl.Float64,
    "q": pl.Float64,
}
"""text, rule: the best rule as text and as JSON; null where the feature fires on too few samples to choose one. suggested: it is
good enough to be a label. precision to n_both: on the half of the builds that did not choose it. token, token_f1: the best single
token, on the same half. threshold: the most that any of n_null permuted features of this size reaches; p: how many of them do as
well. q: p adjusted over all features; both are as fine as n_null allows."""


@dataclass(frozen=True, slots=True)
class SuggestedWritten:
    """The summary of the search."""

    n_with_rule: int
    n_suggested: int


def build_table_of(samples: pl.DataFrame, vocabulary: Vocabulary, contexts: Contexts) -> BuildTable:
    """The builds of a sample table (`SAMPLE_SCHEMA`)."""
    offsets = offsets_of(samples["tokens"].list.len().to_numpy())
    tokens = samples["tokens"].explode(empty_as_null=False).to_numpy().astype(np.int32)
    weapons = samples["weapon_id_token"].to_numpy().astype(np.int32)
    return BuildTable(tokens, offsets, weapons, vocabulary, contexts)


def write_suggested_labels(
    reader: ActivationReader,
    builds: BuildTable,
    path: Path,
    seed: int = 0,
    n_draws: int = N_DRAWS,
    progress: Progress | None = None,
) -> SuggestedWritten:
    """Write the best rule of every feature, one row each, and the null it was tested against as a fact of the table.

    n_draws: permuted features that the null draws for each size.
    """
    search = RuleSearch(builds, seed, n_draws)
    rows = []
    with (progress or SilentProgress()).task("rules", reader.n_features, "features") as task:
        for feature_id in range(reader.n_features):
            rows.append(_row(feature_id, reader, search))
            task.advance(1)
    frame = pl.DataFrame(rows, SUGGESTED_SCHEMA, orient="row")
    frame = frame.with_columns(q_of(frame["p"]).alias("q"))
    nulls = {str(size): values.tolist() for size, values in sorted(search.null.drawn.items())}
    write_table(path, frame, {"seed": seed, "n_draws": n_draws, "n_samples": builds.n_samples, "null": nulls})
    summary = SuggestedWritten(frame.height - frame["rule"].null_count(), int(frame["suggested"].sum()))
    logger.info(
        "%d of %d features have a rule, %d are suggested", summary.n_with_rule, frame.height, summary.n_suggested
    )
    return summary


def mismatched_suggestions(
    reader: ActivationReader, builds: BuildTable, path: Path, n_sampled: int, seed: int
) -> list[int]:
    """Features, of n_sampled random ones, whose row differs from searching again with the null that the table states.

    All of them when the table is of another number of features or samples, or when its null at one size is not drawn again.
    """
    table, facts = read_table(path, list(SUGGESTED_SCHEMA)), table_facts(path, "seed", "n_draws", "n_samples", "null")
    sampled = spot_check_ids(reader.n_features, n_sampled, seed)
    nulls = {int(size): np.array(values) for size, values in facts["null"].items()}
    if table["feature_id"].to_list() != list(range(reader.n_features)) or facts["n_samples"] != builds.n_samples:
        return sampled
    if not q_of(table["p"]).equals(table["q"]):
        return sampled
    search = RuleSearch(builds, facts["seed"], nulls=nulls)
    for size in sorted(nulls)[:1]:
        again = RuleSearch(builds, facts["seed"], facts["n_draws"])
        if not np.array_equal(again.null.of_size(size), nulls[size]):
            return sampled
    names = [name for name in SUGGESTED_SCHEMA if name != "q"]
    fresh = pl.DataFrame([_row(feature_id, reader, search) for feature_id in sampled], SUGGESTED_SCHEMA, orient="row")
    stored = table[sampled]
    return [
        feature_id
        for at, feature_id in enumerate(sampled)
        if fresh.select(names).row(at) != stored.select(names).row(at)
    ]


def _row(feature_id: int, reader: ActivationReader, search: RuleSearch) -> tuple[Any, ...]:
    activations = reader.read(feature_id)
    suggestion = search.suggest(activations, feature_id)
    values = _values(suggestion) if suggestion else [False, *[None] * (len(SUGGESTED_SCHEMA) - 3)]
    return (feature_id, activations.n_active, *values)


def _values(suggestion: Suggestion) -> list[Any]:
    score = suggestion.score
    return [
        suggestion.suggested,
        rule_as_text(suggestion.rule),
        json.dumps(suggestion.rule.as_json()),
        score.precision,
        score.recall,
        score.f1,
        score.f1_low,
        score.f1_high,
        score.auroc,
        score.n,
        score.n_rule,
        score.n_active,
        score.n_both,
        suggestion.train_f1,
        rule_as_text(suggestion.token),
        suggestion.token_f1,
        suggestion.threshold,
        suggestion.n_null,
        suggestion.p,
        None,
    ]
