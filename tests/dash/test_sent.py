"""What no page of the dashboard sends: refused in a line, never a fault."""

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from dash import Dash
from starlette.testclient import TestClient

from splat_assets.errors import InputError
from splat_dash.app import create_app
from splat_dash.query import RowsRequest
from splat_dash.sent import PATH, value_of
from splat_dash.source import Source

ROUTER = ".._pages_content.children..._pages_store.data.."
DEEP: list[Any] = []
for _ in range(900):
    DEEP = [DEEP]
ABSURD: list[Any] = [
    None, "", 0, -1, 2**63, 2**64, 1e308, True, "a", "9" * 5000, "1e400", "nan", "\x00", "é" * 50, [], [[]], {}, {"feature": 3},
    {"feature": 3, "group": [1]}, {"feature": 2**70, "min": 0, "max": 1}, {"experiment": [1]}, {"startRow": -5, "endRow": 2**70},
    {"startRow": 0, "endRow": 9, "sortModel": [1]}, {"startRow": 0, "endRow": 9, "sortModel": [{"colId": "x", "sort": "asc"}]},
    "0._-_-_-_._-_-_-_._-_-_-_", "swim_speed_up", "/f/3", "?f=1,2", DEEP,
]  # fmt: skip


@pytest.fixture(scope="module")
def app(source: Source) -> Dash:
    return create_app(source)


@pytest.fixture(scope="module")
def client(app: Dash) -> TestClient:
    return TestClient(app.server, base_url="http://127.0.0.1", raise_server_exceptions=False)


def request_of(app: Dash, output: str, values: Any) -> dict[str, Any]:
    """A request to a callback, as Dash's renderer makes it. values: the next value, of an iterator."""
    known = app.callback_map[output]
    parts = {name: [{**one, "value": next(values)} for one in _named(known[name])] for name in ("inputs", "state")}
    outputs = known["output"] if isinstance(known["output"], (list, tuple)) else [known["output"]]
    named = [{"id": one.component_id, "property": one.component_property} for one in outputs]
    changed = [f"{one['id']}.{one['property']}" for one in parts["inputs"][:1]]
    several = output.startswith("..")
    return {"output": output, "outputs": named if several else named[0], **parts, "changedPropIds": changed}


def _named(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": one["id"], "property": one["property"]} for one in parts]


def of_page(path: Any, search: Any) -> Iterator[Any]:
    return iter([path, search])


def test_a_request_of_a_page_is_answered(app: Dash, client: TestClient) -> None:
    answer = client.post(PATH, json=request_of(app, ROUTER, of_page("/f/3", "")))

    assert answer.status_code == 200 and "Feature 3" in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"output": None},
        {"output": "no-such.children"},
        {"output": "examples-legend.children"},  # answered by the browser alone
        {"outputs": None},
        {"outputs": [{"id": "_pages_content", "property": "children"}]},
        {"outputs": [1, 2]},
        {"inputs": None},
        {"inputs": []},
        {"inputs": {"id": "_pages_location"}},
        {"inputs": [{"id": "other", "property": "pathname"}, {"id": "_pages_location", "property": "search"}]},
        {"inputs": [{"id": {"a": 1}, "property": ["x"]}] * 2},
        {"state": 7},
        {"changedPropIds": [{}]},
        {"changedPropIds": "_pages_location.pathname"},
    ],
)
def test_a_request_of_another_shape_is_refused_in_a_line(
    app: Dash, client: TestClient, changes: dict[str, Any]
) -> None:
    answer = client.post(PATH, json={**request_of(app, ROUTER, of_page("/f/3", "")), **changes})

    assert (answer.status_code, "reload the page" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("path", "search"),
    [(None, ""), (5, ""), ("a", ""), ([], ""), ({"a": 1}, ""), ("/", 5), ("/", True), ("/", ["?a"]), ("/", DEEP)],
)
def test_an_address_is_a_path_and_a_text(app: Dash, client: TestClient, path: Any, search: Any) -> None:
    assert client.post(PATH, json=request_of(app, ROUTER, of_page(path, search))).status_code == 400


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"output": "\\ud800"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 400),
        (b" " * 1_100_000, "application/json", 413),
    ],
)
def test_what_is_not_json_or_too_long_is_refused(client: TestClient, content: bytes, kind: str, status: int) -> None:
    answer = client.post(PATH, content=content, headers={"Content-Type": kind})

    assert (answer.status_code, answer.text.count("\n")) == (status, 1)


def test_no_value_that_a_callback_is_called_with_is_a_fault(app: Dash, client: TestClient) -> None:
    choice = random.Random(0)
    answered = [name for name, known in app.callback_map.items() if "callback" in known]
    for output in answered * 8:
        body = request_of(app, output, iter(lambda: choice.choice(ABSURD), ABSURD))
        answer = client.post(PATH, content=json.dumps(body), headers={"Content-Type": "application/json"})

        assert answer.status_code < 500, (output, body)
        assert "Internal error of the dashboard" not in answer.text, (output, body)


def test_no_address_and_no_file_is_a_fault(app: Dash, client: TestClient) -> None:
    choice = random.Random(1)
    texts = [str(one) for one in ABSURD if one is not DEEP] + [
        "%00",
        "%ff",
        "..",
        "3",
        "tokens",
        "csv",
        "bands",
        "ssu>=21",
    ]
    routes = [route.path for route in app.server.routes if getattr(route, "path", "").startswith("/api/")]
    assert len(routes) > 10
    names = (
        "q",
        "state",
        "sort",
        "min",
        "max",
        "group",
        "b",
        "b2",
        "f",
        "rule",
        "against",
        "box",
        "cluster",
        "by",
        "sample",
        "x",
    )
    for route in routes * 6:
        path = "/".join(
            quote(choice.choice(texts)[:200], safe=".") if "{" in part else part for part in route.split("/")
        )
        search = "&".join(f"{choice.choice(names)}={quote(choice.choice(texts))}" for _ in range(3))
        answer = client.get(f"{path}?{search}")

        assert answer.status_code < 500, (path, search)
        page = choice.choice(["/f/3", "/features", "/map", "/find", "/compare", "/whatif", path])
        text = client.post(PATH, json=request_of(app, ROUTER, of_page(page, f"?{search}"))).text
        assert "Internal error of the dashboard" not in text, (page, search)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/_dash-component-suites/dash/no.js", 404),
        ("/_dash-component-suites/dash/%00", 404),
        ("/_dash-component-suites/nobody/x.js", 404),
        ("/api/tokens/no_such_token/raising.csv", 404),
        ("/assets/..%2fapp.py", 404),
    ],
)
def test_what_is_not_there_is_not_there(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status


def test_a_value_of_another_kind_is_named() -> None:
    with pytest.raises(InputError, match=r"invalid request from the page: rows\.startRow: "):
        value_of(RowsRequest, {"startRow": -1, "endRow": 3}, "rows")
