"""Servers of the small run, asked in the same process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.version import Store
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app
from splat_serving.http.settings import ServerSettings, settings_from_environment


def client_of(target: str | None, root: DataRoot, settings: ServerSettings | None = None) -> TestClient:
    """A client of a server for a run or path, which speaks to it without a socket."""
    app = create_app(Catalogue(Target.of(target, root)), settings or settings_from_environment())
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000))


@pytest.fixture(scope="session")
def client(finished_root: DataRoot) -> Iterator[TestClient]:
    """A client of a server that serves the finished data root, which nothing changes."""
    with client_of(None, finished_root) as found:
        yield found


@pytest.fixture(scope="session")
def store(finished_root: DataRoot) -> Store:
    """The store that the server reads."""
    return open_store(finished_root.run("small").root)


@pytest.fixture
def feature_id(store: Store) -> int:
    """The feature that fires most often."""
    return int(store.features["n_active"].arg_max() or 0)


@pytest.fixture
def efficient(finished_root: DataRoot) -> Path:
    """The guide's batch tree of the finished run."""
    return finished_root.run("small").efficient
