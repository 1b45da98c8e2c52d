"""Dagster jobs, and the schedule: making all of a run, and the nightly housekeeping."""

import dagster as dg

from splat_assets.assets import ASSETS
from splat_assets.automation.housekeeping import verify_and_prune
from splat_assets.automation.settings import read_settings
from splat_assets.errors import SplatError
from splat_assets.orchestration.as_dagster import table_of
from splat_assets.orchestration.resources import DataRootResource, automation_begins
from splat_assets.progress import LogProgress
from splat_assets.store.sharing import synced_root
from splat_assets.wording import agreeing, counted

WHOLE_RUN = dg.define_asset_job(
    "whole_run", dg.AssetSelection.assets(*(asset.name for asset in ASSETS)), description="All artifacts of one run."
)


@dg.op
def verify_and_clean(context: dg.OpExecutionContext, data: DataRootResource) -> None:
    """Verify every published store, remove old versions; fails when a store differs from what was published."""
    root = data.root()
    try:
        with synced_root(root):
            results = verify_and_prune(root, LogProgress(context.log.info))
    except SplatError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    rows = [
        {"run": one.run, "version": one.version, "problem": " ".join(one.problems[:1]) or "none",
         "removed": ", ".join(one.removed) or "none"}
        for one in results
    ]  # fmt: skip
    metadata = {"stores": table_of("stores", rows, ("run", "version", "problem", "removed"))}
    context.add_output_metadata(metadata)
    broken = [one for one in results if one.problems]
    if broken:
        first = f"{broken[0].run}: {broken[0].problems[0]}"
        text = (
            f"{len(broken)} of {counted(len(results), 'stores')} {agreeing(len(broken), 'do')} not hold what "
            f"was published; {first}"
        )
        raise dg.Failure(description=text, metadata=metadata, allow_retries=False)


@dg.job(
    description="Verify every published store and remove old versions of it; automation.toml says how many are kept."
)
def nightly() -> None:
    """Keep house."""
    verify_and_clean()


@dg.schedule(job=nightly, cron_schedule="0 3 * * *", default_status=automation_begins(dg.DefaultScheduleStatus))
def every_night(data: DataRootResource) -> dg.RunRequest | dg.SkipReason:
    """At three in the morning, unless automation.toml turns it off."""
    if not read_settings(data.root()).enabled:
        return dg.SkipReason("automation.toml says enabled = false")
    return dg.RunRequest()
