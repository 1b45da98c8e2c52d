"""The pipeline as Dagster sees it: what loads, what is recorded, what blocks what, and the UI that starts from nothing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import Status, picture_of, recorded_outcomes, status_of
from splat_assets.automation.activity import activity
from splat_assets.automation.arrivals import Record, records_of
from splat_assets.orchestration.as_dagster import _check_metadata, dagster_asset
from splat_assets.orchestration.definitions import build_defs, dagster_assets, dagster_checks, defs
from splat_assets.orchestration.in_process import SETTINGS
from splat_assets.orchestration.resources import RUNS, DataRootResource
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot
from tests.assets.faults.planting import change_json, change_recipe
from tests.small_run import new_small_run
from tests.test_hostile_names import NAME as HOSTILE_NAME

PROJECT = Path(__file__).resolve().parents[1]

N_CHECKS = sum(len(asset.checks) for asset in ASSETS)


def test_the_definitions_load() -> None:
    dg.Definitions.validate_loadable(build_defs())


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["dg", "check", "defs"], ["dagster", "definitions", "validate", "-w", "workspace.yaml"]]
)
def test_dagsters_own_checks_take_the_definitions(command: list[str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "DG_CLI_CONFIG": str(tmp_path / "none.toml"),
    }
    tool = Path(sys.executable).with_name(command[0])

    done = subprocess.run([tool, *command[1:]], cwd=PROJECT, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_settings_of_the_repository_and_of_the_package_are_the_same() -> None:
    assert SETTINGS.read_bytes() == (PROJECT / "dagster.yaml").read_bytes()
    assert "module_name: splat_assets.definitions" in (PROJECT / "workspace.yaml").read_text()


def test_importing_the_definitions_leaves_torch_out() -> None:
    code = "import sys, splat_assets.orchestration.definitions; print('torch' in sys.modules)"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "False"


def test_there_is_a_partitioned_asset_per_artifact_and_a_check_per_promise() -> None:
    graph = defs.resolve_asset_graph()

    found = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert found == {asset.name for asset in ASSETS} | {"sweep_comparison"}
    assert len(graph.asset_check_keys) == N_CHECKS + 1
    for asset in ASSETS:
        node = graph.get(dg.AssetKey(asset.name))
        assert {key.to_user_string() for key in node.parent_keys} == set(asset.deps)
        assert node.partitions_def == RUNS
        assert (node.group_name, node.kinds, node.code_version) == (asset.group, set(asset.kinds), asset.code_version)
        assert node.description == asset.description
        assert node.owners == ["team:splat"] and node.tags["splat/readers"] in ("everyone", "pipeline")


def test_assets_own_their_storage() -> None:
    """Nothing passes between assets but order: every output is of type Nothing."""
    for asset in dagster_assets():
        for output in asset.node_def.output_defs:
            assert output.dagster_type.is_nothing, asset.key


def test_one_job_makes_a_whole_run() -> None:
    job = defs.resolve_job_def("whole_run")

    assert job.partitions_def == RUNS
    assert job.executor_def.name == dg.in_process_executor.name


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions("run", ["small"])
        yield made


def materialized(
    root: DataRoot, instance: dg.DagsterInstance, selection: dg.AssetSelection | None = None
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [*dagster_assets(), *dagster_checks()],
        instance=instance,
        partition_key="small",
        resources={"data": DataRootResource(path=str(root.path))},
        selection=selection,
        raise_on_error=False,
    )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of each materialised asset, as plain values."""
    events = result.get_asset_materialization_events()
    return {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in events
        if event.asset_key
    }


@pytest.mark.slow
def test_materialising_a_run_makes_and_checks_every_artifact(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run = new_small_run(DataRoot(tmp_path))

    result = materialized(run.root, instance)

    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == N_CHECKS
    assert [found.check_name for found in evaluations if not found.passed] == []
    metadata = metadata_of(result)
    assert metadata.keys() == {asset.name for asset in ASSETS}
    for name, shown in metadata.items():
        assert {"shape", "path", "size_bytes", "seconds", "fingerprint", "was_up_to_date"} <= shown.keys(), name
        assert shown["was_up_to_date"] is False
        assert Path(shown["path"]).exists()
    assert {"nnz", "density", "l0", "rows_per_s", "table"} <= metadata["raw_activations"].keys()
    assert {"fvu", "l0_mean", "dead_percent", "fidelity", "picture"} <= metadata["sae_checkpoint"].keys()
    assert {"nnz", "density", "bytes_per_activation", "n_dead", "picture"} <= metadata["sparse_activations"].keys()
    assert metadata["sae_checkpoint"]["picture"].startswith("![sae_checkpoint](data:image/png;base64,")
    assert len(metadata["raw_activations"]["table"].records) == metadata["raw_activations"]["n_shards"]
    assert picture_of("sae_checkpoint", run).read_bytes().startswith(b"\x89PNG")


def test_a_second_materialisation_reports_that_all_was_up_to_date(
    own_root: DataRoot, instance: dg.DagsterInstance
) -> None:
    before = {path: path.stat().st_mtime_ns for path in own_root.run("small").root.rglob("*.parquet")}

    result = materialized(own_root, instance)

    assert result.success
    assert {name for name, shown in metadata_of(result).items() if shown["was_up_to_date"]} == {a.name for a in ASSETS}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_each_asset_is_materialised_alone_with_its_checks(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    """As a click on one in Dagster's UI does, after the run was made."""
    for asset in ASSETS:
        result = materialized(own_root, instance, dg.AssetSelection.assets(asset.name))

        assert result.success, asset.name
        assert metadata_of(result).keys() == {asset.name}
        checked = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
        assert checked == {check.name: True for check in asset.checks}


def test_the_data_version_of_an_asset_is_its_receipt(finished_root: DataRoot, instance: dg.DagsterInstance) -> None:
    result = materialized(finished_root, instance, dg.AssetSelection.assets("dataset").without_checks())

    (event,) = result.get_asset_materialization_events()
    tags = event.materialization.tags or {}
    assert tags["dagster/data_version"] == metadata_of(result)["dataset"]["fingerprint"]


def test_offenders_of_a_check_are_rows() -> None:
    told = _check_metadata({"n_sampled": 32, "wrong_features": "3, 17", "wrong_tokens": "", "passed": True})

    rows = told["wrong_features"]
    assert isinstance(rows, dg.TableMetadataValue)
    assert [record.data for record in rows.records] == [{"features": "3"}, {"features": "17"}]
    assert (told["n_sampled"], told["wrong_tokens"], told["passed"]) == (32, "", True)


def test_a_failing_check_blocks_what_depends_on_it(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    run = open_run(own_root, "small")
    text = run.layout.config.read_text(encoding="utf-8")
    run.layout.config.write_text(text.replace("max_fvu = 0.5", "max_fvu = 0.0"), encoding="utf-8")

    result = materialized(own_root, instance)

    assert not result.success
    failed = [found.check_name for found in result.get_asset_check_evaluations() if not found.passed]
    assert failed == ["fvu_is_within_limits"]
    assert metadata_of(result).keys() == {"dataset", "base_model", "sae_checkpoint"}
    recorded = recorded_outcomes(asset_named("sae_checkpoint"), open_run(own_root, "small"))
    assert not recorded["fvu_is_within_limits"].passed


def refusals(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The sentence with which each step failed."""
    failures = [(event.step_key, event.step_failure_data) for event in result.get_step_failure_events()]
    return {
        str(step): failure.user_failure_data.description or ""
        for step, failure in failures
        if failure.user_failure_data
    }


def test_nothing_is_made_from_an_artifact_whose_check_failed(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    """Not even where only what comes after it is asked for."""
    run = open_run(own_root, "small")
    change_recipe(run, "max_fvu = 0.5", "max_fvu = 0.0")
    materialized(own_root, instance, dg.AssetSelection.assets("dataset", "base_model", "sae_checkpoint"))
    (run.layout.store / "CURRENT").unlink()

    for name in ("raw_activations", "published_store"):
        result = materialized(own_root, instance, dg.AssetSelection.assets(name))

        assert not result.success
        sentence = refusals(result)[name]
        assert sentence.startswith("not made, because of sae_checkpoint: fvu_is_within_limits failed (fvu: 0.")
        assert "limit: 0): a new run with more --epochs" in sentence and "--max-fvu" in sentence
    assert not (run.layout.store / "CURRENT").exists()


def test_nothing_is_made_from_an_artifact_that_was_not_checked(
    own_root: DataRoot, instance: dg.DagsterInstance
) -> None:
    materialized(own_root, instance, dg.AssetSelection.assets("dataset", "base_model"))

    result = materialized(own_root, instance, dg.AssetSelection.assets("influences"))

    sentence = refusals(result)["influences"]
    assert "not made, because sae_checkpoint_is_intact of sae_checkpoint was not run" in sentence
    assert "`splat materialize small --select sae_checkpoint`" in sentence


def test_nothing_is_made_from_an_artifact_that_is_out_of_date(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    materialized(own_root, instance, dg.AssetSelection.assets("dataset", "base_model", "sae_checkpoint"))
    change_recipe(open_run(own_root, "small"), "lr = 0.01", "lr = 0.02")

    result = materialized(own_root, instance, dg.AssetSelection.assets("influences"))

    assert "not made, because sae_checkpoint is out of date" in refusals(result)["influences"]


def test_a_fault_that_a_sentence_explains_fails_the_step_with_that_sentence(
    own_root: DataRoot, instance: dg.DagsterInstance
) -> None:
    run = open_run(own_root, "small")
    Path(run.config.inputs.data.path).write_text("ability_tags\tweapon_id\n", encoding="utf-8")
    run.layout.builds.unlink()

    result = materialized(own_root, instance, dg.AssetSelection.assets("dataset"))

    (failure,) = [event.step_failure_data for event in result.get_step_failure_events()]
    assert failure.user_failure_data is not None
    assert "is not the file this run was made from" in (failure.user_failure_data.description or "")


def test_a_receipt_that_was_edited_fails_the_step_in_words(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    change_json(own_root.run("small").receipts / "dataset.json", code_version="2")

    result = materialized(own_root, instance, dg.AssetSelection.assets("dataset"))

    (failure,) = [event.step_failure_data for event in result.get_step_failure_events()]
    assert failure.user_failure_data is not None
    assert "dataset.json was changed" in (failure.user_failure_data.description or "")


# `splat up`: the UI from nothing.


class Dagster:
    """A Dagster UI, asked over GraphQL."""

    def __init__(self, port: int, dash_port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.dashboard = f"http://127.0.0.1:{dash_port}"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        data: dict[str, Any] = found["data"]
        return data

    def wait_until(self, ready: Any, seconds: float, process: "subprocess.Popen[bytes]") -> Any:
        """What `ready` returns once it is true; the process must live on meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert process.poll() is None, "the UI ended by itself"
            try:
                found = ready()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                found = None
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"not ready after {seconds} s")


NOTHING = Record("", "waiting", "")
ASSET_NODES = "{ assetNodes { assetKey { path } groupName isPartitioned repository { name location { name } } } }"
ADD_PARTITION = """
mutation ($name: String!, $key: String!, $repository: RepositorySelector!) {
  addDynamicPartition(partitionsDefName: $name, partitionKey: $key, repositorySelector: $repository) { __typename }
}"""
LAUNCH = """
mutation ($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}"""
RUN = """
query ($id: ID!) {
  runOrError(runId: $id) { ... on Run { status assetMaterializations { assetKey { path } } } }
}"""


BACKFILL = """
mutation ($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""
HOW_FAR = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status numPartitions runs(limit: 10) { status tags { key value } } }
  }
}"""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def _launch_assets_alone(dagster: Dagster, location: dict[str, str]) -> dict[str, str]:
    """Two assets of the finished run, each by itself as a click on it does; returns Dagster's run of each."""
    runs = {}
    for name in ("sae_checkpoint", "published_store"):
        parameters = {
            "selector": {**location, "jobName": "__ASSET_JOB", "assetSelection": [{"path": [name]}]},
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "small"}]},
        }
        launched = dagster.ask(LAUNCH, parameters=parameters)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        runs[name] = launched["run"]["runId"]
    return runs


def _assert_each_made_itself(dagster: Dagster, process: "subprocess.Popen[bytes]", runs: dict[str, str]) -> None:
    for name, run_id in runs.items():
        run = dagster.wait_until(lambda run_id=run_id: _ended(dagster.ask(RUN, id=run_id)["runOrError"]), 300, process)
        assert run["status"] == "SUCCESS", name
        assert [event["assetKey"]["path"] for event in run["assetMaterializations"]] == [[name]]


def _ended(found: dict[str, Any]) -> dict[str, Any] | None:
    return found if found["status"] in ENDED else None


def _launch_backfill(dagster: Dagster, location: dict[str, str], root: DataRoot) -> str:
    """An asset for three runs at once, two of which have nothing yet; returns the backfill's id."""
    for name in ("second", "third"):
        new_small_run(root, name)
        added = dagster.ask(ADD_PARTITION, name="run", key=name, repository=location)
        assert added["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess"
    parameters = {"assetSelection": [{"path": ["dataset"]}], "partitionNames": ["small", "second", "third"], "tags": []}
    launched = dagster.ask(BACKFILL, parameters=parameters)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def _assert_backfill_made_three(
    dagster: Dagster, process: "subprocess.Popen[bytes]", backfill_id: str, root: DataRoot
) -> None:
    def finished() -> Any:
        backfill = dagster.ask(HOW_FAR, id=backfill_id)["partitionBackfillOrError"]
        return (
            backfill if backfill["status"] in ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED") else None
        )

    backfill = dagster.wait_until(finished, 300, process)
    assert (backfill["status"], backfill["numPartitions"]) == ("COMPLETED_SUCCESS", 3)
    assert [run["status"] for run in backfill["runs"]] == ["SUCCESS"] * 3
    for name in ("second", "third"):
        assert status_of(asset_named("dataset"), open_run(root, name)) is Status.SETTLED


def _in_a_browser(dagster: Dagster, folder: Path) -> None:
    """The UI draws the assets, and asks nobody but itself."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        return
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(f"{dagster.url}/assets/published_store")
        expect(page.get_by_text("what servers and dashboards read").first).to_be_visible(timeout=60_000)
        page.screenshot(path=folder / "ui.png")
        browser.close()
    assert (folder / "ui.png").stat().st_size > 10_000


@pytest.fixture
def user_interface(tmp_path: Path) -> Iterator[tuple[Dagster, "subprocess.Popen[bytes]", DataRoot]]:
    """`splat up` on a free port, over a fresh data root that holds a run nobody has made; all its processes end with it."""
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, dash_port = free.getsockname()[1], other.getsockname()[1]
    root = DataRoot(tmp_path / HOSTILE_NAME / "data")
    new_small_run(root)
    (root.path / "automation.toml").write_text(
        "[recipe]\nd-sae = 96\nk = 8\nepochs = 30\nsae-batch-size = 128\nlr = 0.01\nshard-items = 256\nbatch-size = 64\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "DAGSTER_HOME"}
    environment["SPLAT_DATA"] = str(root.path)
    root.dagster_home.mkdir()
    settings = SETTINGS.read_text()
    (root.dagster_home / "dagster.yaml").write_text(settings.replace("concurrent_runs: 1", "concurrent_runs: 2"))
    command = [sys.executable, "-m", "splat_assets.cli", "up", "--port", str(port), "--dash-port", str(dash_port)]
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield Dagster(port, dash_port), process, root
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@pytest.mark.long
def test_a_run_launched_through_the_ui_succeeds_and_so_does_one_that_starts_itself(
    user_interface: tuple[Dagster, "subprocess.Popen[bytes]", DataRoot], tmp_path: Path
) -> None:
    dagster, process, root = user_interface

    nodes = dagster.wait_until(lambda: dagster.ask(ASSET_NODES)["assetNodes"], 180, process)
    names = {node["assetKey"]["path"][0] for node in nodes}
    assert names == {asset.name for asset in ASSETS} | {"sweep_comparison"}
    assert all(node["isPartitioned"] for node in nodes)
    with urllib.request.urlopen(dagster.url, timeout=60) as page:
        assert b"Dagster" in page.read()

    location = {
        "repositoryName": nodes[0]["repository"]["name"],
        "repositoryLocationName": nodes[0]["repository"]["location"]["name"],
    }
    added = dagster.ask(ADD_PARTITION, name="run", key="small", repository=location)
    assert added["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess"
    parameters = {
        "selector": {**location, "jobName": "whole_run"},
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "small"}]},
    }
    launched = dagster.ask(LAUNCH, parameters=parameters)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched

    def finished() -> Any:
        found = dagster.ask(RUN, id=launched["run"]["runId"])["runOrError"]
        return found if found["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

    found = dagster.wait_until(finished, 300, process)
    assert found["status"] == "SUCCESS"
    made = {event["assetKey"]["path"][0] for event in found["assetMaterializations"]}
    assert made == {asset.name for asset in ASSETS}
    assert (root.run("small").store / "CURRENT").is_file()
    assert (root.path / "dagster" / "dagster.yaml").is_file()

    new = root.models / "new"
    shutil.copytree(root.models / "small", root.path / "aside")
    vocabulary = root.path / "aside" / "vocab.json"
    vocabulary.write_text(vocabulary.read_text() + "\n")  # the same model, other bytes
    (root.path / "aside").rename(new)
    arrived = time.monotonic()
    assets_alone = _launch_assets_alone(dagster, location)
    backfill_id = _launch_backfill(dagster, location, root)
    _in_a_browser(dagster, tmp_path)
    _assert_each_made_itself(dagster, process, assets_alone)
    _assert_backfill_made_three(dagster, process, backfill_id, root)

    name = dagster.wait_until(lambda: records_of(root).get("saved_models/new", NOTHING).run, 120, process)
    seconds = time.monotonic() - arrived
    print(f"the run of the new model was created after {seconds:.0f} s")
    ended = dagster.wait_until(lambda: [one for one in activity(root) if one.subject == name], 300, process)
    assert [(one.kind, one.said) for one in ended] == [
        ("succeeded", "up to date: all artifacts; no check that blocks failed")
    ]
    run = open_run(root, name)
    assert all(status_of(asset, run) is Status.SETTLED for asset in ASSETS)

    def listed() -> bool:
        with urllib.request.urlopen(f"{dagster.dashboard}/api/runs.json", timeout=60) as answer:
            return name in {row["run"] for row in json.load(answer)["published"]}

    dagster.wait_until(listed, 60, process)

    def shown() -> bool:
        with urllib.request.urlopen(f"{dagster.dashboard}/api/features/0.json", timeout=60) as page:
            return bool(json.load(page)["run"] == "small")

    assert dagster.wait_until(shown, 60, process), "the dashboard waited for the run and shows it now"
    assert [path.name for path in tmp_path.glob(".tmp_dagster*")] == [], "Dagster's home was not the data root's"


def _stale_in_dagster(instance: dg.DagsterInstance, changed: str) -> set[str]:
    """What Dagster's UI marks as out of date for the run when the code of one asset is another one."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    assets = [replace(one, code_version="99") if one.name == changed else one for one in ASSETS]
    graph = dg.Definitions(
        assets=[dagster_asset(one) for one in assets], resources={"data": DataRootResource()}
    ).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(
        instance=instance, asset_graph=graph, loading_context=LoadingContextForTest(instance)
    )
    return {
        one.name
        for one in ASSETS
        if resolver.get_status(dg.AssetKey(one.name), partition_key="small") is not StaleStatus.FRESH
    }


def test_dagster_marks_what_has_other_code_and_nothing_else(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    materialized(own_root, instance)

    assert _stale_in_dagster(instance, "") == set()
    for name in ("histograms", "idf", "sae_checkpoint", "published_store"):
        assert _stale_in_dagster(instance, name) == {name}


@pytest.mark.slow
def test_dagster_marks_what_depends_on_another_sae(own_root: DataRoot, instance: dg.DagsterInstance) -> None:
    materialized(own_root, instance)
    change_recipe(open_run(own_root, "small"), "lr = 0.01", "lr = 0.011")
    result = materialized(own_root, instance, dg.AssetSelection.assets("sae_checkpoint"))
    assert metadata_of(result)["sae_checkpoint"]["was_up_to_date"] is False

    own = {asset.name for asset in ASSETS if "sae_checkpoint" in asset.deps}
    stale = _stale_in_dagster(instance, "")
    assert own and own <= stale
    assert not stale & {"dataset", "base_model", "idf", "sae_checkpoint"}
