import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from splat_assets.analysis.histogram import bin_edges
from splat_assets.compute.histograms import (
    FEATURES_SCHEMA,
    HISTOGRAMS_SCHEMA,
    mismatched_histograms,
    mismatched_statistics,
    write_histograms,
)
from splat_assets.errors import InputError
from splat_assets.store.activations import Activations
from splat_assets.store.errors import InvalidActivationsError
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.tables import read_table, table_facts
from tests.compute.planting import drop_row, rewrite, swap_rows
from tests.contracts.sources import DenseSource, sparse_random
from tests.store.making import DENSE, write_sparse

Paths = tuple[Path, Path]


@pytest.fixture
def source() -> DenseSource:
    dense = sparse_random(500, 12, 0.2)
    dense[:, 3] = 0
    dense[:, 4] = 0.5
    dense[:, 5] = np.where(np.arange(500) == 7, np.float32(2), np.float32(0))
    return DenseSource(dense)


@pytest.fixture
def paths(source: DenseSource, tmp_path: Path) -> Paths:
    result = (tmp_path / "histograms.parquet", tmp_path / "features.parquet")
    write_histograms(source, *result, n_bins=20)
    return result


def test_every_activation_is_counted_once_and_every_zero_beside_them(source: DenseSource, paths: Paths) -> None:
    table = read_table(paths[0])

    assert table.schema == pl.Schema(HISTOGRAMS_SCHEMA)
    assert table["feature_id"].to_list() == list(range(12))
    assert table["counts"].list.sum().to_list() == (source.dense > 0).sum(axis=0).tolist()
    assert table["n_zero"].to_list() == (source.dense == 0).sum(axis=0).tolist()
    assert table_facts(paths[0])["n_bins"] == 20


def test_counts_equal_numpy_on_the_declared_edges(source: DenseSource, paths: Paths) -> None:
    for row in read_table(paths[0]).filter(pl.col("n_active") > 0).iter_rows(named=True):
        values = source.read(row["feature_id"]).values.astype(np.float64)

        expected, _ = np.histogram(values, bin_edges(row["lower"], row["upper"], row["n_bins"]))

        assert row["counts"] == expected.tolist()
        assert (row["lower"], row["upper"]) == (0.0, values.max())


def test_statistics_equal_numpy_over_active_and_over_all(source: DenseSource, paths: Paths) -> None:
    table = read_table(paths[1])
    assert table.schema == pl.Schema(FEATURES_SCHEMA)

    for row in table.filter(pl.col("n_active") > 0).iter_rows(named=True):
        dense = source.dense[:, row["feature_id"]].astype(np.float64)
        for values, suffix in ((dense[dense > 0], ""), (dense, "_all")):
            summary = {
                "min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std(),
                "median": np.median(values), "q25": np.quantile(values, 0.25), "q75": np.quantile(values, 0.75),
                "q90": np.quantile(values, 0.9), "q95": np.quantile(values, 0.95), "q99": np.quantile(values, 0.99),
            }  # fmt: skip
            for name, expected in summary.items():
                assert row[name + suffix] == pytest.approx(expected, rel=1e-12, abs=1e-12), name + suffix
        assert row["n_samples"] == 500
        assert row["sparsity"] == pytest.approx((dense == 0).mean())
        assert (row["first_sample"], row["last_sample"]) == tuple(np.flatnonzero(dense)[[0, -1]])


def test_a_dead_feature_has_nulls_and_not_invented_values(paths: Paths) -> None:
    histogram, statistics = read_table(paths[0]).row(3, named=True), read_table(paths[1]).row(3, named=True)

    assert (histogram["lower"], histogram["upper"], sum(histogram["counts"])) == (None, None, 0)
    for name in ("min", "max", "mean", "std", "median", "q99", "effective_max", "first_sample", "last_sample"):
        assert statistics[name] is None, name
    assert (statistics["mean_all"], statistics["max_all"], statistics["sparsity"]) == (0.0, 0.0, 1.0)


def test_a_store_of_two_samples_and_one_feature_works(tmp_path: Path) -> None:
    source = DenseSource(np.array([[0], [3]], dtype=np.float32))

    written = write_histograms(source, tmp_path / "h.parquet", tmp_path / "f.parquet")

    assert (written.n_features, written.n_dead, written.n_values) == (1, 0, 1)
    assert read_table(tmp_path / "f.parquet")["median_all"].to_list() == [1.5]
    assert mismatched_histograms(source, tmp_path / "h.parquet", 1, 0) == []
    assert mismatched_statistics(source, tmp_path / "f.parquet", 1, 0) == []


def test_checksums_of_the_store_are_carried_over(tmp_path: Path) -> None:
    reader = SparseReader(write_sparse(tmp_path / "activations.zarr", DENSE))

    write_histograms(reader, tmp_path / "h.parquet", tmp_path / "f.parquet", checksums=reader.feature_crc32c)

    assert read_table(tmp_path / "f.parquet")["crc32c"].to_list() == reader.feature_crc32c.tolist()
    assert mismatched_histograms(reader, tmp_path / "h.parquet", 4, 0) == []


def test_the_same_activations_give_the_same_bytes(source: DenseSource, paths: Paths, tmp_path: Path) -> None:
    again = (tmp_path / "again_h.parquet", tmp_path / "again_f.parquet")
    write_histograms(DenseSource(source.dense.copy()), *again, n_bins=20)

    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


class _Damaged(DenseSource):
    def read(self, feature_id: int) -> Activations:
        result = super().read(feature_id)
        if feature_id == 2:
            values: npt.NDArray[np.float32] = result.values.copy()
            values[0] = math.nan
            return Activations(result.sample_ids, values)
        return result


def test_a_nan_stops_the_work_and_leaves_no_table(source: DenseSource, tmp_path: Path) -> None:
    with pytest.raises(InvalidActivationsError, match="feature 2 holds an activation that is not finite"):
        write_histograms(_Damaged(source.dense), tmp_path / "h.parquet", tmp_path / "f.parquet")

    assert list(tmp_path.iterdir()) == []


def test_less_than_one_bin_is_refused(source: DenseSource, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one bin, not 0"):
        write_histograms(source, tmp_path / "h.parquet", tmp_path / "f.parquet", n_bins=0)


def test_sound_tables_pass_their_checks(source: DenseSource, paths: Paths) -> None:
    assert mismatched_histograms(source, paths[0], 12, 0) == []
    assert mismatched_statistics(source, paths[1], 12, 0) == []


def test_the_check_finds_counts_that_do_not_add_up_without_sampling_them(source: DenseSource, paths: Paths) -> None:
    rewrite(paths[0], 9, counts=[1] * 20)

    assert mismatched_histograms(source, paths[0], 0, 0) == [9]


def test_the_check_finds_counts_that_add_up_but_are_wrong(source: DenseSource, paths: Paths) -> None:
    counts = read_table(paths[0])["counts"][1].to_list()
    rewrite(paths[0], 1, counts=counts[::-1])

    assert mismatched_histograms(source, paths[0], 12, 0) == [1]


def test_the_check_finds_another_range(source: DenseSource, paths: Paths) -> None:
    rewrite(paths[0], 6, upper=1e3)

    assert mismatched_histograms(source, paths[0], 12, 0) == [6]


def test_the_checks_find_rows_that_changed_places_or_are_missing(source: DenseSource, paths: Paths) -> None:
    for path, check in zip(paths, (mismatched_histograms, mismatched_statistics), strict=True):
        swap_rows(path, 0, 2)
        assert check(source, path, 0, 0) == [0, 2]
        swap_rows(path, 0, 2)
        drop_row(path, 11)
        assert check(source, path, 0, 0) == [11]


@pytest.mark.parametrize("column", ["mean", "q90", "std_all", "n_active", "first_sample", "effective_max"])
def test_the_check_finds_each_statistic_that_is_not_the_stores(column: str, source: DenseSource, paths: Paths) -> None:
    rewrite(paths[1], 8, **{column: 3})

    assert mismatched_statistics(source, paths[1], 12, 0) == [8]


def test_the_check_finds_an_invented_value_of_a_dead_feature(source: DenseSource, paths: Paths) -> None:
    rewrite(paths[1], 3, median=0.0)

    assert mismatched_statistics(source, paths[1], 12, 0) == [3]


def test_the_checks_find_tables_of_another_store(source: DenseSource, paths: Paths) -> None:
    other = DenseSource(sparse_random(500, 12, 0.2, seed=9))

    assert len(mismatched_histograms(other, paths[0], 12, 0)) == 12
    assert len(mismatched_statistics(other, paths[1], 12, 0)) == 12
