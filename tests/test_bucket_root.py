"""A whole data root in a bucket: the pipeline writes there, server, dashboard and commands of another machine read it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from splat_assets.assets import asset_named
from splat_assets.assets.asset import bring_up_to_date
from splat_assets.errors import InputError
from splat_assets.runs import open_run
from splat_assets.store import open_store
from splat_assets.store.bucket.bucket import Bucket
from splat_assets.store.bucket.working_copy import WorkingCopy
from splat_assets.store.layout import DataRoot
from splat_assets.text.progress import SilentProgress
from splat_dash.query import ListQuery
from splat_dash.source import Source
from splat_serving.investigations.opening import open_subject
from tests.s3 import S3
from tests.serving.conftest import client_of
from tests.small_run import new_small_run
from tests.test_hostile_names import NAME as HOSTILE_NAME

URL = "s3://lab/data"
pytestmark = pytest.mark.slow


def _copy(folder: Path) -> WorkingCopy:
    return WorkingCopy.of(Bucket(URL), {"SPLAT_WORKING_COPY": str(folder)})


@pytest.fixture
def there(finished_root: DataRoot, s3: S3, tmp_path: Path) -> DataRoot:
    """The finished data root in the bucket, as a machine of its own left it there."""
    copy = _copy(tmp_path / "maker")
    shutil.copytree(finished_root.path, copy.root, dirs_exist_ok=True)
    store = copy.root / "runs" / "small" / "store"
    (store / "CURRENT").unlink()
    shutil.rmtree(store / "versions")
    root = DataRoot(copy.root)
    bring_up_to_date(asset_named("published_store"), open_run(root, "small"), SilentProgress())
    copy.push()
    return root


def _elsewhere(tmp_path: Path) -> DataRoot:
    """Another machine, which brought what a reader needs."""
    copy = _copy(tmp_path / HOSTILE_NAME)
    copy.pull()
    return DataRoot(copy.root)


def _splat(folder: Path, *words: str, expect: int = 0) -> str:
    """What a command says on another machine."""
    environment = {**os.environ, "SPLAT_DATA": URL, "SPLAT_WORKING_COPY": str(folder)}
    command = [sys.executable, "-m", "splat_assets.cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder.parent)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_server_reads_a_feature_with_two_ranged_requests(there: DataRoot, s3: S3, tmp_path: Path) -> None:
    store = open_store(there.run("small").root)
    feature = int(store.features["n_active"].arg_max() or 0)
    with client_of("small", _elsewhere(tmp_path)) as client:
        assert client.get("/version").json()["version"] == store.version
        s3.asked.clear()
        body = client.get(f"/activations/{feature}?columns=global_index,activation").json()
        ranged = [one for one in s3.asked if one.range]
        assert [one.method for one in ranged] == ["GET", "GET"] and len(s3.asked) == 2

        own = store.feature(feature)
        assert [row["global_index"] for row in body["data"]] == own.sample_ids.tolist()
        np.testing.assert_array_equal(np.float32([row["activation"] for row in body["data"]]), own.values)
        page = client.get(f"/features/{feature}").json()
        assert page["statistics"] == store.features.row(feature, named=True)
        builds = {"builds": [{"weapon": "0", "tokens": ["swim_speed_up_3"]}]}
        assert client.post("/live/features", json=builds).status_code == 200


def test_the_dashboard_of_another_machine_shows_it_and_labels_stay_in_the_bucket(
    there: DataRoot, tmp_path: Path
) -> None:
    root = _elsewhere(tmp_path)
    with open_subject("small", root=root) as subject, open_subject("small", root=there) as own:
        here, shown = Source(own), Source(subject)
        assert shown.rows(ListQuery()).drop("label").equals(here.rows(ListQuery()).drop("label"))
        assert shown.feature(5).statistics == here.feature(5).statistics
        shown.write_label(5, {"text": "said elsewhere"}, "b", 0)
        assert here.labels()[5].author == "b"
        assert [one.run for one in subject.published() or []] == ["small"]


def test_commands_work_on_the_bucket_and_what_they_write_is_there(there: DataRoot, tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE_NAME
    said = _splat(folder, "run", "list")
    assert "16 of 16" in said, said
    assert not (folder / "runs/small/raw_activations").exists()
    _splat(folder, "materialize", "small")  # whose checks nobody ran yet
    assert "everything is up to date" in _splat(tmp_path / "third", "materialize", "small")
    _splat(folder, "verify", "small")
    assert "from here" in _splat(folder, "label", "set", "5", "from here") + _splat(folder, "label", "show", "5")
    _splat(folder, "run", "pin", "small")
    assert Bucket(URL).read("runs/small/store/PINNED").strip()
    assert "Feature 5" in _splat(folder, "overview", "5")
    _splat(folder, "run", "remove", "small", "--yes")
    assert Bucket(URL).listed("runs/small") == {}


def test_what_is_wrong_with_the_bucket_is_one_sentence(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "holds no runs yet" in _splat(tmp_path / "shell", "run", "list")
    assert "Usage" in _splat(tmp_path / "shell", "run", "list", "--help")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    said = _splat(tmp_path / "shell", "run", "list", expect=2)
    assert "cannot list s3://lab/data" in said and "Traceback" not in said
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    said = _splat(tmp_path / "shell", "run", "list", expect=2)
    assert "needs credentials" in said and "Traceback" not in said


def test_a_run_whose_inputs_no_other_machine_would_have_is_refused(s3: S3, tmp_path: Path) -> None:
    outside = DataRoot(tmp_path / "outside")
    run = new_small_run(outside)
    root = DataRoot(_copy(tmp_path / "one").root)
    from splat_assets.runs import create_run

    with pytest.raises(
        InputError, match=r"is not in .*, the working copy of s3://lab/data: copy it into its saved_models"
    ):
        create_run(root, "small", run.config)


def test_a_driver_that_is_killed_is_taken_over_by_another_machine(s3: S3, tmp_path: Path) -> None:
    one = DataRoot(_copy(tmp_path / "one").root)
    new_small_run(one)
    _copy(tmp_path / "one").push()
    environment = {**os.environ, "SPLAT_DATA": URL, "SPLAT_WORKING_COPY": str(tmp_path / "one")}
    command = [sys.executable, "-m", "splat_assets.cli", "materialize", "small"]
    driver = subprocess.Popen(command, env=environment, start_new_session=True)
    while "runs/small/receipts/sae_checkpoint.json" not in Bucket(URL).listed("runs/small/receipts"):
        assert driver.poll() is None
        time.sleep(0.2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    trained = json.loads(Bucket(URL).read("runs/small/receipts/sae_checkpoint.json"))
    shutil.rmtree(tmp_path / "one")

    _splat(tmp_path / "other", "materialize", "small")

    assert json.loads(Bucket(URL).read("runs/small/receipts/sae_checkpoint.json")) == trained
    version = open_store(f"{URL}/runs/small").version
    assert Bucket(URL).read("runs/small/store/CURRENT").decode().strip() == version
    assert open_store(f"{URL}/runs/small").verify() == []
