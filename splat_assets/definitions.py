"""Dagster definitions assembly: the assets, their checks, the job that makes a whole run. Nothing is computed here."""

import dagster as dg

from splat_assets.assets import ASSETS
from splat_assets.resources import DataRootResource
from splat_assets.shell import dagster_asset, dagster_check


def dagster_assets() -> list[dg.AssetsDefinition]:
    """Every artifact as a Dagster asset."""
    return [dagster_asset(asset) for asset in ASSETS]


def dagster_checks() -> list[dg.AssetChecksDefinition]:
    """Every check as a Dagster asset check."""
    return [dagster_check(asset, check) for asset in ASSETS for check in asset.checks]


def build_defs(data: DataRootResource | None = None) -> dg.Definitions:
    """Fresh definitions; `data` replaces the resource that says where the data root is."""
    return dg.Definitions(
        assets=dagster_assets(),
        asset_checks=dagster_checks(),
        jobs=[dg.define_asset_job("whole_run", dg.AssetSelection.all(), description="Everything for one run.")],
        resources={"data": data or DataRootResource()},
        executor=dg.in_process_executor,
    )


defs = build_defs()
