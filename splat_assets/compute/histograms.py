"""Histograms and statistics of all features, from one read of each: `histograms.parquet` and `features.parquet`.

The arithmetic is in `splat_assets.analysis`; here are the loop, the tables and their checks.
"""

import logging
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.histogram import EDGES_RULE, Histogram, histogram_of, histogram_of_sorted
from splat_assets.analysis.statistics import (
    Distribution,
    FeatureStatistics,
    feature_statistics,
    statistics_of_sorted,
)
from splat_assets.errors import InputError
from splat_assets.store.activations import ActivationReader, Activations
from splat_assets.store.errors import InvalidActivationsError
from splat_assets.store.tables import misplaced_ids, read_table, spot_check_ids, table_facts, write_table
from splat_assets.text.progress import Progress, SilentProgress

logger = logging.getLogger(__name__)

_SUMMARIES = tuple(field.name for field in fields(Distribution))
PolarsType = pl.DataType | type[pl.DataType]

HISTOGRAMS_SCHEMA: dict[str, PolarsType] = {
    "feature_id": pl.UInt32,
    "n_active": pl.Int64,
    "n_zero": pl.Int64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "n_bins": pl.UInt32,
    "counts": pl.List(pl.UInt64),
}
FEATURES_SCHEMA: dict[str, PolarsType] = {
    "feature_id": pl.UInt32,
    "n_active": pl.Int64,
    "n_samples": pl.Int64,
    "sparsity": pl.Float64,
    "effective_max": pl.Float64,
    **{name: pl.Float64 for name in _SUMMARIES},
    **{f"{name}_all": pl.Float64 for name in _SUMMARIES},
    "first_sample": pl.Int64,
    "last_sample": pl.Int64,
    "crc32c": pl.UInt32,
}


@dataclass(frozen=True, slots=True)
class HistogramsWritten:
    """The summary of a pass over all features."""

    n_features: int
    n_dead: int
    n_values: int
    seconds: float


def write_histograms(
    reader: ActivationReader,
    path_histograms: Path,
    path_features: Path,
    n_bins: int = 100,
    *,
    checksums: npt.NDArray[np.uint32] | None = None,
    progress: Progress | None = None,
) -> HistogramsWritten:
    """Write both tables, one row per feature in feature order.

    checksums: crc32c per feature, if the store has them; the column crc32c is null otherwise. Raises InvalidActivationsError
    when a feature holds a value that is not finite and above 0, InputError for fewer than one bin.
    """
    if n_bins < 1:
        raise InputError(f"a histogram needs at least one bin, not {n_bins}")
    began = time.monotonic()
    histograms: dict[str, list[Any]] = {name: [] for name in HISTOGRAMS_SCHEMA}
    features: dict[str, list[Any]] = {name: [] for name in FEATURES_SCHEMA}
    with (progress or SilentProgress()).task("histograms", reader.n_features, "features") as task:
        for feature_id in range(reader.n_features):
            activations = reader.read(feature_id)
            ordered = _sorted_values(activations, feature_id)
            checksum = None if checksums is None else int(checksums[feature_id])
            histogram = histogram_of_sorted(ordered, n_bins)
            statistics = statistics_of_sorted(ordered, reader.n_samples)
            for columns, row in (
                (histograms, _histogram_row(feature_id, histogram, ordered.size, reader.n_samples)),
                (features, _feature_row(feature_id, statistics, activations, checksum)),
            ):
                for name, values in columns.items():
                    values.append(row[name])
            task.advance(1)
    counts = np.array(histograms.pop("counts"), dtype=np.uint64).reshape(reader.n_features, n_bins)
    table = pl.DataFrame(
        histograms | {"counts": pl.Series(counts, dtype=pl.Array(pl.UInt64, n_bins)).arr.to_list()},
        schema=HISTOGRAMS_SCHEMA,
    )
    facts = {"n_samples": reader.n_samples, "n_features": reader.n_features}
    write_table(path_histograms, table, {**facts, "n_bins": n_bins, "edges": EDGES_RULE})
    write_table(path_features, pl.DataFrame(features, schema=FEATURES_SCHEMA), facts)
    written = HistogramsWritten(
        reader.n_features,
        int((table["n_active"] == 0).sum()),
        int(table["n_active"].sum()),
        time.monotonic() - began,
    )
    logger.info("histograms of %d features, %d values, %.1f s", written.n_features, written.n_values, written.seconds)
    return written


def mismatched_histograms(reader: ActivationReader, path: Path, n_sampled: int, seed: int) -> list[int]:
    """Features whose histogram differs from the store.

    Of every feature: the row is in its place, the counts add up to n_active, active and zero ones to all samples. Of n_sampled
    random ones: counts and range equal a fresh computation.
    """
    table = read_table(path, list(HISTOGRAMS_SCHEMA))
    n_bins = int(table_facts(path, "n_bins")["n_bins"])
    wrong = set(misplaced_ids(table["feature_id"], reader.n_features))
    if wrong:
        return sorted(wrong)
    sums = table.select(
        (pl.col("counts").list.sum().cast(pl.Int64) != pl.col("n_active"))
        | (pl.col("n_active") + pl.col("n_zero") != reader.n_samples)
        | (pl.col("counts").list.len() != n_bins)
    ).to_series()
    wrong.update(int(i) for i in sums.fill_null(True).arg_true())
    for feature_id in spot_check_ids(reader.n_features, n_sampled, seed):
        activations = reader.read(feature_id)
        row = _histogram_row(
            feature_id, histogram_of(activations.values, n_bins), activations.n_active, reader.n_samples
        )
        if table.row(feature_id, named=True) != row | {"counts": row["counts"].tolist()}:
            wrong.add(feature_id)
    return sorted(wrong)


def mismatched_statistics(
    reader: ActivationReader,
    path: Path,
    n_sampled: int,
    seed: int,
    checksums: npt.NDArray[np.uint32] | None = None,
) -> list[int]:
    """Features whose row of `features.parquet` is out of place, or, of n_sampled random ones, differing from the store.
    checksums: crc32c per feature as the store has them; if passed, the column is compared for every feature.
    """
    table = read_table(path, list(FEATURES_SCHEMA))
    misplaced = misplaced_ids(table["feature_id"], reader.n_features)
    if misplaced:
        return misplaced
    wrong: set[int] = set()
    if checksums is not None:
        differing = table["crc32c"].ne_missing(pl.Series(checksums, dtype=pl.UInt32))
        wrong.update(int(i) for i in differing.arg_true())
    for feature_id in spot_check_ids(reader.n_features, n_sampled, seed):
        activations = reader.read(feature_id)
        stored = table.row(feature_id, named=True)
        fresh = feature_statistics(activations.values, reader.n_samples)
        if stored != _feature_row(feature_id, fresh, activations, stored["crc32c"]):
            wrong.add(feature_id)
    return sorted(wrong)


def _sorted_values(activations: Activations, feature_id: int) -> npt.NDArray[np.float64]:
    ordered = np.sort(activations.values).astype(np.float64)
    # NaN sorts last, so the two ends speak for all.
    if ordered.size and not (ordered[0] > 0 and np.isfinite(ordered[-1])):
        raise InvalidActivationsError(
            f"feature {feature_id} holds an activation that is not finite and above 0 "
            f"(smallest {ordered[0]}, largest {ordered[-1]}); write the store again"
        )
    return ordered


def _histogram_row(feature_id: int, histogram: Histogram, n_active: int, n_samples: int) -> dict[str, Any]:
    return {
        "feature_id": feature_id,
        "n_active": n_active,
        "n_zero": n_samples - n_active,
        "lower": histogram.lower,
        "upper": histogram.upper,
        "n_bins": histogram.counts.size,
        "counts": histogram.counts,
    }


def _feature_row(
    feature_id: int, statistics: FeatureStatistics, activations: Activations, checksum: int | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "feature_id": feature_id,
        "n_active": statistics.n_active,
        "n_samples": statistics.n_samples,
        "sparsity": statistics.sparsity,
        "effective_max": statistics.effective_max,
        "first_sample": int(activations.sample_ids[0]) if activations.n_active else None,
        "last_sample": int(activations.sample_ids[-1]) if activations.n_active else None,
        "crc32c": checksum,
    }
    for name in _SUMMARIES:
        row[name] = getattr(statistics.over_active, name) if statistics.over_active else None
        row[f"{name}_all"] = getattr(statistics.over_all, name) if statistics.over_all else None
    return row
