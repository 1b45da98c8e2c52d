"""Tables beside a folder of the guide's formats, in which anything may lie: the right rows, or an error that says which table."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from splat_assets.store import open_store
from splat_assets.store.errors import LayoutError, SampleNotFoundError
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.layout import DataRoot
from splat_serving.database.folder import Folder
from splat_serving.database.local import LocalDatabase
from splat_serving.database.protocol import Condition, Query
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random

TABLES = ("features", "histograms", "influences", "examples", "neighbours", "feature_map", "suggested_labels")
Change = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.fixture
def folder(own_root: DataRoot) -> Path:
    """The batch tree of the small run with every table of its store beside it."""
    run = own_root.run("small")
    store = open_store(run.root)
    precomputed = run.efficient / "precomputed"
    precomputed.mkdir(exist_ok=True)
    for name in TABLES:
        (precomputed / f"{name}.parquet").write_bytes((store.folder / f"{name}.parquet").read_bytes())
    return run.efficient


def changed(folder: Path, name: str, change: Change) -> LocalDatabase:
    path = folder / "precomputed" / f"{name}.parquet"
    metadata = {"splat": pl.read_parquet_metadata(path)["splat"]}
    change(pl.read_parquet(path)).write_parquet(path, metadata=metadata)
    return LocalDatabase.open(folder)


@pytest.mark.parametrize("name", TABLES)
def test_rows_in_another_order_give_the_same_answers(name: str, folder: Path, own_root: DataRoot) -> None:
    there = LocalDatabase.open(own_root.run("small").root)

    here = changed(folder, name, lambda table: table.sample(fraction=1.0, shuffle=True, seed=1))

    for feature_id in range(0, 96, 7):
        expected, found = there.feature(feature_id), here.feature(feature_id)
        assert (found.statistics, found.histogram) == (expected.statistics, expected.histogram)
        assert (found.influences, found.suggestion) == (expected.influences, expected.suggestion)
        assert found.neighbours == expected.neighbours
        assert here.feature_map().equals(there.feature_map())
        assert found.examples is not None
        assert found.examples.keys() == (expected.examples or {}).keys()


@pytest.mark.parametrize("name", ["features", "histograms", "influences", "feature_map", "suggested_labels"])
@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.head(50),
        lambda table: pl.concat([table, table.tail(1)]),
        lambda table: table.drop("feature_id"),
        lambda table: table.with_columns(feature_id=pl.lit("one")),
        lambda table: table.with_columns(feature_id=pl.col("feature_id") + 1),
    ],
    ids=["too short", "a row twice", "no ids", "ids of text", "other ids"],
)
def test_a_table_of_other_features_is_refused_and_named(name: str, change: Change, folder: Path) -> None:
    with pytest.raises(LayoutError, match=rf"{name}\.parquet of .* recompute or remove it"):
        found = changed(folder, name, change)
        found.feature_map() if name == "feature_map" else found.feature(3)


def test_a_table_of_other_samples_is_refused(folder: Path) -> None:
    found = changed(folder, "features", lambda table: table.with_columns(n_samples=pl.col("n_samples") + 1))

    with pytest.raises(LayoutError, match=r"features\.parquet"):
        found.features()


@pytest.mark.parametrize(
    ("name", "column"),
    [("features", "median"), ("histograms", "counts"), ("examples", "group"), ("neighbours", "score")],
)
def test_a_table_without_a_column_is_refused_and_named(name: str, column: str, folder: Path) -> None:
    with pytest.raises(LayoutError, match=rf"{name}\.parquet"):
        changed(folder, name, lambda table: table.drop(column)).feature(3)


def test_examples_of_samples_that_are_not_there_are_refused(folder: Path) -> None:
    found = changed(folder, "examples", lambda table: table.with_columns(sample_id=pl.col("sample_id") + 10**6))

    with pytest.raises(SampleNotFoundError):
        found.feature(int(found.features()["n_active"].arg_max() or 0))


def test_a_query_is_answered_where_no_vocabulary_is_known(tmp_path: Path) -> None:
    dense = sparse_random(30, 4, 0.5)
    write_batches(DenseSource(dense), sample_table(30), None, VOCABULARY, tmp_path, 10)
    (tmp_path / "vocabulary.json").unlink(missing_ok=True)

    found = LocalDatabase(Folder.open(tmp_path)).query(Query(all=(Condition(1),)))

    np.testing.assert_array_equal(found.table["global_index"], np.flatnonzero(dense[:, 1]))
    assert "ability_input_tokens" in found.table.column_names
    assert "abilities" not in found.table.column_names
