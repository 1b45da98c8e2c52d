"""Dagster's jobs and what starts them: sensors for new inputs and for the end of a run, and the nightly schedule."""

from collections.abc import Set as AbstractSet

import dagster as dg

from splat_assets.assets import ASSETS
from splat_assets.automation.activity import Kind, record_activity
from splat_assets.automation.arrivals import scan_for_inputs
from splat_assets.automation.housekeeping import verify_and_prune
from splat_assets.automation.settings import read_settings
from splat_assets.orchestration.as_dagster import failing_in_words, table_of
from splat_assets.orchestration.resources import RUNS, TAG, DataRootResource, automation_begins
from splat_assets.store.bucket.working_copy import sharing
from splat_assets.store.layout import DataRoot
from splat_assets.store.sharing import pull_inputs, synced_root
from splat_assets.text.progress import LogProgress
from splat_assets.text.wording import agreeing, counted

_EVERY_SECONDS = 15
_PARTITION = "dagster/partition"
WHOLE_RUN = dg.define_asset_job(
    "whole_run", dg.AssetSelection.assets(*(asset.name for asset in ASSETS)), description="All artifacts of one run."
)


@dg.sensor(
    job=WHOLE_RUN, minimum_interval_seconds=_EVERY_SECONDS, default_status=automation_begins(dg.DefaultSensorStatus)
)
def new_files(context: dg.SensorEvaluationContext, data: DataRootResource) -> dg.SensorResult | dg.SkipReason:
    """Make a run of each new complete base model, ready-made SAE and dataset, once per content."""
    root = data.root()
    pull_inputs(root)
    if not read_settings(root).enabled:
        return dg.SkipReason("automation.toml says enabled = false")
    with sharing(root.path):
        names = scan_for_inputs(root)
    new = [name for name in names if not _was_started(context.instance, name)]
    if not new:
        return dg.SkipReason("no new inputs")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=name, partition_key=name, tags={TAG: name}) for name in new],
        dynamic_partitions_requests=[RUNS.build_add_request(new)],
    )


@dg.run_status_sensor(run_status=dg.DagsterRunStatus.SUCCESS, default_status=automation_begins(dg.DefaultSensorStatus))
def run_succeeded(context: dg.RunStatusSensorContext, data: DataRootResource) -> None:
    """Record that a run was finished."""
    name = context.dagster_run.tags.get(_PARTITION)
    if name:
        _tell(data.root(), "succeeded", name, _made(context.dagster_run.asset_selection))


@dg.run_failure_sensor(default_status=automation_begins(dg.DefaultSensorStatus))
def run_failed(context: dg.RunFailureSensorContext, data: DataRootResource) -> None:
    """Record why a run was not finished."""
    name = context.dagster_run.tags.get(_PARTITION) or context.dagster_run.job_name
    _tell(data.root(), "failed", name, _reason(context))


def _tell(root: DataRoot, kind: Kind, subject: str, message: str) -> None:
    with sharing(root.path):
        record_activity(root, kind, subject, message)


def _made(selected: AbstractSet[dg.AssetKey] | None) -> str:
    """The subject of a Dagster run. Checks that only warn may have failed."""
    whole = not selected or len(selected) == len(ASSETS)
    which = "all artifacts" if whole else ", ".join(sorted(key.to_user_string() for key in selected or ()))
    return f"up to date: {which}; no check that blocks failed"


def _was_started(instance: dg.DagsterInstance, name: str) -> bool:
    """Whether Dagster ever had a run of that partition, from here or from the shell."""
    return bool(instance.get_run_records(dg.RunsFilter(tags={TAG: name}), limit=1))


def _reason(context: dg.RunFailureSensorContext) -> str:
    """The message of the first failed check or step; Dagster's own message where there is none."""
    for entry in context.instance.all_logs(context.dagster_run.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        evaluation = entry.get_dagster_event().asset_check_evaluation_data
        if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
            return f"{evaluation.asset_key.to_user_string()}: {evaluation.description}"
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        message = failure.user_failure_data.description if failure.user_failure_data else None
        if not message and failure.error is not None:
            message = (failure.error.cause or failure.error).message.strip().splitlines()[0]
        return f"{event.step_key}: {message}" if message else f"{event.step_key} failed"
    return (context.failure_event.message or "it failed").strip().splitlines()[0]


@dg.op
def verify_and_clean(context: dg.OpExecutionContext, data: DataRootResource) -> None:
    """Verify every published store, remove old versions; fails when a store differs from what was published."""
    root = data.root()
    with failing_in_words(), synced_root(root):
        results = verify_and_prune(root, LogProgress(context.log.info))
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
