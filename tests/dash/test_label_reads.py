"""A page of the dashboard reads the labels once, however many of its parts show them."""

from unittest import mock

import pytest
from fastapi.testclient import TestClient

from splat_assets.store.layout import DataRoot
from splat_dash.app import create_app
from splat_dash.source import Source
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app as create_server
from splat_serving.http.settings import ServerSettings
from splat_serving.investigations.opening import open_subject
from splat_serving.labels.remote import RemoteEvents
from tests.dash.test_app import page_text
from tests.serving.running import running


@pytest.mark.parametrize("path", ["/f/1", "/features", "/labels", "/map"])
def test_a_page_reads_the_labels_of_the_server_once(path: str, finished_root: DataRoot) -> None:
    server = create_server(Catalogue(Target.of("small", finished_root)), ServerSettings())
    with running(server) as url, open_subject(url) as subject:
        client = TestClient(create_app(Source(subject)).server, base_url="http://127.0.0.1")
        with mock.patch.object(RemoteEvents, "events", autospec=True, side_effect=RemoteEvents.events) as reads:
            page = page_text(client, path, "")

    assert "This cannot be shown" not in page
    assert reads.call_count <= 1
