"""The HTTP client: what a server says is what the local database says; fingerprints, retries, streams, and servers that fail."""

import io
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splat_assets.errors import InputError, SplatError
from splat_assets.store import open_store
from splat_assets.store.errors import (
    CorruptStoreError,
    FeatureNotFoundError,
    FingerprintMismatchError,
    LayoutError,
    NotPublishedError,
    SampleNotFoundError,
)
from splat_assets.store.guide.neuron_acts import write_neuron_acts
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import publish
from splat_serving.client import ActivationClient
from splat_serving.client.answers import record_batches
from splat_serving.client.failures import error_of_response
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.errors import (
    BusyError,
    LabelConflictError,
    NotAllowedError,
    NotComputedError,
    ParameterError,
    ServerError,
    TooLargeError,
    UnknownNameError,
)
from splat_serving.database.local import LocalDatabase
from splat_serving.database.protocol import Condition, Query
from splat_serving.database.sample_columns import COLUMNS
from splat_serving.database.selection import Selection
from splat_serving.http import problems
from splat_serving.http.app import create_app
from splat_serving.http.settings import ServerSettings, settings_from_environment
from splat_serving.labels.event import NewEvent
from splat_serving.labels.remote import RemoteEvents
from splat_serving.model.answers import Edit
from splat_serving.model.runner import RemoteRunner, TokenSet
from splat_serving.server import app_of
from tests.contracts.sources import DenseSource, sparse_random
from tests.serving.running import running
from tests.store.making import flip_byte, staged_parts

VERSION = "0123456789abcdef"
ABOUT = {
    "run": "small",
    "version": VERSION,
    "layout": "published store",
    "n_samples": 3,
    "n_features": 2,
    "n_activations": 4,
    "provenance": {"sae": "a" * 64},
    "computed": [],
    "software": "0",
}
Kind = Callable[..., Any]


@contextmanager
def serving(target: str | None, root: DataRoot, settings: ServerSettings | None = None) -> Iterator[str]:
    app = create_app(Catalogue(Target.of(target, root)), settings or settings_from_environment())
    with running(app) as url:
        yield url


@pytest.fixture(scope="module")
def url(finished_root: DataRoot) -> Iterator[str]:
    with serving(None, finished_root) as found:
        yield found


@pytest.fixture(scope="module")
def local(finished_root: DataRoot) -> LocalDatabase:
    return LocalDatabase.open(finished_root.run("small").root, name="small")


@pytest.fixture
def connect() -> Iterator[Kind]:
    """Makes clients, and closes them."""
    made: list[Any] = []

    def make(*args: Any, **options: Any) -> Any:
        made.append(ActivationClient(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def remote(connect: Kind, url: str) -> Any:
    return connect(url)


def test_a_finished_run_is_the_same_from_afar(remote: Any, local: LocalDatabase) -> None:
    assert remote.about() == local.about()
    assert remote.features().equals(local.features())
    assert remote.features().schema == local.features().schema
    for mine, theirs in ((remote.tokens(), local.tokens()), (remote.weapons(), local.weapons())):
        assert mine.equals(theirs)
        assert mine.schema == theirs.schema
    for i in (0, 17, 95):
        assert remote.feature(i) == local.feature(i)


def test_activations_have_the_same_types_and_values(remote: Any, local: LocalDatabase, feature_id: int) -> None:
    for selection in (
        None,
        Selection(order="activation", limit=7),
        Selection(sample_frac=0.3, seed=5),
        Selection(limit=0),
    ):
        for columns in (None, COLUMNS):
            mine, theirs = (one.activations(feature_id, selection, columns) for one in (remote, local))

            assert mine.table.schema.equals(theirs.table.schema, check_metadata=True)
            assert mine.table.equals(theirs.table)
            assert (mine.feature_id, mine.version) == (theirs.feature_id, theirs.version)
            assert (mine.n_active, mine.n_matching) == (theirs.n_active, theirs.n_matching)


def test_samples_sets_and_queries_are_the_same(remote: Any, local: LocalDatabase, feature_id: int) -> None:
    token = local.tokens().sort("doc_freq", descending=True, nulls_last=True)["token"][0]
    weapon = local.weapons()["name"][3]
    query = Query(any=(Condition(feature_id, min=0.1), Condition(3)), none=(Condition(4),), token=(token,))

    for sample_id in (0, 11, local.reader.n_samples - 1):
        mine, theirs = remote.sample(sample_id), local.sample(sample_id)
        assert (mine.columns, mine.version) == (theirs.columns, theirs.version)
        assert mine.features.feature_ids.dtype == theirs.features.feature_ids.dtype
        np.testing.assert_array_equal(mine.features.feature_ids, theirs.features.feature_ids)
        np.testing.assert_array_equal(mine.features.values, theirs.features.values)
    for ask in (
        lambda database: database.features_of_token(token),
        lambda database: database.features_of_weapon(weapon),
        lambda database: database.coactivation(feature_id),
        lambda database: database.query(query),
    ):
        mine, theirs = ask(remote), ask(local)
        assert theirs.table.num_rows > 0
        assert mine.table.schema.equals(theirs.table.schema, check_metadata=True)
        assert mine == theirs


def test_numbers_of_numpy_are_numbers(remote: Any, local: LocalDatabase) -> None:
    selection = Selection(limit=np.int64(3), min_activation=np.float32(0.1))  # type: ignore[arg-type]
    query = Query(all=(Condition(np.uint16(5), min=np.float32(0.1)),))  # type: ignore[arg-type]

    found = remote.activations(np.int64(5), selection)

    assert found.table.equals(local.activations(5, selection).table)
    assert remote.query(query).n_matching == local.query(query).n_matching
    assert type(found.feature_id) is int


ERRORS: list[Exception] = [
    FeatureNotFoundError(96, 96, "small"),
    FeatureNotFoundError(-1, 0, "/some/where: it holds"),
    SampleNotFoundError(7, 1, "small"),
    UnknownNameError("unknown token 'flying'"),
    NotComputedError("this folder does not record its vocabulary"),
    NotPublishedError("nothing is published yet"),
    CorruptStoreError("feature 3: the checksum does not hold"),
    FingerprintMismatchError("the SAE", "a" * 64, "b" * 64, "take the other one"),
    LayoutError("the metadata has 3 rows for 4 samples"),
    NotAllowedError("labels are read-only on this server"),
    LabelConflictError("based_on", "feature 5 is at revision 2 by now, not at 1"),
    ParameterError("limit", "must be 0 or more, not -1"),
    InputError("the input breaks a rule"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__}-{error}"[:40])
def test_an_error_that_was_sent_comes_back_as_what_it_was(error: Exception) -> None:
    sent = problems.of_error(error)

    response = httpx2.Response(sent.status_code, headers=dict(sent.headers), content=bytes(sent.body))
    found = error_of_response(response, "http://somewhere/")

    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


def test_every_error_that_the_server_sends_is_known_here() -> None:
    known = {type(error) for error in ERRORS}

    of_servers_alone = {problems.NotAcceptableError, TooLargeError, BusyError, SplatError}
    assert {kind for kind, _, _ in problems._STATUS} - known == of_servers_alone


def test_errors_of_a_real_server_are_those_of_the_store(connect: Kind, own_root: DataRoot, feature_id: int) -> None:
    store = open_store(own_root.run("small").root)
    data = next((store.folder / "activations.zarr" / "X" / "data" / "c").iterdir())
    data.chmod(0o644)
    flip_byte(data, 4 * int(store.reader.by_feature.indptr[feature_id]))
    with serving("small", own_root) as url:
        client = connect(url)

        with pytest.raises(CorruptStoreError, match=f"feature {feature_id}"):
            client.activations(feature_id)
        with pytest.raises(UnknownNameError, match="unknown run 'other'; served runs are: small"):
            connect(url, run="other").about()
        with pytest.raises(UnknownNameError, match=store.version):
            connect(url, version=VERSION).about()
        (store.folder.parent.parent / "CURRENT").unlink()
        with pytest.raises(NotPublishedError, match="published"):
            connect(url, retries=0).about()


def test_many_features_are_what_each_is_alone(remote: Any, local: LocalDatabase) -> None:
    asked = [9, 3, 9, 40]
    selection, columns = Selection(order="activation", limit=5, token=("2",)), ("activation", "abilities", "split")

    found = remote.activations_of_many(asked, selection, columns)

    assert list(found) == [9, 3, 40]
    for feature_id, mine in found.items():
        theirs = local.activations(feature_id, selection, columns)
        assert mine.table.equals(theirs.table)
        assert (mine.n_active, mine.n_matching, mine.version) == (theirs.n_active, theirs.n_matching, theirs.version)
    assert remote.activations_of_many([]) == {}
    for beyond in (96, 2**70):
        with pytest.raises(FeatureNotFoundError, match=f"feature {beyond} is not in small"):
            remote.activations_of_many([1, beyond])
        with pytest.raises(FeatureNotFoundError, match=f"feature {beyond} is not in small"):
            remote.query(Query(all=(Condition(beyond),)))


def test_more_features_and_rows_than_one_answer_holds_come_in_several(connect: Kind, tmp_path: Path) -> None:
    dense = sparse_random(4, 1_030, 0.9)
    publish(tmp_path / "store", staged_parts(tmp_path / "staged", dense), {})
    few_rows = settings_from_environment().model_copy(update={"max_rows": 500})
    with serving(str(tmp_path), DataRoot(tmp_path), few_rows) as url:
        found = connect(url).activations_of_many(range(1_030), columns=["activation"])
        with pytest.raises(ServerError, match="limited to 500 rows"):
            connect(url).coactivation(0)
    with serving(str(tmp_path), DataRoot(tmp_path)) as url:
        beside = connect(url).coactivation(0).table

    n_both = ((dense > 0) & (dense[:, :1] > 0)).sum(axis=0)[1:]
    assert beside.num_rows == np.count_nonzero(n_both) > 1_000
    assert list(found) == list(range(1_030))
    for feature_id, one in found.items():
        np.testing.assert_array_equal(one.values, dense[dense[:, feature_id] > 0, feature_id])


def test_a_query_with_more_rows_than_one_answer_holds_is_whole(connect: Kind, tmp_path: Path) -> None:
    dense = np.ones((1_000_003, 1), np.float32)
    dense[5] = 0
    write_neuron_acts(DenseSource(dense), tmp_path / "neuron_acts")
    with running(app_of(ServerSettings(neuron_acts_dir=tmp_path / "neuron_acts"))) as url:
        client = connect(url)

        whole = client.query(Query(all=(Condition(0),), offset=1))
        part = client.query(Query(all=(Condition(0),), limit=1_000_001))

    expected = np.flatnonzero(dense)
    assert (whole.n_matching, part.n_matching) == (1_000_002, 1_000_002)
    np.testing.assert_array_equal(whole.table["global_index"], expected[1:])
    np.testing.assert_array_equal(part.table["global_index"], expected[:1_000_001])


def test_fingerprints_that_are_expected_must_be_there(connect: Kind, url: str, local: LocalDatabase) -> None:
    about = local.about()
    sae = about.provenance["sae"]

    for right in (
        {"sae": sae, "base_model": about.provenance["base_model"]},
        about.version,
        {"version": about.version},
    ):
        assert connect(url, expect=right).activations(1).version == about.version
    for wrong in ({"sae": "f" * 64}, {"sae": sae, "colour": "f" * 64}):
        client = connect(url, expect=wrong)
        unknown = lambda one=client: one.activations(96)  # noqa: E731
        for ask in (unknown, client.about, client.tokens, lambda one=client: list(one.stream_activations(1))):
            with pytest.raises(FingerprintMismatchError, match="f" * 64) as caught:
                ask()
            assert caught.value.expected == "f" * 64
            assert caught.value.actual == (sae if wrong["sae"] != sae else "none")
    with pytest.raises(FingerprintMismatchError, match=about.version):
        connect(url, expect=VERSION).feature(1)


def test_fingerprints_are_compared_again_when_another_version_is_published(connect: Kind, own_root: DataRoot) -> None:
    run = own_root.run("small")
    before = open_store(run.root)
    sae = before.manifest.provenance["sae"]
    with serving("small", own_root) as url:
        strict, pinned, free = connect(url, expect={"sae": sae}), connect(url, version=before.version), connect(url)
        assert {one.about().n_samples for one in (strict, pinned, free)} == {before.n_samples}

        same = publish(run.store, staged_parts(run.root / "same", sparse_random(5, 3, 0.5)), {"sae": sae})
        after_same = strict.about()
        other = publish(run.store, staged_parts(run.root / "other", sparse_random(6, 4, 0.5)), {"sae": "b" * 64})

        with pytest.raises(FingerprintMismatchError, match=f"(?s){sae}.*{'b' * 64}"):
            strict.activations(0, columns=["activation"])
        with pytest.raises(FingerprintMismatchError, match="b" * 64):
            list(strict.stream_activations(0, columns=["activation"]))
        assert (after_same.version, after_same.n_samples) == (same, 5)
        assert (pinned.about().version, free.about().version) == (before.version, other)
        assert len(pinned.sample(0).columns["ability_input_tokens"]) > 0


def test_a_server_that_wants_a_token_gets_it(connect: Kind, finished_root: DataRoot, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("correct-horse-battery\n")
    secret.chmod(0o600)
    with serving(None, finished_root, ServerSettings(token_file=secret)) as url:
        assert connect(url, token="correct-horse-battery").about().name == "small"
        for token in (None, "wrong-horse"):
            with pytest.raises(ServerError, match="send the server's token") as caught:
                connect(url, token=token).about()
            assert caught.value.status == 401


def test_proxies_are_bypassed_for_a_server_on_this_machine(
    connect: Kind, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert connect(url).about().name == "small"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8765",
        "ftp://127.0.0.1",
        "",
        "http://",
        "http://127.0.0.1:99999999",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://a\n",
        "http://\udcff",
        "http://a..b",
        f"http://{'a' * 64}",
    ],
)
def test_what_is_no_url_is_refused_at_once(connect: Kind, url: str) -> None:
    with pytest.raises(InputError, match=r"is not (a|the) URL"):
        connect(url)


@pytest.mark.parametrize("token", ["", " ", "zwölf Zeichen", "two words", "line\nbreak", "pâté-de-16-lettres"])
def test_what_is_no_token_is_refused_at_once(connect: Kind, token: str, url: str) -> None:
    with pytest.raises(InputError, match="the token must be ASCII") as error:
        connect(url, token=token)
    assert not token.strip() or token not in str(error.value)


@pytest.mark.parametrize("name", ["", "line\nbreak", "\0", "\udcff"])
@pytest.mark.parametrize("what", ["run", "version"])
def test_a_name_that_nothing_can_have_is_refused_at_once(connect: Kind, what: str, name: str, url: str) -> None:
    with pytest.raises(InputError, match=f"cannot be the name of a {what}") as error:
        connect(url, **{what: name})
    assert str(error.value).isprintable()


def test_a_name_beyond_what_a_url_holds_is_an_error_of_ours(remote: Any) -> None:
    for n_characters in (20_000, 100_000):
        with pytest.raises(ServerError):
            remote.features_of_token("x" * n_characters)
    with pytest.raises(UnknownNameError, match="unknown token|does not exist|there is no token"):
        remote.features_of_token("\udcff")


_QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "activations": lambda db: db.activations(3.7),
    "feature": lambda db: db.feature(3.7),
    "sample": lambda db: db.sample(3.7),
    "coactivation": lambda db: db.coactivation("3"),
    "query": lambda db: db.query(Query(all=(Condition(3.7),))),  # type: ignore[arg-type]
    "limit": lambda db: db.activations(3, Selection(limit=3.7)),  # type: ignore[arg-type]
    "offset": lambda db: db.activations(3, Selection(offset="1")),  # type: ignore[arg-type]
    "seed": lambda db: db.activations(3, Selection(seed=None)),  # type: ignore[arg-type]
    "least": lambda db: db.activations(3, Selection(min_activation="much")),  # type: ignore[arg-type]
    "share": lambda db: db.activations(3, Selection(sample_frac=np.nan)),
    "one weapon": lambda db: db.activations(3, Selection(weapon="12")),  # type: ignore[arg-type]
    "ids of weapons": lambda db: db.activations(3, Selection(weapon=(12,))),  # type: ignore[arg-type]
    "one token": lambda db: db.query(Query(all=(Condition(3),), token="12")),  # type: ignore[arg-type]
    "rows": lambda db: db.query(Query(all=(Condition(3),), limit=1.5)),  # type: ignore[arg-type]
    "more rows than there can be": lambda db: db.activations(3, Selection(limit=2**53 + 1)),
    "to leave out too many": lambda db: db.query(Query(all=(Condition(3),), offset=2**70)),
    "a seed beyond 64 bits": lambda db: db.activations(3, Selection(seed=2**63, sample_frac=0.5)),
    "endless": lambda db: db.query(Query(all=(Condition(3, min=10**400),))),
    "no weapons": lambda db: db.query(Query(weapon=None)),  # type: ignore[arg-type]
    "no text that can be sent": lambda db: db.activations(3, Selection(token=("\udcff",))),
}


@pytest.mark.parametrize("what", _QUESTIONS)
def test_what_is_not_what_it_must_be_is_refused_here_as_there(what: str, remote: Any, local: LocalDatabase) -> None:
    said = []
    for database in (local, remote):
        with pytest.raises(InputError) as error:
            _QUESTIONS[what](database)
        said.append((type(error.value), str(error.value)))

    assert said[0] == said[1]


def test_more_names_than_a_url_holds_are_sent_in_a_body(remote: Any, local: LocalDatabase, feature_id: int) -> None:
    weapons = local.weapons()["key"].to_list()
    by_key = Selection(weapon=tuple(weapons[at % len(weapons)] for at in range(200)), order="activation", limit=50)
    by_id = Selection(weapon=tuple(f"{at:0>9}" for at in range(20)) * 10, sample_frac=0.5, seed=3)

    for selection in (by_key, by_id):
        theirs, mine = local.activations(feature_id, selection), remote.activations(feature_id, selection)
        assert mine.table.equals(theirs.table)
        assert (mine.n_active, mine.n_matching) == (theirs.n_active, theirs.n_matching)


# Servers that fail. They answer as they are told, over a real socket.


class Scripted:
    """A server that gives the answers of a script, one after the other; requests: method and path of each."""

    def __init__(self, *script: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.requests: list[str] = []
        left = list(script)
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                requests.append(f"{self.command} {self.path}")
                left.pop(0)(self)

            do_GET = do_POST = _answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Scripted":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def says(status: int, body: Any, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"X-Store-Version": VERSION, "Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def refuses(status: int, code: str, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    body = {"title": "a title", "code": code, "status": status, "detail": f"because {code}"}
    return says(status, body, Content_Type="application/problem+json", **headers)


BUSY = refuses(429, "busy", Retry_After="0")
CLOSED = refuses(503, "not_published", Retry_After="0")
GOOD = says(200, ABOUT)


def test_transient_failures_are_retried(connect: Kind) -> None:
    with Scripted(BUSY, CLOSED, GOOD, hangs_up, GOOD) as server:
        client = connect(server.url)

        assert client.about().version == client.about().version == VERSION

    assert server.requests == ["GET /version"] * 5


def test_asking_again_ends(connect: Kind) -> None:
    with Scripted(BUSY, BUSY, BUSY, CLOSED, hangs_up) as server:
        with pytest.raises(ServerError, match="answered 429: because busy") as caught:
            connect(server.url).about()
        with pytest.raises(NotPublishedError, match="because"):
            connect(server.url, retries=0).about()
        with pytest.raises(ServerError, match=f"the connection to the activation server at {server.url} broke"):
            connect(server.url, retries=0).about()

    assert caught.value.status == 429
    assert len(server.requests) == 5


def test_post_requests_are_retried_too(connect: Kind) -> None:
    table = pa.table({"global_index": [3], "feature_0": [0.5]}).replace_schema_metadata(
        {"splat.version": VERSION, "splat.n_matching": "1", "splat.n_rows": "1"}
    )
    with Scripted(hangs_up, BUSY, says(200, stream_of(table.schema, table.to_batches()))) as server:
        found = connect(server.url).query(Query(all=(Condition(0),)))

    assert found.table.to_pylist() == [{"global_index": 3, "feature_0": 0.5}]
    assert server.requests == ["POST /query"] * 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refuses(500, "fault"), ServerError),
        (refuses(500, "corrupt_store"), CorruptStoreError),
        (refuses(404, "unknown_name"), UnknownNameError),
        (refuses(413, "too_large"), ServerError),
        (refuses(429, "busy", Retry_After="3600"), ServerError),
        (says(502, b"<html>Bad gateway</html>", Content_Type="text/html"), ServerError),
        (says(307, b"", Location="http://127.0.0.1:1/version"), ServerError),
    ],
    ids=["fault", "damaged", "no name", "too_large", "asked to come back late", "gateway", "elsewhere"],
)
def test_permanent_failures_are_not_retried(
    answer: Callable[[BaseHTTPRequestHandler], None], error: type[Exception], connect: Kind
) -> None:
    with Scripted(answer) as server, pytest.raises(error):
        connect(server.url).about()

    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_one_sentence(connect: Kind) -> None:
    with Scripted() as server:
        url = server.url

    with pytest.raises(ServerError) as caught:
        connect(url, retries=1).features()

    assert str(caught.value).startswith(f"no activation server answers at {url} (")
    assert "start one with `splat serve`" in str(caught.value)
    assert caught.value.status is None


def test_a_timeout_is_not_retried(connect: Kind) -> None:
    until = threading.Event()
    with Scripted(lambda _: until.wait() and None) as server:
        with pytest.raises(ServerError, match="did not answer in time"):
            connect(server.url, timeout=0.2).about()
        until.set()

    assert len(server.requests) == 1


def test_another_kind_of_server_is_recognised(connect: Kind) -> None:
    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"<a/>")

    cut = stream_of(batches_of(1)[0].schema, batches_of(1))[:-200]
    with Scripted(page, page, says(200, b"<a/>"), says(200, cut)) as server:
        client = connect(server.url)
        with pytest.raises(ServerError, match="is not an activation server"):
            client.about()
        with pytest.raises(ServerError, match="is not an Arrow stream"):
            list(client.stream_activations(1))
        for _ in range(2):
            with pytest.raises(ServerError, match="is not an Arrow stream"):
                client.activations(1)


def test_an_answer_with_rows_missing_is_an_error(connect: Kind) -> None:
    facts = {"splat.version": VERSION, "splat.n_active": "9", "splat.n_matching": "9", "splat.n_rows": "9"}
    table = pa.table({"activation": np.ones(4, np.float32)}).replace_schema_metadata(facts)
    with Scripted(*[says(200, stream_of(table.schema, table.to_batches()))] * 2) as server:
        client = connect(server.url)
        with pytest.raises(ServerError, match="4 rows instead of 9"):
            client.activations(1)
        with pytest.raises(ServerError, match="4 rows instead of 9"):
            list(client.stream_activations(1))


# Streams.

END = b"\xff\xff\xff\xff\0\0\0\0"


def stream_of(schema: pa.Schema, batches: list[pa.RecordBatch]) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def batches_of(n_batches: int, n_rows: int = 3) -> list[pa.RecordBatch]:
    """With lists, and with dictionaries that change from batch to batch."""
    names = pa.array(["a", "b", "c"])
    return [
        pa.RecordBatch.from_arrays(
            [
                pa.array(np.arange(n_rows, dtype=np.float32) + at),
                pa.array([list(range(row)) for row in range(n_rows)], pa.list_(pa.int32())),
                pa.DictionaryArray.from_arrays(
                    np.zeros(n_rows, np.int32), names.slice(0, 2) if at % 2 else names.slice(1, 2)
                ),
            ],
            names=["activation", "ability_input_tokens", "split"],
        )
        for at in range(n_batches)
    ]


def _table_with(facts: dict[str, Any], **columns: Any) -> bytes:
    table = pa.table({"activation": np.ones(4, np.float32), **columns})
    stated = {f"splat.{name}": value for name, value in {"n_rows": "4", **facts}.items()}
    return stream_of(table.replace_schema_metadata(stated).schema, table.replace_schema_metadata(stated).to_batches())


_BUILDS = [TokenSet(1, (2,))]
_EFFECTS = {"size": [1], "mean_abs": [[1]], "kl": [[1]], "own": [[1, 2]], "kinds": ["feature"], "ids": [1]}
_TRACE = {
    "features": [1],
    "activations": [1],
    "token_positions": None,
    "contributions": [[1, 2]],
    "bias": [1, 2],
    "rest": [1, 2],
    "logits": [1, 2],
    "exact": True,
}
_OF_ONE = {"version": "v", "n_active": "4", "n_matching": "4"}


def _feature_with(**changes: Any) -> bytes:
    nothing = dict.fromkeys(("influences", "neighbours", "examples", "suggestion"))
    return json.dumps(
        {"feature_id": 1, "version": "v", "statistics": {}, "histogram": {}, **nothing, **changes}
    ).encode()


def _effects(db: Any) -> Any:
    return RemoteRunner(db.live, False).effects(_BUILDS, Edit(1, "ablate"), n_random=0)


def _trace(db: Any) -> Any:
    return RemoteRunner(db.live, False).trace(_BUILDS[0])


def _live_activations(db: Any) -> Any:
    return RemoteRunner(db.live, False).activations(_BUILDS, [1])


def _probabilities(db: Any, n_builds: int = 1) -> Any:
    return RemoteRunner(db.live, False).probabilities(_BUILDS * n_builds)


def _events(db: Any) -> Any:
    return RemoteEvents(db.label_events).events()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


_NEW = NewEvent(kind="skip", feature_id=1, author="ann")


def _about_with(**changes: Any) -> bytes:
    counts = {"n_samples": 4, "n_features": 2, "n_activations": 8}
    names = {"run": "demo", "version": "v", "layout": "store", "provenance": {}, "computed": []}
    return _json({**counts, **names, **changes})


def _sample_with(**changes: Any) -> bytes:
    features = {"feature_id": [1], "activation": [0.5]}
    return _json({"sample_id": 1, "version": "v", "n_active": 1, "features": features, **changes})


def _many_with(**changes: Any) -> bytes:
    one = {"feature_id": 1, "n_rows": 4, "n_active": 4, "n_matching": 4, **changes}
    return _table_with({"version": "v", "features": json.dumps([one])}, feature_id=np.ones(4, np.uint32))


_STRANGE: dict[str, tuple[Callable[[Any], Any], bytes]] = {
    "about: no JSON": (lambda db: db.about(), b"{"),
    "about: a list": (lambda db: db.about(), b"[]"),
    "about: members missing": (lambda db: db.about(), b'{"run": 1}'),
    "feature: another one": (lambda db: db.feature(1), _feature_with(feature_id=7)),
    "feature: null": (lambda db: db.feature(1), b"null"),
    "feature: members missing": (lambda db: db.feature(1), b'{"feature_id": 1}'),
    "sample: features missing": (lambda db: db.sample(1), b'{"sample_id":1,"version":"a","n_active":0,"features":3}'),
    "sample: texts": (
        lambda db: db.sample(1),
        b'{"sample_id":1,"version":"a","n_active":1,"features":{"feature_id":["x"],"activation":[1]}}',
    ),
    "live: a number": (lambda db: db.live("trace", {}), b"3"),
    "labels: no text": (lambda db: db.label_events(), b"\xff"),
    "labels: no list": (_events, b'{"events": 3}'),
    "labels: another kind": (_events, b'{"events": [{"kind": "dance"}]}'),
    "labels: nothing was added": (lambda db: RemoteEvents(db.label_events).append(_NEW), b"{}"),
    "about: a count that is a text": (lambda db: db.about(), _about_with(n_features="many")),
    "about: a negative count": (lambda db: db.about(), _about_with(n_samples=-1)),
    "about: a version that is a number": (lambda db: db.about(), _about_with(version=3)),
    "about: fingerprints that are none": (lambda db: db.about(), _about_with(provenance=3)),
    "sample: another one": (lambda db: db.sample(1), _sample_with(sample_id=2)),
    "sample: fewer activations": (
        lambda db: db.sample(1),
        _sample_with(features={"feature_id": [1], "activation": []}),
    ),
    "sample: another count": (lambda db: db.sample(1), _sample_with(n_active=7)),
    "many: more rows than there are": (lambda db: db.activations_of_many([1]), _many_with(n_rows=9)),
    "many: fewer rows than there are": (lambda db: db.activations_of_many([1]), _many_with(n_rows=3)),
    "many: a count that is none": (lambda db: db.activations_of_many([1]), _many_with(n_active=None)),
    "effects: other builds": (_effects, _json({**_EFFECTS, "size": [1, 2]})),
    "effects: other directions": (_effects, _json({**_EFFECTS, "kl": [[1], [1]]})),
    "effects: too few kinds": (_effects, _json({**_EFFECTS, "kinds": []})),
    "effects: rows of unequal length": (_effects, _json({**_EFFECTS, "own": [[1, 2], [1]]})),
    "effects: texts": (_effects, _json({**_EFFECTS, "size": ["x"]})),
    "effects: a member missing": (_effects, _json({"size": [1]})),
    "trace: fewer activations": (_trace, _json({**_TRACE, "activations": []})),
    "trace: other positions": (_trace, _json({**_TRACE, "token_positions": [1, 2]})),
    "trace: other tokens": (_trace, _json({**_TRACE, "bias": [1, 2, 3]})),
    "trace: other contributions": (_trace, _json({**_TRACE, "contributions": [[1, 2], [1, 2]]})),
    "live activations: other builds": (_live_activations, b'{"activations": [[1], [2]]}'),
    "live activations: other features": (_live_activations, b'{"activations": [[1, 2]]}'),
    "live activations: none": (_live_activations, b'{"activations": null}'),
    "probabilities: other builds": (_probabilities, b'{"probabilities": [[1, 2], [1, 2]]}'),
    "probabilities: unequal lengths": (lambda db: _probabilities(db, 2), b'{"probabilities": [[1, 2], [1]]}'),
    "activations: no version": (lambda db: db.activations(1), _table_with({"n_active": "4", "n_matching": "4"})),
    "activations: no number": (lambda db: db.activations(1), _table_with({"n_active": "x", "n_matching": "4"})),
    "activations: no text": (lambda db: db.activations(1), _table_with({"version": b"\xff", "n_active": b"\xfe"})),
    "many: no column": (lambda db: db.activations_of_many([1]), _table_with({"version": "v", "features": "[]"})),
    "many: others": (
        lambda db: db.activations_of_many([1]),
        _table_with({"version": "v", "features": "[]"}, feature_id=np.zeros(4, np.uint32)),
    ),
    "activations: a column missing": (lambda db: db.activations(1), _table_with(_OF_ONE)),
    "samples: a column missing": (lambda db: db.samples(["split"]), _table_with({})),
    "features: a column missing": (lambda db: db.features(), _table_with({})),
    "suggestions: a column missing": (lambda db: db.suggestions(), _table_with({})),
    "feature map: a column missing": (lambda db: db.feature_map(), _table_with({})),
    "tokens: a column missing": (lambda db: db.tokens(), _table_with({})),
    "a name: a column missing": (lambda db: db.features_of_token("a/b"), _table_with({})),
    "weapons: a column missing": (lambda db: db.weapons(), _table_with({})),
    "query: a column missing": (
        lambda db: db.query(Query(all=(Condition(5),))),
        _table_with({"version": "v", "n_matching": "4"}, global_index=np.arange(4)),
    ),
    "coactivation: a column missing": (
        lambda db: db.coactivation(1),
        _table_with({"version": "v", "of": "feature 1", "n_set": "4", "n_samples": "4"}),
    ),
    "query: no count": (lambda db: db.query(Query()), _table_with({"version": "v"})),
    "coactivation: no set": (lambda db: db.coactivation(1), _table_with({"version": "v"})),
}


@pytest.mark.parametrize("what", _STRANGE)
def test_an_answer_of_another_shape_is_one_sentence(what: str, connect: Kind) -> None:
    ask, body = _STRANGE[what]
    with Scripted(says(200, body)) as server, pytest.raises(ServerError) as error:
        ask(connect(server.url))

    assert f"{server.url}/" in str(error.value)
    assert "is not one of an activation server of this release" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_changed_above_is_taken_unchanged(connect: Kind) -> None:
    bodies = (_about_with(), _sample_with(), _about_with(), _many_with(), b'{"activations": [[1]]}')
    with Scripted(*[says(200, body) for body in bodies]) as server:
        client = connect(server.url)
        about, sample, many = client.about(), client.sample(1), client.activations_of_many([1])
        live = _live_activations(client)

    assert (about.n_features, sample.features.values.tolist(), live.tolist()) == (2, [0.5], [[1.0]])
    assert (many[1].n_active, many[1].table.num_rows) == (4, 4)


def test_a_stream_that_does_not_say_what_it_is_of_is_an_error(connect: Kind) -> None:
    with Scripted(says(200, _table_with({"version": "v"}))) as server:
        with pytest.raises(ServerError, match="its head does not say n_active, n_matching"):
            list(connect(server.url).stream_activations(1))


def test_what_the_model_says_in_the_right_shape_is_taken(connect: Kind) -> None:
    none = {**_TRACE, "features": [], "activations": [], "contributions": []}
    with Scripted(*[says(200, body) for body in (_EFFECTS, _TRACE, none)]) as server:
        client = connect(server.url)
        effects, trace, silent = _effects(client), _trace(client), _trace(client)

    assert (effects.kl.shape, effects.own.shape, effects.kinds, effects.ids) == ((1, 1), (1, 2), ("feature",), (1,))
    assert (trace.contributions.shape, silent.contributions.shape) == ((1, 2), (0, 2))


def test_a_mistake_in_reading_is_not_taken_for_one_of_the_question(connect: Kind) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        connect("http://127.0.0.1:1").activations_of_many(3)
    with pytest.raises(TypeError, match="JSON"):
        connect("http://127.0.0.1:1").live("trace", {"build": object()})


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b""])
def test_a_problem_that_says_nothing_is_still_an_error_of_ours(body: bytes, connect: Kind) -> None:
    with Scripted(says(500, body, Content_Type="application/problem+json")) as server:
        with pytest.raises(ServerError, match="answered 500: no explanation"):
            connect(server.url).about()


def test_a_problem_with_an_id_beyond_all_measure_is_still_an_error_of_ours(connect: Kind) -> None:
    problem = {
        "code": "feature_not_found",
        "detail": f"feature {'9' * 5_000} is not in small: it holds features 0 to 95",
        "values": {"feature_id": "9" * 5_000, "n_features": 96, "where": "small"},
    }
    with Scripted(says(404, problem, Content_Type="application/problem+json")) as server:
        with pytest.raises(ServerError, match="answered 404: feature 999"):
            connect(server.url).feature(1)


def message_of(body_bytes: int) -> bytes:
    """A message of a record batch that says how many bytes its body has: fields 1 and 3 of a FlatBuffers table."""
    vtable = struct.pack("<HHHHHH", 12, 20, 0, 4, 0, 8)
    table = struct.pack("<iIq", 12, 3, body_bytes)
    metadata = struct.pack("<I", 4 + len(vtable)) + vtable + table
    return struct.pack("<Ii", 0xFFFFFFFF, len(metadata)) + metadata


FACTS = {"splat.version": VERSION, "splat.n_active": "6", "splat.n_matching": "6"}


def stream_with(batches: list[pa.RecordBatch], n_rows: int) -> bytes:
    schema = batches_of(1)[0].schema.with_metadata({**FACTS, "splat.n_rows": str(n_rows)})
    return stream_of(schema, [batch.replace_schema_metadata(schema.metadata) for batch in batches])


@given(n_batches=st.integers(0, 4), n_rows=st.integers(0, 5), cuts=st.lists(st.integers(0, 5_000), max_size=40))
@settings(max_examples=60, deadline=None)
def test_however_a_stream_is_cut_its_batches_are_the_same(n_batches: int, n_rows: int, cuts: list[int]) -> None:
    batches = batches_of(n_batches, n_rows)
    content = stream_with(batches, n_batches * n_rows)
    bounds = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]

    read = list(record_batches(content[lo:hi] for lo, hi in zip(bounds, bounds[1:], strict=False)))

    assert [batch.to_pylist() for batch in read] == [batch.to_pylist() for batch in batches]


@pytest.mark.parametrize("n_bytes_missing", [1, 8, 9, 400])
def test_a_stream_that_breaks_off_is_an_error(n_bytes_missing: int) -> None:
    content = stream_with(batches_of(2), 6)[:-n_bytes_missing]
    read = []

    with pytest.raises((pa.ArrowInvalid, OSError)):
        for batch in record_batches(iter([content])):
            read.append(batch)
    assert len(read) == (2 if n_bytes_missing <= 8 else 1)


def test_a_stream_of_fewer_rows_than_its_head_says_is_an_error() -> None:
    with pytest.raises(pa.ArrowInvalid, match="6 rows instead of 7"):
        list(record_batches(iter([stream_with(batches_of(2), 7)])))


@pytest.mark.parametrize(
    "content",
    [
        b"<!doctype html>",
        b"\xff" * 40,
        b"ARROW1\0\0" * 4,
        b"\xff\xff\xff\xff\x08\0\0\0" * 9,
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        message_of(body_bytes=-1),
        message_of(body_bytes=-(2**40)),
        message_of(body_bytes=2**62),
        END,
    ],
)
def test_bytes_that_are_no_stream_are_refused(content: bytes) -> None:
    with pytest.raises((pa.ArrowInvalid, OSError)):
        list(record_batches(iter([content])))


def test_what_comes_after_the_end_is_not_read() -> None:
    pieces = iter([stream_with(batches_of(1), 3), *[b"x" * 1_000] * 100])

    assert len(list(record_batches(pieces))) == 1
    assert len(list(pieces)) == 100


def test_a_streamed_feature_is_the_feature(remote: Any, local: LocalDatabase, feature_id: int) -> None:
    selection = Selection(order="activation", limit=20)

    batches = list(remote.stream_activations(feature_id, selection, COLUMNS))

    expected = local.activations(feature_id, selection, COLUMNS)
    table = pa.Table.from_batches(batches)
    assert table.replace_schema_metadata(None).equals(expected.table)
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert facts["splat.version"] == expected.version
    assert facts["splat.n_active"] == str(expected.n_active)
    with pytest.raises(FeatureNotFoundError, match="feature 96"):
        list(remote.stream_activations(96))


class HalfAStream:
    """Sends the schema and the first batch, and the rest when `go_on` is set (or nothing more, when `break_off` is)."""

    def __init__(self) -> None:
        self.go_on, self.break_off = threading.Event(), False
        facts = {"splat.version": VERSION, "splat.n_active": "6", "splat.n_matching": "6", "splat.n_rows": "6"}
        batches = [batch.replace_schema_metadata(facts) for batch in batches_of(2)]
        self._whole = stream_of(batches[0].schema, batches)
        self._half = len(self._whole) - 100

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("X-Store-Version", VERSION)
        handler.send_header("Content-Length", str(len(self._whole)))
        handler.end_headers()
        handler.wfile.write(self._whole[: self._half])
        handler.wfile.flush()
        self.go_on.wait()
        if self.break_off:
            handler.close_connection = True
        else:
            handler.wfile.write(self._whole[self._half :])


def test_batches_come_before_the_stream_has_ended() -> None:
    half = HalfAStream()
    with Scripted(half, GOOD) as server, ActivationClient(server.url) as client:
        stream = client.stream_activations(1)

        first = next(stream)
        beside = client.about()
        half.go_on.set()
        rest = list(stream)

    assert first["activation"].to_pylist() == [0, 1, 2]
    assert beside.version == VERSION
    assert [batch["activation"].to_pylist() for batch in rest] == [[1, 2, 3]]


def test_a_stream_that_breaks_off_raises_after_what_came_whole() -> None:
    half = HalfAStream()
    half.break_off = True
    with Scripted(half) as server, ActivationClient(server.url) as client:
        stream = client.stream_activations(1)
        first = next(stream)
        half.go_on.set()

        with pytest.raises(ServerError, match="breaks off"):
            next(stream)

    assert first.num_rows == 3
    assert len(server.requests) == 1


def test_a_stream_that_is_left_early_leaves_the_client_usable(url: str, feature_id: int) -> None:
    with ActivationClient(url) as client:
        stream = client.stream_activations(feature_id)
        next(stream)
        stream.close()  # type: ignore[attr-defined]

        assert client.about().n_features == 96


def test_tables_of_the_client_are_polars_frames(url: str) -> None:
    with ActivationClient(url) as client:
        assert isinstance(client.activations(1).to_polars(), pl.DataFrame)


def test_importing_the_clients_imports_no_server() -> None:
    code = "import sys, json, splat_serving.client; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    modules = {name.split(".")[0] for name in json.loads(found.stdout)}
    assert not modules & {"fastapi", "starlette", "uvicorn", "torch", "dagster", "zarr", "numba", "pydantic"}
