"""Example samples of each feature: `examples.parquet`. The choice is made in `splat_assets.analysis.examples`."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from splat_assets.analysis.examples import GROUPS, ExampleCounts, ExampleGroup, draw_examples
from splat_assets.errors import InputError
from splat_assets.store.activations import ActivationReader
from splat_assets.store.tables import read_table, spot_check_ids, table_facts, write_table
from splat_assets.text.progress import Progress, SilentProgress

logger = logging.getLogger(__name__)


EXAMPLES_SCHEMA = {
    "feature_id": pl.UInt32,
    "group": pl.String,
    "rank": pl.UInt16,
    "sample_id": pl.Int64,
    "activation": pl.Float32,
}


@dataclass(frozen=True, slots=True)
class ExamplesWritten:
    """The summary of the choice."""

    n_examples: int
    n_features_with_top: int


def write_examples(
    reader: ActivationReader,
    path: Path,
    n_top: int = 20,
    n_per_band: int = 10,
    n_random: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExamplesWritten:
    """Write the examples of every feature, by feature, group (in the order of GROUPS) and rank (1 is the strongest).

    sample_id is the row number in the store (`global_index`), for samples that are token positions too. A feature that never
    fires has only random_inactive ones. Raises InputError for a negative number.
    """
    if min(n_top, n_per_band, n_random, seed) < 0:
        raise InputError(
            f"examples: numbers and seed cannot be negative (top {n_top}, per band {n_per_band}, random {n_random}, "
            f"seed {seed})"
        )
    counts = ExampleCounts(n_top, n_per_band, n_random)
    parts: list[tuple[int, ExampleGroup]] = []
    with (progress or SilentProgress()).task("examples", reader.n_features, "features") as task:
        for feature_id in range(reader.n_features):
            activations = reader.read(feature_id)
            groups = draw_examples(activations, reader.n_samples, counts, seed, feature_id)
            parts.extend((feature_id, group) for group in groups)
            task.advance(1)
    table = _table(parts)
    facts = {**asdict(counts), "seed": seed, "n_samples": reader.n_samples, "n_features": reader.n_features}
    write_table(path, table, {**facts, "groups": list(GROUPS)})
    n_with_top = table.filter(pl.col("group") == GROUPS[0])["feature_id"].n_unique()
    logger.info("%d examples of %d features", table.height, reader.n_features)
    return ExamplesWritten(table.height, n_with_top)


def mismatched_examples(reader: ActivationReader, path: Path, n_sampled: int, seed: int) -> list[int]:
    """Features, of n_sampled random ones, whose examples differ from drawing them again as the table's facts say.

    All sampled features are wrong when the table was made from a store of another shape. Rows of features that the store does not
    have are offenders too.
    """
    table = read_table(path, list(EXAMPLES_SCHEMA))
    facts = table_facts(path, *asdict(ExampleCounts()), "seed", "n_samples", "n_features")
    sampled = spot_check_ids(reader.n_features, n_sampled, seed)
    if (facts["n_samples"], facts["n_features"]) != (reader.n_samples, reader.n_features):
        return sampled
    counts = ExampleCounts(facts["n_top"], facts["n_per_band"], facts["n_random"])
    wrong = set(table.filter(pl.col("feature_id") >= reader.n_features)["feature_id"].unique())
    stored = table.filter(pl.col("feature_id").is_in(sampled)).partition_by("feature_id", as_dict=True)
    for feature_id in sampled:
        drawn = draw_examples(reader.read(feature_id), reader.n_samples, counts, facts["seed"], feature_id)
        fresh = _table([(feature_id, group) for group in drawn])
        if not stored.get((feature_id,), _table([])).equals(fresh):
            wrong.add(feature_id)
    return sorted(wrong)


def _table(parts: list[tuple[int, ExampleGroup]]) -> pl.DataFrame:
    sizes = [group.sample_ids.size for _, group in parts]
    codes = np.repeat([GROUPS.index(group.name) for _, group in parts], sizes).astype(np.int64)
    ranks = [np.arange(1, size + 1, dtype=np.uint16) for size in sizes]
    return pl.DataFrame(
        {
            "feature_id": np.repeat([feature_id for feature_id, _ in parts], sizes).astype(np.uint32),
            "group": pl.Series(GROUPS, dtype=pl.String).gather(pl.Series(codes)),
            "rank": np.concatenate([np.empty(0, dtype=np.uint16), *ranks]),
            "sample_id": np.concatenate([np.empty(0, dtype=np.int64), *(group.sample_ids for _, group in parts)]),
            "activation": np.concatenate([np.empty(0, dtype=np.float32), *(group.values for _, group in parts)]),
        },
        schema=EXAMPLES_SCHEMA,
    )
