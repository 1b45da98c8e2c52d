"""Shards on a Ray cluster of two nodes here: the same bytes, what a lost node had is done elsewhere, a killed driver goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from splat_assets.assets import ASSETS, asset_named
from splat_assets.assets.asset import bring_up_to_date
from splat_assets.compute.shards import ShardRunner
from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import current_version, open_store
from splat_assets.text.progress import SilentProgress
from tests.small_run import new_small_run

pytest.importorskip("ray", reason="Ray is not installed: `pip install 'splatlens[ray]'`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of files and sockets that it leaves to the end of the process
]


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Nothing is sent anywhere."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    yield


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that runs no tasks, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    results = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    results.workers = [results.add_node(num_cpus=1) for _ in range(2)]
    yield results
    results.shutdown()


def where(spec: tuple[Path, int, float]) -> tuple[int, str]:
    """Marks that it began, works for so long, and says on which node it was."""
    import ray

    folder, number, seconds = spec
    node = str(ray.get_runtime_context().get_node_id())
    (folder / f"{number}-{node}-{time.time_ns()}").touch()
    time.sleep(seconds)
    return number, node


def refuse(spec: int) -> int:
    raise InputError(f"shard {spec} cannot be")


def test_both_nodes_work_and_what_is_raised_is_raised(cluster: Any, tmp_path: Path) -> None:
    runner = ShardRunner("ray", address=cluster.address)
    results: list[tuple[int, str]] = []

    runner.run(where, ((tmp_path, number, 0.5) for number in range(8)), results.append)

    assert sorted(number for number, _ in results) == list(range(8))
    assert len({node for _, node in results}) == 2
    with pytest.raises(InputError, match="shard 3 cannot be"):
        runner.run(refuse, [3])
    with pytest.raises(InputError, match="cannot be reached"):
        ShardRunner("ray", address="127.0.0.1:9").run(refuse, [3])


def test_what_a_lost_node_had_is_done_elsewhere(cluster: Any, tmp_path: Path) -> None:
    results: list[int] = []

    def done(result: tuple[int, str]) -> None:
        results.append(result[0])
        if len(results) == 2:
            doomed = cluster.workers[1]
            deadline = time.monotonic() + 60
            while not at_work(doomed.node_id):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            cluster.remove_node(doomed, allow_graceful=False)

    def at_work(node: str) -> bool:
        """Whether the node has begun something in the last half second, of the two that it takes."""
        began = [int(path.name.rpartition("-")[2]) for path in tmp_path.glob(f"*-{node}-*")]
        return bool(began) and time.time_ns() - max(began) < 0.5e9

    ShardRunner("ray", address=cluster.address).run(where, ((tmp_path, number, 2.0) for number in range(8)), done)

    assert sorted(results) == list(range(8))
    begun = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert len(begun) > 8  # at least one was begun a second time


def test_the_store_is_the_same_to_the_last_byte(
    cluster: Any, finished_root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_SHARDS", f"ray:{cluster.address}")
    run = new_small_run(DataRoot(tmp_path / "data"))

    for asset in ASSETS[: 1 + ASSETS.index(asset_named("published_store"))]:
        receipt = bring_up_to_date(asset, run, SilentProgress())
        if asset.name == "raw_activations":
            assert receipt.facts["backend"] == "ray"

    here = open_store(finished_root.run("small").root)
    assert current_version(run.layout.store) == here.version
    assert open_store(run.layout.root).manifest.files == here.manifest.files


def test_a_killed_driver_goes_on_where_it_was(cluster: Any, tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "data")
    run = new_small_run(root)
    for asset in ASSETS[: ASSETS.index(asset_named("raw_activations"))]:
        bring_up_to_date(asset, run, SilentProgress())
    code = (
        "import sys\n"
        "from splat_assets.assets import asset_named\n"
        "from splat_assets.assets.asset import bring_up_to_date\n"
        "from splat_assets.text.progress import LogProgress\n"
        "from splat_assets.runs import open_run\n"
        "from splat_assets.store.layout import DataRoot\n"
        "run = open_run(DataRoot.from_environment(), 'small')\n"
        "print(bring_up_to_date(asset_named('raw_activations'), run, LogProgress(print)).facts['n_shards_resumed'])\n"
    )
    environment = {**os.environ, "SPLAT_DATA": str(root.path), "SPLAT_SHARDS": f"ray:{cluster.address}"}
    driver = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    receipts = run.layout.raw_activations
    deadline = time.monotonic() + 120
    while not list(receipts.glob("shard-*/receipt.json")):
        assert time.monotonic() < deadline and driver.poll() is None
        time.sleep(0.005)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    finished = len([path for path in receipts.glob("shard-*/receipt.json") if json.loads(path.read_text())])

    again = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert finished >= 1
    assert int(again.stdout.strip().splitlines()[-1]) >= finished
