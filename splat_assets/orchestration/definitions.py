"""The Dagster definitions: assets, checks, jobs, sensors and the schedule. Nothing is computed here."""

import dagster as dg

from splat_assets.assets import ASSETS
from splat_assets.orchestration.as_dagster import dagster_asset, dagster_check
from splat_assets.orchestration.resources import DataRootResource
from splat_assets.orchestration.sensors import WHOLE_RUN, every_night, new_files, nightly, run_failed, run_succeeded
from splat_assets.orchestration.sweeps import every_run_is_compared, sweep_comparison


def dagster_assets() -> list[dg.AssetsDefinition]:
    """Every artifact of a run as a Dagster asset."""
    return [dagster_asset(asset) for asset in ASSETS]


def dagster_checks() -> list[dg.AssetChecksDefinition]:
    """Every check as a Dagster asset check."""
    return [dagster_check(asset, check) for asset in ASSETS for check in asset.checks]


def build_defs(data: DataRootResource | None = None) -> dg.Definitions:
    """Fresh definitions; `data` replaces the resource that says where the data root is."""
    return dg.Definitions(
        assets=[*dagster_assets(), sweep_comparison],
        asset_checks=[*dagster_checks(), every_run_is_compared],
        jobs=[WHOLE_RUN, nightly],
        sensors=[new_files, run_succeeded, run_failed],
        schedules=[every_night],
        resources={"data": data or DataRootResource()},
        executor=dg.in_process_executor,
    )


defs = build_defs()
