"""The finished small run as a subject: read from disk, and asked of a server."""

from collections.abc import Iterator

import pytest

from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app
from splat_serving.http.settings import settings_from_environment
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.subject import Subject
from tests.serving.running import running


@pytest.fixture(scope="session")
def server_url(finished_root: DataRoot) -> Iterator[str]:
    """A server of the finished data root, which nothing changes."""
    with running(create_app(Catalogue(Target.of(None, finished_root)), settings_from_environment())) as url:
        yield url


@pytest.fixture(scope="session")
def local(finished_root: DataRoot) -> Subject:
    """The small run, from disk."""
    return open_subject("small", root=finished_root)


@pytest.fixture(scope="session")
def remote(server_url: str) -> Iterator[Subject]:
    """The small run, from a server."""
    with open_subject(server_url) as result:
        yield result


@pytest.fixture(scope="session")
def busy(local: Subject) -> int:
    """The feature that fires most often."""
    return int(local.database.features()["n_active"].arg_max() or 0)
