"""What the Dagster UI shows of the pipeline's artifacts: every column described, every count of what its name says."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import polars as pl
import pytest

from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import Asset
from splat_assets.orchestration.as_dagster import _check_metadata, metadata_of, schema_of, table_of
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot
from splat_assets.store.receipts import read_receipt
from splat_assets.sweeps import COMPARISON_SCHEMA


def shown(root: DataRoot, asset: Asset) -> dict[str, Any]:
    """The metadata of an asset of the small run."""
    run = open_run(root, "small")
    receipt = read_receipt(run.layout.receipts, asset.name)
    assert receipt is not None
    return metadata_of(receipt, run, was_current=True)


def columns_of(metadata: Mapping[str, Any]) -> Iterator[tuple[str, dg.TableColumn]]:
    """Every column of every table, each with where it stands."""
    for name, value in metadata.items():
        schema = value.schema if isinstance(value, dg.TableMetadataValue) else value
        if isinstance(schema, dg.TableSchema):
            yield from ((name, column) for column in schema.columns)


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.name)
def test_every_column_in_the_ui_says_what_it_means(asset: Asset, finished_root: DataRoot) -> None:
    nameless = [
        (table, column.name) for table, column in columns_of(shown(finished_root, asset)) if not column.description
    ]

    assert nameless == []


def test_tables_outside_a_run_say_what_their_columns_mean() -> None:
    told = _check_metadata({"wrong_features": "3, 17"})
    missing = table_of("missing", [], ("run",))
    stores = table_of("stores", [], ("run", "version", "problem", "removed"))
    comparison = schema_of("comparison", {name: str(kind) for name, kind in COMPARISON_SCHEMA.items()})

    columns = [*columns_of({**told, "missing": missing, "stores": stores, "comparison": comparison})]

    assert len(columns) == 1 + 1 + 4 + len(COMPARISON_SCHEMA)
    assert [(table, column.name) for table, column in columns if not column.description] == []


def test_a_row_count_is_of_the_table_that_the_asset_is(finished_root: DataRoot) -> None:
    metadata = {asset.name: shown(finished_root, asset) for asset in ASSETS}
    layout = open_run(finished_root, "small").layout

    counted = {name: value["dagster/row_count"] for name, value in metadata.items() if "dagster/row_count" in value}
    files = {name: layout.staged / f"{name}.parquet" for name in counted if name != "dataset"}
    files["dataset"] = layout.root / "dataset" / "builds.parquet"

    assert counted == {name: pl.scan_parquet(path).select(pl.len()).collect().item() for name, path in files.items()}
    assert "suggested_labels" in counted and "sae_checkpoint" not in counted


def test_rows_of_training_metrics_are_called_so(finished_root: DataRoot) -> None:
    metadata = shown(finished_root, asset_named("sae_checkpoint"))
    metrics = pl.read_parquet(open_run(finished_root, "small").layout.sae / "metrics.parquet")

    assert metadata["metrics_rows"] == metrics.height
    assert [column.name for column in metadata["metrics_columns"].columns] == metrics.columns


def test_a_second_table_of_an_asset_stands_under_its_own_name(finished_root: DataRoot) -> None:
    metadata = shown(finished_root, asset_named("histograms"))

    assert (metadata["dagster/row_count"], metadata["features_rows"]) == (96, 96)
    assert "effective_max" in [column.name for column in metadata["features_columns"].columns]
