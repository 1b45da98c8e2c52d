"""The dashboard without a browser: the first answer is whole, answers are compressed and timed, and starting takes no torch."""

import re
import subprocess
import sys

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from splat_dash.app import create_app
from splat_dash.query import ListQuery
from splat_dash.source import Source


def test_the_first_page_that_somebody_gets_is_whole(source: Source) -> None:
    client = TestClient(create_app(source).server, base_url="http://127.0.0.1")

    first, second = client.get("/"), client.get("/")

    assert "_dashprivate_clientside_funcs" in first.text
    scripts = [re.findall("<script src=[^>]*>", answer.text) for answer in (first, second)]
    assert scripts[0] == scripts[1] != []
    assert '<html lang="en">' in first.text
    assert "http://" not in first.text and "https://" not in first.text


def test_answers_say_how_long_they_took_and_load_nothing_from_elsewhere(source: Source) -> None:
    answer = TestClient(create_app(source).server, base_url="http://127.0.0.1").get("/_dash-layout")

    assert answer.headers["server-timing"].startswith("total;dur=")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["content-encoding"] == "gzip"


def test_neither_dagster_nor_torch_is_imported() -> None:
    code = "import sys, splat_dash.app; print([name for name in sys.modules if name.split('.')[0] in ('torch', 'dagster')])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def page_text(client: TestClient, path: str, search: str) -> str:
    """What Dash's router gets for an address."""
    inputs = [("pathname", path), ("search", search)]
    outputs = [("_pages_content", "children"), ("_pages_store", "data")]
    body = {
        "output": ".." + "...".join(f"{one}.{name}" for one, name in outputs) + "..",
        "outputs": [{"id": one, "property": name} for one, name in outputs],
        "inputs": [{"id": "_pages_location", "property": name, "value": value} for name, value in inputs],
        "changedPropIds": ["_pages_location.pathname"],
        "state": [],
    }
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize(
    ("path", "search", "message"),
    [
        ("/f/43", "?fid=7", "Feature 43"),
        ("/f/43/", "", "Feature 43"),
        ("/f/43", "?fid=7&fid=8", "fid: repeated in the address"),
        ("/f/43", "?source=1", "Feature 43"),
        ("/f/43", "?group=a&group=b", "group: repeated in the address"),
        ("/compare", "?source=1&f=1,2", "Feature 1 compared with feature 2"),
        ("/compare", "?f=1&f=2", "f: repeated in the address"),
        ("/whatif", "?sample=9999999", "sample 9999999 is not in small"),
        ("/f/43", "?min=-inf", "min and max must be numbers"),
        ("/f/43", "?max=1e400", "All examples"),
        ("/weapons/../etc", "", "Unknown weapon"),
        ("/weapons/%2E52%20Gal", "", "weapon="),
        ("/find", "?rule=" + "(" * 500, "Find features by a rule"),
        ("/features", "?q=" + "a" * 300, "at most 200 characters"),
        ("/map", "?box=1e400,2,3,4", "is not four finite numbers"),
        ("/map", "?cluster=999999999&box=-1e308,1e308,-1e308,1e308", "No feature matches"),
        ("/map", "?by=decoder&by=decoder", "by: repeated in the address"),
        ("/find", "?rule=ssu>=6&against=ssu>=6", "there is nothing to compare"),
        ("/find", "?rule=ssu&against=(", "Find features by a rule"),
        ("/runs", "?source=1", "Shown in this window: small"),
    ],
)
def test_no_address_is_a_fault(path: str, search: str, message: str, source: Source) -> None:
    text = page_text(TestClient(create_app(source).server, base_url="http://127.0.0.1"), path, search)

    assert "Internal error of the dashboard" not in text
    assert message in text


def test_a_fault_has_a_number_that_the_log_has_and_other_pages_live_on(
    source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = TestClient(create_app(source).server, base_url="http://127.0.0.1")

    def broken(*_: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(source, "place", broken)
    text = page_text(client, "/f/43", "")

    result = re.search("([0-9a-f]{8})", text)
    assert result is not None and result[1] in caplog.text and "it broke" in caplog.text
    assert "it broke" not in text
    assert "Feature 1 compared with feature 2" in page_text(client, "/compare", "?f=1,2")


def test_a_dead_feature_says_that_it_is_one(source: Source) -> None:
    client = TestClient(create_app(source).server, base_url="http://127.0.0.1")
    dead = source.rows(ListQuery(state="dead"))["feature_id"].to_list()
    assert dead, "the small run has dead features"

    for tab in ("examples", "tokens", "weapons", "doses", "statistics"):
        text = page_text(client, f"/f/{dead[0]}", f"?tab={tab}")
        assert "ever fires" in text and "Internal error" not in text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8050", "Origin": "http://localhost:8050"}, 200),
        ({"Host": "[::1]:8050"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "127.0.0.1:8050", "Origin": "http://127.0.0.1:9000"}, 403),
        ({"Host": "[::1"}, 403),
    ],
)
def test_only_its_own_pages_are_answered(headers: dict[str, str], status: int, source: Source) -> None:
    client = TestClient(create_app(source).server, base_url="http://127.0.0.1")

    assert client.get("/_dash-layout", headers=headers).status_code == status
    assert client.get("/api/features/1.json", headers=headers).status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_nobody_gets_a_connection_that_no_page_needs(host: str, source: Source) -> None:
    client = TestClient(create_app(source).server, base_url="http://127.0.0.1")

    with pytest.raises(WebSocketDisconnect):
        with client.websocket_connect("/_dash-ws-callback", headers={"Host": host, "Origin": f"http://{host}"}):
            """Never connected."""
