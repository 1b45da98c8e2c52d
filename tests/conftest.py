"""Fixtures that every test may use."""

import asyncio
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# Idle threads sleep instead of spinning: on a busy machine spinning makes small models ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Tables are as wide as in a pipe, whatever terminal the tests are started from.
os.environ.pop("COLUMNS", None)

import pytest  # noqa: E402

from splat_assets.store.documents import read_json  # noqa: E402
from splat_assets.store.files import locked, write_json  # noqa: E402
from splat_assets.store.layout import DataRoot  # noqa: E402
from tests.s3 import BUCKET, S3  # noqa: E402
from tests.small_run import make_all, new_small_run  # noqa: E402


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference data that stands beside a checkout; tests on it skip where it is absent."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("the reference data folder ../shared is not beside this checkout")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take minutes first."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True)
def own_aliases(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the aliases of whoever runs it, nor those of another test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(autouse=True)
def no_running_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """The browser, once started, leaves its event loop running in this thread; tests without it see none, as a program would."""
    loop = None if "browser" in request.fixturenames else asyncio._get_running_loop()
    if loop is None:
        yield
        return
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(loop)


@pytest.fixture(scope="session")
def session_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of this test session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def finished_root(session_dir: Path) -> Iterator[DataRoot]:
    """A data root with the run `small`, made in full. Tests must not change its runs: they take `own_root` for that.

    The first process of the session that needs it makes it, the others wait; each of them looks after it at its end.
    """
    root, notes = DataRoot(session_dir / "finished"), session_dir / "finished.json"
    with locked(session_dir / "finished.lock"):
        if not notes.is_file():
            shutil.rmtree(root.path, ignore_errors=True)
            make_all(new_small_run(root))
            write_json(notes, _files_of_runs(root))
    made = read_json(notes)
    yield root
    now = _files_of_runs(root)
    assert {name for name in made | now if made.get(name) != now.get(name)} == set(), "a test changed what all share"


def _files_of_runs(root: DataRoot) -> dict[str, list[int]]:
    """Size and time of every file of a run, by name; locks hold nothing."""
    found = (path for path in (root.path / "runs").rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in found}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """An S3 server on this machine."""
    server = S3()
    stop = server.start()
    yield server
    stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    """That server with one empty bucket, and an environment that leads there; each test has a working copy of its own."""
    s3_server.before = None
    urllib.request.urlopen(urllib.request.Request(f"{s3_server.url}/moto-api/reset", method="POST")).close()
    urllib.request.urlopen(urllib.request.Request(f"{s3_server.url}/{BUCKET}", method="PUT")).close()
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPLAT_WORKING_COPY", str(tmp_path / "copy"))
    s3_server.asked.clear()
    yield s3_server
    s3_server.before = None


@pytest.fixture
def own_root(finished_root: DataRoot, tmp_path: Path) -> DataRoot:
    """A copy of the finished data root that a test may break. Paths inside run.toml are those of the copy."""
    copy = tmp_path / "data"
    shutil.copytree(finished_root.path, copy)
    config = DataRoot(copy).run("small").config
    config.write_text(config.read_text().replace(str(finished_root.path), str(copy)))
    return DataRoot(copy)
