"""The real server over a socket, under hostile use: every attempt is answered clearly or cut off, and no harm is done."""

import json
import signal
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import publish
from splat_assets.store.samples import write_samples
from splat_assets.store.sparse.merge import write_sparse_store
from splat_serving.http.problems import PROBLEM
from tests.contracts.sources import DenseSource, sample_table
from tests.serving.sockets import RawAnswer, RunningServer, request, running, wait_until

SHORT = ("--read-timeout-seconds", "1", "--write-timeout-seconds", "1", "--shutdown-seconds", "2")
TRACEBACK = "Traceback (most recent call last)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, finished_root: DataRoot) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("hostile"), finished_root, *SHORT) as found:
        time.sleep(0.2)  # the connection of the first question ends
        yield found


@pytest.fixture(autouse=True)
def unharmed(server: RunningServer) -> Iterator[None]:
    """After every test the server answers, has no fault in its log and no connection left over."""
    n_at_rest, n_said = server.n_sockets(), len(server.said())
    yield
    assert server.ask("/health", "Connection: close").status == 200
    said = server.said()[n_said:]
    assert TRACEBACK not in said
    assert "ERROR" not in said
    wait_until("every connection ends", lambda: server.n_sockets() <= n_at_rest)


def is_problem(answer: RawAnswer, status: int, about: str = "") -> bool:
    body = json.loads(answer.body)
    assert (answer.status, body["status"]) == (status, status), answer
    assert answer.headers["content-type"] == PROBLEM
    assert body["title"] and body["detail"]
    assert about in body["detail"]
    return True


HUGE = 10**30
BAD_PARAMETERS = {
    f"/activations/{HUGE}": 404,
    f"/activations/-{HUGE}": 404,
    "/activations/" + "9" * 5_000: 422,
    f"/activations/1?offset={HUGE}": 422,
    f"/activations/1?limit={HUGE}": 422,
    f"/activations/1?seed={HUGE}&sample_frac=0.5": 422,
    "/activations/1?min_activation=nan": 422,
    "/activations/1?max_activation=inf": 422,
    "/activations/1?min_activation=-inf": 422,
    "/activations/1?sample_frac=nan": 422,
    "/activations/1?columns=" + "a," * 400: 422,
    "/activations/1?weapon=" + "x" * 5_000: 422,
    "/activations/1?token=%00": 404,
    "/activations/1?token=%ED%A0%80": 404,
    "/activations/1?token=%ff%fe": 404,
    f"/samples/{HUGE}": 404,
    f"/features/{HUGE}": 404,
    f"/features?limit=1&offset={HUGE}": 422,
    "/features?limit=1&filter=max>=nan": 422,
    "/features?limit=1&filter=max>=1e400": 200,
    "/features?limit=1&sort=-": 422,
    f"/coactivation/{HUGE}": 404,
    f"/coactivation/1?min_both={HUGE}": 422,
    f"/tokens/{HUGE}/features": 404,
    f"/weapons/-{HUGE}/features": 404,
}


@pytest.mark.parametrize("path", BAD_PARAMETERS, ids=lambda path: path[:60])
def test_a_parameter_beyond_all_measure_is_a_problem(path: str, server: RunningServer) -> None:
    answer = server.ask(path)

    assert answer.status == 200 or is_problem(answer, BAD_PARAMETERS[path])
    assert answer.status == BAD_PARAMETERS[path]


PATHS = {
    "/%2e%2e/%2e%2e/etc/passwd": 404,
    "/../../etc/passwd": 404,
    "/runs/%2e%2e/version": 404,
    "/runs/..%2f..%2f/version": 404,
    "/runs/small%00/version": 404,
    "/runs/%2fetc%2fpasswd/version": 404,
    "/v/..%2f..%2fCURRENT/version": 404,
    "/v/%00/version": 404,
    "//health": 404,
    "//evil.example/health": 404,
    "/health/": 404,
    "/%c0%ae%c0%ae/health": 404,
    "/runs/%c0%af/version": 404,
    "/%": 404,
    "/%zz": 404,
    "/activations/%31": 200,
    "/HEALTH": 404,
    "/health;x=1": 404,
    "/health?x=%0d%0aX-Injected:%201": 200,
}


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_the_store(path: str, server: RunningServer) -> None:
    answer = server.ask(path)

    assert answer.status == 200 or is_problem(answer, PATHS[path])
    assert answer.status == PATHS[path]
    assert b"root:" not in answer.body
    assert "x-injected" not in answer.headers


NOT_HTTP = {
    "random bytes": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "no method": b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "bytes beyond ASCII in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a nul byte in a header": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
    "a space in a header's name": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX Y: 1\r\n\r\n",
    "a length that is no number": b"POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ten\r\n\r\n",
    "a negative length": b"POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": request("/query", "Transfer-Encoding: chunked", "Content-Length: 5", method="POST")
    + b"0\r\n\r\nGET /runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "chunks that are none": request("/query", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n{}\r\n0\r\n\r\n",
    "an unknown coding": request("/query", "Transfer-Encoding: gzip", method="POST") + b"{}",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
    "HTTP/2 without being asked": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("what", NOT_HTTP)
def test_what_is_no_http_gets_a_problem(what: str, server: RunningServer) -> None:
    answer = server.send(NOT_HTTP[what])

    assert is_problem(answer, 400)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"])
def test_another_method_is_refused_and_names_those_there_are(method: str, server: RunningServer) -> None:
    answer = server.ask("/activations/1", "Origin: http://evil.example", method=method)

    assert is_problem(answer, 405)
    assert "GET" in answer.headers["allow"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:8765": 200,
    "localhost:1": 200,
    "LOCALHOST": 200,
    "[::1]:8765": 200,
    "evil.example": 421,
    "evil.example:8765": 421,
    "127.0.0.1.evil.example": 421,
    "127.0.0.1@evil.example": 421,
    "localhost:evil.example": 421,
    "[::1]evil.example": 421,
    "[::1": 421,
    "": 421,
}


@pytest.mark.parametrize("host", HOSTS)
def test_only_a_request_for_this_machine_is_answered(host: str, server: RunningServer) -> None:
    answer = server.send(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert answer.status == 200 or is_problem(answer, 421, "--allowed-host")
    assert answer.status == HOSTS[host]


def test_the_authority_of_an_absolute_target_counts_and_not_the_host_header(server: RunningServer) -> None:
    here = server.send(b"GET http://127.0.0.1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    elsewhere = server.send(b"GET http://evil.example/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    assert here.status == 200
    assert is_problem(elsewhere, 421)


def test_a_body_that_is_too_large_is_refused_and_the_connection_ends(server: RunningServer) -> None:
    body = b" " * 10_000_000
    chunk = b"%x\r\n%s\r\n" % (65_536, b" " * 65_536)
    json_type = "Content-Type: application/json"

    with_length = server.ask("/query", json_type, method="POST", body=body)
    in_chunks = server.send(
        request("/query", json_type, "Transfer-Encoding: chunked", method="POST"), *[chunk] * 160, b"0\r\n\r\n"
    )
    only_said = server.send(request("/query", json_type, f"Content-Length: {HUGE}", method="POST"))

    for answer in (with_length, in_chunks):
        assert is_problem(answer, 413, "1,048,576 bytes")
        assert answer.ended
    assert only_said.status in (400, 413)
    assert only_said.ended


def test_a_client_that_sends_a_large_body_whole_still_sees_the_answer(server: RunningServer) -> None:
    with server.connect() as connection:
        connection.send(request("/query", method="POST", body=b" " * 20_000_000))

        answer = connection.answer()

    assert is_problem(answer, 413)


def test_a_body_without_end_is_refused_and_cut_off(server: RunningServer) -> None:
    chunk = b"%x\r\n%s\r\n" % (65_536, b" " * 65_536)
    with server.connect() as connection:
        connection.send(request("/query", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(20):
            connection.send(chunk)
        raw = connection.socket.recv(65_536)

        patience = time.monotonic() + 60
        with pytest.raises(ConnectionError):
            while time.monotonic() < patience:
                connection.send(chunk)

    assert raw.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("around", ["written beside the size of a chunk", "of small chunks", "after the last chunk"])
def test_what_stands_around_the_chunks_of_a_body_has_a_bound(around: str, server: RunningServer) -> None:
    parts = {
        "written beside the size of a chunk": [b"1;note=", *[b"x" * 16_384] * 60],
        "of small chunks": [b"1\r\n \r\n" * 4_096] * 40,
        "after the last chunk": [b"0\r\n", *[b"X-Note: " + b"x" * 4_000 + b"\r\n"] * 250],
    }
    answer = server.send(request("/query", "Transfer-Encoding: chunked", method="POST"), *parts[around])

    assert is_problem(answer, 413, "chunk framing")
    assert answer.ended


def test_a_body_in_chunks_of_a_usual_size_is_read(server: RunningServer) -> None:
    chunk = b"%x;note=1\r\n%s\r\n" % (4_096, b" " * 4_096)
    answer = server.send(
        request("/query", "Content-Type: application/json", "Transfer-Encoding: chunked", method="POST"),
        *[chunk] * 250, b"2\r\n{}\r\n0\r\n\r\n",
    )  # fmt: skip

    assert answer.status == 200


BODIES = {
    "no JSON": (b"{", 400),
    "nothing": (b"", 422),
    "a hundred thousand brackets": (b"[" * 100_000, 400),
    "a hundred thousand objects": (b'{"all":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "brackets within a field": (b'{"all":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "no UTF-8": (b'{"weapon":["\xff"]}', 400),
    "half a surrogate pair": (b'{"weapon":["\\ud800"]}', 422),
    "half a surrogate pair as a name": (b'{"\\ud800":1}', 422),
    "a name without end": (b'{"' + b"x" * 900_000 + b'":1}', 422),
    "a number of ten thousand digits": (b'{"offset":' + b"9" * 10_000 + b"}", 400),
    "a huge number": (b'{"offset":' + str(HUGE).encode() + b"}", 422),
    "not a number": (b'{"all":[{"feature":1,"min":NaN}]}', 422),
    "infinity": (b'{"all":[{"feature":1,"max":Infinity}]}', 422),
    "a huge feature": (b'{"all":[{"feature":' + str(HUGE).encode() + b"}]}", 422),
    "too many conditions": (b'{"all":[' + b",".join([b'{"feature":1}'] * 65) + b"]}", 422),
    "more conditions than one query takes": (
        b'{"all":[' + b",".join([b'{"feature":1}'] * 64) + b'],"any":[' + b",".join([b'{"feature":1}'] * 64) + b"]}",
        422,
    ),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_means_nothing_is_a_short_problem(what: str, server: RunningServer) -> None:
    body, status = BODIES[what]

    answer = server.ask("/query", "Content-Type: application/json", method="POST", body=body)

    assert is_problem(answer, status)
    assert len(answer.body) < 5_000


def test_a_body_of_another_type_gets_422_with_the_expected_type(server: RunningServer) -> None:
    body = b'{"all":[{"feature":1}]}'

    answers = [
        server.ask("/query", *headers, method="POST", body=body) for headers in ((), ("Content-Type: text/plain",))
    ]

    assert all(is_problem(answer, 422, "application/json") for answer in answers)


def test_a_head_that_is_too_large_is_refused(server: RunningServer) -> None:
    many = server.ask("/health", *(f"X-{i}: 1" for i in range(5_000)))
    one = server.ask("/health", "X: " + "a" * 1_000_000)
    urls = [server.ask("/health?" + "a" * n_bytes) for n_bytes in (20_000, 70_000)]

    assert is_problem(many, 431)
    assert is_problem(one, 431)
    assert all(is_problem(url, 414) for url in urls)


def test_headers_without_end_are_refused_while_they_come(server: RunningServer) -> None:
    headers = [b"X-%d: %s\r\n" % (i, b"a" * 1_000) for i in range(1_000)]

    answer = server.send(b"GET /health HTTP/1.1\r\n", *headers)

    assert is_problem(answer, 431)
    assert answer.ended


def test_a_head_that_comes_too_slowly_ends_the_connection(server: RunningServer) -> None:
    with server.connect() as connection:
        with pytest.raises(ConnectionError):
            for byte in request("/health", *(f"X-{i}: 1" for i in range(50))):
                connection.send(bytes([byte]))
                time.sleep(0.05)


@pytest.mark.parametrize("beginning", [b"", b"\r\n", request("/health"), request("/health") + b"GET /he"])
def test_a_connection_on_which_nothing_more_comes_is_closed(beginning: bytes, server: RunningServer) -> None:
    with server.connect() as connection:
        connection.send(beginning)
        if b"GET" in beginning:
            assert connection.answer().status == 200

        assert connection.gone()


def test_empty_lines_do_not_keep_a_connection(server: RunningServer) -> None:
    with server.connect() as connection:
        connection.send(request("/health"))
        assert connection.answer().status == 200

        with pytest.raises(ConnectionError):
            for _ in range(200):
                connection.send(b"\r\n")
                time.sleep(0.05)


def test_a_body_that_comes_too_slowly_is_408(server: RunningServer) -> None:
    with server.connect() as connection:
        connection.send(request("/query", "Content-Length: 1000", "Content-Type: application/json", method="POST"))
        for _ in range(5):
            connection.send(b" ")
            time.sleep(0.05)

        answer = connection.answer()

    assert is_problem(answer, 408)
    assert answer.ended


def test_the_body_of_a_refused_request_does_not_hold_its_connection(server: RunningServer) -> None:
    with server.connect() as connection:
        connection.send(b"POST /query HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert connection.answer().status == 421

        with pytest.raises(ConnectionError):
            for _ in range(200):
                connection.send(b"1\r\n \r\n")
                time.sleep(0.05)


def test_requests_that_are_sent_ahead_are_answered_in_order(server: RunningServer) -> None:
    paths = ["/activations/1?limit=1", "/nowhere", "/activations/2?limit=1"]
    with server.connect() as connection:
        connection.send(b"".join(request(path) for path in paths))
        answers = [connection.answer() for _ in paths]

    assert [answer.status for answer in answers] == [200, 404, 200]
    assert [json.loads(answers[i].body)["feature_id"] for i in (0, 2)] == [1, 2]


def test_requests_before_a_malformed_one_are_answered(server: RunningServer) -> None:
    with server.connect() as connection:
        connection.send(request("/activations/1?limit=1") + b"\x00\x01\x02 nonsense\r\n\r\n")

        answer = connection.answer()
        ended = connection.gone()

    assert answer.status == 200
    assert json.loads(answer.body)["feature_id"] == 1
    assert ended


def test_a_client_that_sends_thousands_ahead_is_left(server: RunningServer) -> None:
    n_sent, n_answered = 2_000, 0
    with server.connect() as connection:
        with pytest.raises(ConnectionError):
            connection.send(request("/health") * n_sent)
            while connection.answer().status == 200:
                n_answered += 1

    assert n_answered < n_sent


def test_a_body_may_be_announced_first(server: RunningServer) -> None:
    body = b'{"all":[{"feature":1}],"limit":1}'
    head = request(
        "/query",
        "Expect: 100-continue",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        method="POST",
    )
    with server.connect() as connection:
        connection.send(head)
        interim = connection.answer()
        connection.send(body)
        answer = connection.answer()

    too_much = server.send(request("/query", "Expect: 100-continue", f"Content-Length: {10**7}", method="POST"))

    assert (interim.status, answer.status) == (100, 200)
    assert is_problem(too_much, 413)


GET_PATHS = [
    "/health",
    "/runs",
    "/version",
    "/docs",
    "/openapi.json",
    "/activations/1",
    "/activations/1?format=csv",
    "/activations/1/arrow",
    "/features",
    "/features?limit=5",
    "/features/1",
    "/coactivation/1",
    "/samples/1",
    "/tokens",
    "/weapons",
    "/tokens/3/features",
    "/weapons/3/features",
    "/context/vocab",
    "/context/inv_vocab",
    "/activations/999999",
]
TIMES = ("date", "server-timing", "x-load-time-ms", "content-length", "connection")


@pytest.mark.parametrize("path", GET_PATHS)
def test_a_head_has_the_headers_of_the_get_and_no_body(path: str, server: RunningServer) -> None:
    full = server.ask(path)
    with server.connect() as connection:
        connection.send(request(path, method="HEAD") + request("/health"))
        head = connection.answer("HEAD")
        following = connection.answer()

    assert (head.status, head.body) == (full.status, b"")
    assert {k: v for k, v in head.headers.items() if k not in TIMES} == {
        k: v for k, v in full.headers.items() if k not in TIMES
    }
    assert json.loads(following.body)["status"] == "healthy"


def test_a_range_is_not_followed(server: RunningServer) -> None:
    whole = server.ask("/tokens?format=csv")

    for asked in ("bytes=0-9", "bytes=-1", f"bytes={HUGE}-", "bytes=0-0," * 500, "junk"):
        answer = server.ask("/tokens?format=csv", f"Range: {asked}")
        assert (answer.status, answer.body) == (200, whole.body)


def test_another_protocol_is_not_followed(server: RunningServer) -> None:
    websocket = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )

    answers = [
        server.ask("/health", *websocket),
        server.ask("/nowhere", *websocket),
        server.ask(
            "/health", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAA"
        ),
    ]

    assert [answer.status for answer in answers] == [200, 404, 200]
    assert all(answer.ended for answer in answers)


JUNK = ['"', "W/", '"a", "b",,,,"', "*" * 5_000, "\xff\xfe", 'W/"x"' + ',"y"' * 5_000]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_junk_in_headers_is_no_fault(junk: str, server: RunningServer) -> None:
    tagged = server.ask("/tokens", f"If-None-Match: {junk}")
    wanted = server.ask("/tokens", f"Accept: {junk}")
    other = server.ask(
        "/tokens", f"Authorization: {junk}", f"Content-Type: {junk}", f"Cookie: {junk}", "Content-Length: 0"
    )

    assert (tagged.status, other.status) == (200, 200)
    assert is_problem(wanted, 406)


@pytest.mark.slow
def test_a_client_that_leaves_in_the_middle_is_no_fault(large: RunningServer) -> None:
    for _ in range(5):
        with large.connect() as connection:
            connection.send(request("/activations/0"))
            assert connection.socket.recv(1_000).startswith(b"HTTP/1.1 200 OK")
            connection.reset()

    assert large.ask("/health", "Connection: close").status == 200
    assert TRACEBACK not in large.said()
    assert "ERROR" not in large.said()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "arrow", "csv"])
def test_a_client_that_never_reads_is_left(form: str, large: RunningServer) -> None:
    before = large.n_sockets()
    with large.connect() as connection:
        connection.send(request(f"/activations/0?format={form}"))
        wait_until("the connection is open", lambda: large.n_sockets() > before)

        wait_until("the server leaves", lambda: large.n_sockets() <= before)
        assert connection is not None

    assert "did not read its response" in large.said()
    assert TRACEBACK not in large.said()
    assert large.ask("/health", "Connection: close").status == 200


def test_too_many_connections_get_503(tmp_path_factory: pytest.TempPathFactory, finished_root: DataRoot) -> None:
    folder = tmp_path_factory.mktemp("few")
    with running(folder, finished_root, "--max-connections", "4", "--max-in-flight", "2") as few:
        held = [few.connect() for _ in range(4)]
        for connection in held:
            connection.send(b"GET")
        time.sleep(0.1)

        answer = few.send(b"")
        for connection in held:
            connection.close()
        wait_until("there is room again", lambda: _status_of_health(few) == 200)

    assert is_problem(answer, 503)


def _status_of_health(server: RunningServer) -> int:
    return server.ask("/health", "Connection: close").status


def test_beyond_the_requests_under_way_at_once_it_is_429(
    tmp_path_factory: pytest.TempPathFactory, finished_root: DataRoot
) -> None:
    folder = tmp_path_factory.mktemp("busy")
    with running(folder, finished_root, "--max-in-flight", "2") as busy:
        held = [busy.connect() for _ in range(2)]
        for connection in held:
            connection.send(request("/query", "Content-Length: 10", method="POST"))
        wait_until("both are under way", lambda: busy.ask("/version").status == 429)

        refused, health = busy.ask("/version"), busy.ask("/health")
        for connection in held:
            connection.close()
        wait_until("there is room again", lambda: busy.ask("/version").status == 200)

    assert is_problem(refused, 429)
    assert refused.headers["retry-after"] == "1"
    assert health.status == 200


@pytest.fixture(scope="module")
def large_root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A data root whose one store has a feature that fires on every of many samples."""
    root = DataRoot(tmp_path_factory.mktemp("large"))
    dense = np.zeros((500_000, 1), dtype=np.float32)
    dense[:, 0] = np.random.default_rng(0).random(dense.shape[0]) + 0.5
    layout = root.run("large")
    layout.root.mkdir(parents=True)
    staged = layout.root / "staged"
    staged.mkdir()
    parquet, arrow = write_samples(sample_table(dense.shape[0]), staged)
    write_sparse_store(DenseSource(dense), staged / "activations.zarr", "raw")
    parts = {"activations.zarr": staged / "activations.zarr", "samples.parquet": parquet, "samples.arrow": arrow}
    publish(layout.store, parts, {"sae": "s"})
    return root


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, large_root: DataRoot) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("serving"), large_root, "large", *SHORT) as found:
        for form in (
            "json",
            "arrow",
            "csv",
        ):  # what is loaded and opened on first use is there before descriptors are counted
            found.ask(f"/activations/0?limit=10000&format={form}", "Connection: close")
        time.sleep(0.2)
        yield found


def test_answers_that_nobody_takes_are_bounded_in_bytes(
    tmp_path_factory: pytest.TempPathFactory, large_root: DataRoot
) -> None:
    room_for_one = ("--max-sending-bytes", str(2**24 + 2**20))
    with running(tmp_path_factory.mktemp("sending"), large_root, "large", *room_for_one) as server:
        with server.connect() as connection:
            connection.send(request("/activations/0"))
            connection.socket.recv(1, socket.MSG_PEEK)

            long, short = server.ask("/activations/0"), server.ask("/activations/0?limit=3")
        wait_until("there is room again", lambda: server.ask("/activations/0").status == 200)

    assert is_problem(long, 429, "of other responses are being sent")
    assert long.headers["retry-after"] == "1"
    assert short.status == 200


@pytest.mark.slow
@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_download_is_finished_before_the_server_stops(
    with_signal: signal.Signals, tmp_path_factory: pytest.TempPathFactory, large_root: DataRoot
) -> None:
    with running(tmp_path_factory.mktemp("stopping"), large_root, "large") as server:
        with server.connect() as connection:
            connection.send(request("/activations/0"))
            connection.socket.recv(1, socket.MSG_PEEK)

            server.process.send_signal(with_signal)
            wait_until("new connections are refused", lambda: not _accepts(server))
            answer = connection.answer()
        code = server.process.wait(30)

    assert len(json.loads(answer.body)["data"]) == 500_000
    assert code == 0
    assert TRACEBACK not in server.said()


@pytest.mark.slow
def test_a_client_that_never_reads_does_not_keep_the_server_from_stopping(
    tmp_path_factory: pytest.TempPathFactory, large_root: DataRoot
) -> None:
    with running(tmp_path_factory.mktemp("bounded"), large_root, "large", "--shutdown-seconds", "1") as server:
        with server.connect() as connection:
            connection.send(request("/activations/0"))
            connection.socket.recv(1, socket.MSG_PEEK)

            code = server.stop()

    assert code == 0


def _accepts(server: RunningServer) -> bool:
    try:
        server.connect().close()
    except ConnectionError:  # refused, or reset while the server closes its socket
        return False
    return True
