"""Sensors and the nightly job as Dagster runs them: what is brought is asked for once, and how it ended is written down."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from splat_assets.automation.activity import activity
from splat_assets.automation.arrivals import records_of
from splat_assets.cli import main
from splat_assets.orchestration.definitions import build_defs
from splat_assets.orchestration.resources import RUNS, TAG, DataRootResource
from splat_assets.orchestration.sensors import _made, every_night, new_files, nightly, run_failed, run_succeeded
from splat_assets.store.bucket.bucket import Bucket
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import current_version, open_store, pin_version, pinned_versions, publish
from tests.s3 import S3


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


def tick(root: DataRoot, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    resource = DataRootResource(path=str(root.path))
    found = new_files(dg.build_sensor_context(instance=instance, resources={"data": resource}))
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


@pytest.mark.slow
def test_a_changed_model_is_requested_until_it_has_a_run(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    assert isinstance(tick(own_root, instance), dg.SkipReason)
    assert isinstance(tick(own_root, instance), dg.SkipReason)
    assert records_of(own_root)["saved_models/small"].run == "small"
    shutil.copytree(own_root.models / "small", own_root.models / "new")
    vocabulary = own_root.models / "new" / "vocab.json"
    vocabulary.write_text(vocabulary.read_text() + "\n")  # the same model, other bytes
    (own_root.path / "automation.toml").write_text("[recipe]\nd-sae = 64\nk = 4\n")
    tick(own_root, instance)

    found = tick(own_root, instance)

    assert isinstance(found, dg.SensorResult) and found.run_requests and found.dynamic_partitions_requests
    (request,) = found.run_requests
    assert request.partition_key is not None and request.partition_key.startswith("new-")
    assert (request.run_key, request.tags[TAG]) == (request.partition_key, request.partition_key)
    assert found.dynamic_partitions_requests[0].partition_keys == [request.partition_key]
    again = tick(own_root, instance)  # nothing came of it yet
    assert isinstance(again, dg.SensorResult) and again.run_requests == found.run_requests
    instance.add_dynamic_partitions(RUNS.name or "", [request.partition_key])
    instance.create_run_for_job(build_defs().resolve_job_def("whole_run"), tags=dict(request.tags))
    assert isinstance(tick(own_root, instance), dg.SkipReason)


def test_one_setting_turns_all_of_it_off(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    (own_root.path / "automation.toml").write_text("enabled = false\n")

    found = tick(own_root, instance)
    context = dg.build_schedule_context(resources={"data": DataRootResource(path=str(own_root.path))})

    assert isinstance(found, dg.SkipReason) and "enabled = false" in (found.skip_message or "")
    assert isinstance(every_night(context), dg.SkipReason)
    assert not own_root.arrivals.exists()


def test_everything_begins_switched_on() -> None:
    assert new_files.default_status is run_failed.default_status is run_succeeded.default_status
    assert new_files.default_status == dg.DefaultSensorStatus.RUNNING
    assert every_night.default_status == dg.DefaultScheduleStatus.RUNNING


def another_version(root: DataRoot, said: str) -> str:
    layout = root.run("small")
    store = open_store(layout.root)
    parts = {path.name: path for path in store.folder.iterdir() if path.name != "manifest.json"}
    return publish(layout.store, parts, {**store.manifest.provenance, "said": said})


def test_every_night_stores_are_verified_and_old_versions_go(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    store = own_root.run("small").store
    first = current_version(store)
    versions = [another_version(own_root, str(at)) for at in range(4)]
    pin_version(store, first)
    (own_root.path / "automation.toml").write_text("keep_versions = 2\n")

    done = nightly.execute_in_process(instance=instance, resources={"data": DataRootResource(path=str(own_root.path))})

    assert done.success
    left = {folder.name for folder in (store / "versions").iterdir() if not folder.name.startswith(".")}
    assert left == {first, *versions[-2:]}
    assert pinned_versions(store) == (first,)
    assert activity(own_root)[0].kind == "removed"
    assert versions[0] in activity(own_root)[0].said


def test_a_store_that_was_damaged_fails_the_night_and_loses_nothing(
    own_root: DataRoot, instance: dg.DagsterInstance
) -> None:
    store = own_root.run("small").store
    for at in range(3):
        another_version(own_root, str(at))
    table = store / "versions" / current_version(store) / "features.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.unlink()
    table.write_bytes(content)
    (own_root.path / "automation.toml").write_text("keep_versions = 1\n")

    done = nightly.execute_in_process(
        instance=instance, resources={"data": DataRootResource(path=str(own_root.path))}, raise_on_error=False
    )

    assert not done.success
    assert len([folder for folder in (store / "versions").iterdir() if not folder.name.startswith(".")]) == 4
    assert "features.parquet" in activity(own_root)[0].said


def test_how_a_run_ended_is_written_down(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    resources = {"data": DataRootResource(path=str(own_root.path))}

    @dg.op
    def breaks() -> None:
        raise dg.Failure(description="the sentence that says why")

    @dg.job
    def broken() -> None:
        breaks()

    @dg.op
    def works() -> None:
        """Nothing."""

    @dg.job
    def fine() -> None:
        works()

    tags = {"dagster/partition": "small"}
    failed = broken.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
    done = fine.execute_in_process(instance=instance, tags=tags)
    run_failed(
        dg.build_run_status_sensor_context("run_failed", failed.get_run_failure_event(), instance, failed.dagster_run,
                                           resources=resources).for_run_failure()
    )  # fmt: skip
    run_succeeded(
        dg.build_run_status_sensor_context("run_succeeded", done.get_run_success_event(), instance, done.dagster_run,
                                           resources=resources)
    )  # fmt: skip

    newest, older = activity(own_root)
    assert (newest.kind, newest.subject) == ("succeeded", "small")
    assert newest.said == "up to date: all artifacts; no check that blocks failed"
    assert (
        _made({dg.AssetKey("idf"), dg.AssetKey("examples")}) == "up to date: examples, idf; no check that blocks failed"
    )
    assert (older.kind, older.said) == ("failed", "breaks: the sentence that says why")


def test_a_run_that_a_check_ended_has_the_words_of_the_check(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def made() -> None:
        """Nothing."""

    @dg.asset_check(asset=made)
    def only_warns() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="not this one")

    @dg.asset_check(asset=made, blocking=True)
    def is_good() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="is_good failed (figure: 1): what to do about it")

    job = dg.Definitions([made], asset_checks=[only_warns, is_good], jobs=[dg.define_asset_job("all")])
    failed = job.resolve_job_def("all").execute_in_process(
        instance=instance, raise_on_error=False, tags={"dagster/partition": "small"}
    )
    resources = {"data": DataRootResource(path=str(own_root.path))}
    run_failed(
        dg.build_run_status_sensor_context("run_failed", failed.get_run_failure_event(), instance, failed.dagster_run,
                                           resources=resources).for_run_failure()
    )  # fmt: skip

    assert activity(own_root)[0].said == "made: is_good failed (figure: 1): what to do about it"


def test_runs_and_what_happened_are_listed(
    own_root: DataRoot, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(own_root.path))
    monkeypatch.setenv("COLUMNS", "200")
    (own_root.models / "half").mkdir()
    shutil.copyfile(own_root.models / "small" / "model.pth", own_root.models / "half" / "model.pth")
    for _ in range(2):
        tick(own_root, instance)

    shown = CliRunner().invoke(main, ["runs"])

    assert shown.exit_code == 0, shown.output
    assert "saved_models/half" in shown.output and "it has no vocab.json and no weapon_vocab.json yet" in shown.output
    assert "new base model: run small already has the same content" in shown.output


def test_versions_are_pinned_and_cleaned_by_hand(own_root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(own_root.path))
    store = own_root.run("small").store
    first, second = current_version(store), another_version(own_root, "second")
    third = another_version(own_root, "third")

    def call(*words: str) -> str:
        done = CliRunner().invoke(main, ["run", *words])
        assert "Traceback" not in done.output
        return done.output

    assert f"version {first} is pinned" in call("pin", "small", first)
    assert call("clean", "small", "--keep", "1") == f"run small: deleted {second}\n"
    assert call("clean", "small", "--keep", "1") == "run small: nothing to delete\n"
    assert f"there are {', '.join(sorted([first, third]))}" in call("pin", "small", "0" * 16)
    assert f"version {first} is no longer pinned" in call("pin", "small", first, "--remove")
    assert call("clean", "small", "--keep", "1") == f"run small: deleted {first}\n"
    assert "does not have a published version yet" in call("clean", "nobody")


@pytest.mark.slow
def test_an_input_copied_to_the_bucket_becomes_a_run_there(
    own_root: DataRoot, s3: S3, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    bucket = Bucket("s3://lab/data")
    watcher = DataRoot(WorkingCopy.of(bucket, {"SPLAT_WORKING_COPY": str(tmp_path / "watcher")}).root)
    for kind in ("datasets", "saved_models"):
        for path in sorted((own_root.path / kind).rglob("*")):
            if path.is_file():
                bucket.write(path.relative_to(own_root.path).as_posix(), path)
    bucket.write("automation.toml", b"[recipe]\nd-sae = 64\nk = 4\n")

    looks = [tick(watcher, instance) for _ in range(3)]

    found = next(one for one in looks if isinstance(one, dg.SensorResult))
    assert found.run_requests
    name = str(found.run_requests[0].partition_key)
    assert f"runs/{name}/run.toml" in bucket.listed("runs"), "other machines see the run"
    assert str(tmp_path) not in bucket.read(f"runs/{name}/run.toml").decode()
    assert "arrivals.json" in bucket.listed() and "activity.jsonl" in bucket.listed()
