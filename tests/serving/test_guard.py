"""Who may ask, how much at once, and what is written down of it."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app
from splat_serving.http.guard import AccessLog
from splat_serving.http.problems import PROBLEM
from splat_serving.http.settings import ServerSettings

SECRET = "0123456789abcdef0123456789abcdef"
STRANGER, LOCAL = "203.0.113.9", "127.0.0.1"
Client = Callable[..., TestClient]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def asking(finished_root: DataRoot) -> Client:
    """Makes a client at an address, of a server with settings."""

    def make(address: str = LOCAL, **settings: object) -> TestClient:
        app = create_app(Catalogue(Target(None, finished_root)), ServerSettings(**settings))  # type: ignore[arg-type]
        return TestClient(app, base_url="http://127.0.0.1", client=(address, 50_000))

    return make


RIGHT = {"Authorization": f"Bearer {SECRET}"}
WRONG = {
    "none": {},
    "another": {"Authorization": f"Bearer {SECRET[:-1]}0"},
    "the beginning": {"Authorization": f"Bearer {SECRET[:-1]}"},
    "more": {"Authorization": f"Bearer {SECRET}f"},
    "empty": {"Authorization": "Bearer "},
    "bare": {"Authorization": SECRET},
    "another scheme": {"Authorization": f"Basic {SECRET}"},
    "another header": {"X-Token": SECRET},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_without_the_token_every_path_but_health_is_401(wrong: str, asking: Client, token_file: Path) -> None:
    client = asking(token_file=token_file)

    answers = [
        client.get(path, headers=WRONG[wrong]) for path in ("/version", "/docs", "/openapi.json", "/metrics", "/x")
    ]

    for answer in answers:
        assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
        assert answer.headers["www-authenticate"] == 'Bearer realm="splat"'
        assert SECRET not in answer.text
    assert client.get("/health").status_code == 200


def test_health_without_the_token_says_that_the_server_lives_and_no_more(asking: Client, token_file: Path) -> None:
    with asking(token_file=token_file) as client:
        client.get("/version", headers=RIGHT)
        known, unknown = client.get("/health", headers=RIGHT).json(), client.get("/health").json()

    assert known["model_type"] == "small" and known["version"] and known["n_features"] and known["uptime_seconds"]
    assert {name: value for name, value in unknown.items() if value is not None} == {"status": "healthy"}


def test_with_the_token_anyone_may_ask(asking: Client, token_file: Path) -> None:
    client = asking(STRANGER, token_file=token_file)

    assert client.get("/version", headers=RIGHT).status_code == 200
    assert client.get("/version", headers={"Authorization": f"bearer {SECRET}"}).status_code == 200
    assert client.get(f"/version?token={SECRET}").status_code == 401


def test_without_a_token_only_this_machine_may_ask(asking: Client) -> None:
    answer = asking(STRANGER).get("/health")

    assert answer.status_code == 401
    assert "--token-file, or --insecure" in answer.json()["detail"]
    assert asking(STRANGER, insecure=True).get("/health").status_code == 200
    for local in (LOCAL, "127.1.2.3", "::1", "::ffff:127.0.0.1"):
        assert asking(local).get("/health").status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_a_proxy_on_this_machine_does_not_make_others_of_this_machine(header: str, asking: Client) -> None:
    for value in (STRANGER, LOCAL, "for=127.0.0.1"):
        assert asking().get("/health", headers={header: value}).status_code == 401
        assert asking(insecure=True).get("/health", headers={header: value}).status_code == 200


def test_names_of_the_server_can_be_added(asking: Client) -> None:
    named = asking(allowed_hosts=("Lab.Example",))

    assert named.get("/health", headers={"Host": "lab.example:8765"}).status_code == 200
    assert named.get("/health", headers={"Host": "other.example"}).status_code == 421
    assert asking(allowed_hosts=("*",)).get("/health", headers={"Host": "other.example"}).status_code == 200


BAD_TOKENS = {
    "short": (b"0123456789abcde", 0o600, "at least 16"),
    "empty": (b"\n", 0o600, "at least 16"),
    "two lines": (b"0123456789abcdef\n0123456789abcdef\n", 0o600, "one line"),
    "a space": (b"0123456789 abcdef", 0o600, "without spaces"),
    "no ASCII": ("0123456789abcdefé".encode(), 0o600, "ASCII"),
    "read by the group": (SECRET.encode(), 0o640, "can be read by others; chmod 600"),
    "read by all": (SECRET.encode(), 0o604, "can be read by others; chmod 600"),
}


@pytest.mark.parametrize("what", BAD_TOKENS)
def test_a_token_file_that_keeps_no_secret_is_refused(what: str, tmp_path: Path, asking: Client) -> None:
    content, mode, why = BAD_TOKENS[what]
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)

    with pytest.raises(InputError, match=why) as refused:
        asking(token_file=path)

    assert "0123456789" not in str(refused.value)


def test_a_token_file_that_is_not_there_is_refused(tmp_path: Path, asking: Client) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        asking(token_file=tmp_path / "token")


def test_every_answer_forbids_guessing_its_type_and_names_no_software(asking: Client, token_file: Path) -> None:
    client = asking(token_file=token_file)

    answers = [
        client.get("/activations/1", headers=RIGHT),
        client.get("/activations/1"),
        client.get("/nowhere", headers=RIGHT),
        client.get("/health", headers={"Host": "other.example"}),
        client.post("/query", headers=RIGHT, content=b" " * 2_000_000),
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 404, 421, 413]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not {"server", "x-powered-by"} & set(answer.headers)


def test_no_other_site_may_read_an_answer(asking: Client) -> None:
    client = asking()
    origin = {"Origin": "https://evil.example"}
    preflight = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}

    answers = [client.get("/version", headers=origin), client.options("/query", headers=preflight)]

    assert [answer.status_code for answer in answers] == [200, 405]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_body_may_be_as_large_as_the_setting_says(asking: Client) -> None:
    client = asking(max_body_bytes=100)
    fits = json.dumps({"all": [{"feature": 1}], "limit": 1}).ljust(100).encode()
    as_json = {"Content-Type": "application/json"}

    assert client.post("/query", content=fits, headers=as_json).status_code == 200
    assert client.post("/query", content=fits + b" ", headers=as_json).status_code == 413
    assert client.post("/query", content=iter([fits, b" "]), headers=as_json).status_code == 413
    assert client.get("/health").status_code == 200


def test_a_request_is_one_line_of_the_log_whatever_it_holds(
    asking: Client, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = asking(token_file=token_file)
    with caplog.at_level(logging.INFO, "splat_serving.access"):
        client.get("/a%0a%0dINFO%20forged%1b[2J%c2%85%e2%80%a8%ff?x=%0a\u2028", headers=RIGHT)
        client.get("/" + "a" * 5_000, headers=RIGHT)

    lines = [record.getMessage() for record in caplog.records if record.name == "splat_serving.access"]
    assert len(lines) == 2
    for line in lines:
        assert len(line.splitlines()) == 1
        assert line.isascii() and line.isprintable()
        assert len(line) < 3_000
        assert SECRET not in line
    found = json.loads(lines[0])
    assert found["path"].startswith("/a\n\rINFO forged\x1b[2J")
    assert (found["method"], found["status"], found["client"]) == ("GET", 404, "127.0.0.1")
    assert {"query", "bytes", "ms"} <= found.keys()


def test_a_fault_is_logged_on_lines_of_its_own(
    own_root: DataRoot, feature_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Catalogue(Target(None, own_root)), ServerSettings())
    app.state.catalogue.run().current()
    app.state.workers = None  # type: ignore[assignment]
    with TestClient(app, base_url="http://127.0.0.1", client=(LOCAL, 1)) as client:
        answer = client.get("/tokens/a%0aINFO%20forged/features")

    logged = [record.getMessage() for record in caplog.records if record.name == "splat_serving.http.guard"]
    assert answer.status_code == 500
    assert "internal error: AttributeError" in answer.json()["detail"]
    assert logged == [r"GET '/tokens/a\nINFO forged/features'"]


def test_a_body_that_nobody_wants_need_not_be_made(asking: Client) -> None:
    heard = []

    async def answer(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        heard.append((await receive())["type"])
        await send({"type": "http.response.body", "body": b"x"})

    client = TestClient(AccessLog(answer, asking().app.state))  # type: ignore[attr-defined]
    client.head("/")
    client.get("/")

    assert heard == ["http.disconnect", "http.request"]


def test_websockets_are_refused(asking: Client) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect):
        with asking().websocket_connect("/health"):
            pass
