"""The OpenAPI document is what the server does: requests made from it, right and wrong ones, are answered as it says."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from splat_assets.store.layout import DataRoot
from splat_assets.store.published.version import Store
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app
from tests.serving.sockets import RunningServer, running

DOCUMENT: dict[str, Any] = create_app(Catalogue(Target(None, DataRoot(Path("nowhere"))))).api.openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
OF_THE_SERVER = ("/health", "/ready", "/runs", "/metrics")
PREFIXES = ("", "/v/{version}", "/runs/small", "/runs/small/v/{version}", "/runs/nobody")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
N_EXAMPLES = 40
THERE = {"feature_id": 1, "sample_id": 1, "token": "3", "weapon": "3"}
NAMES_THINGS = ("weapon", "token", "sort", "filter", "columns", "sample_frac")
"""Parameters whose values the document cannot list: any text is well-formed, and few mean something."""
MODES = list(schemathesis.GenerationMode)


def _has_input(label: str) -> bool:
    return any(OPERATIONS[label].iter_parameters()) or bool(OPERATIONS[label].body)


QUESTIONS = [
    pytest.param(label, prefix, mode, id=f"{label} {prefix or '(plain)'} {mode.value}")
    for label in OPERATIONS
    for prefix in (PREFIXES if OPERATIONS[label].path not in OF_THE_SERVER else ("",))
    for mode in (MODES if _has_input(label) else [schemathesis.GenerationMode.POSITIVE])
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, finished_root: DataRoot) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("documented"), finished_root) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(("label", "prefix", "mode"), QUESTIONS)
def test_every_answer_is_documented(
    label: str, prefix: str, mode: schemathesis.GenerationMode, server: RunningServer, store: Store
) -> None:
    operation = OPERATIONS[label]
    positive = mode is schemathesis.GenerationMode.POSITIVE
    statuses = set()
    base_url = server.url + prefix.format(version=store.version)

    @settings(
        max_examples=N_EXAMPLES if not prefix else N_EXAMPLES // 4,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode),
        of_something_there=st.booleans() if positive else st.just(False),
    )
    def ask(case: schemathesis.Case, of_something_there: bool) -> None:
        if of_something_there:
            case.path_parameters = {name: THERE[name] for name in case.path_parameters or {}}
            case.query = {name: value for name, value in (case.query or {}).items() if name not in NAMES_THINGS}
        answer = case.call(base_url=base_url)
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()

    assert "Traceback" not in server.said()
    if positive and operation.method.upper() == "GET" and "nobody" not in prefix:
        assert 200 in statuses


def _operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, found) for path, methods in DOCUMENT["paths"].items() for method, found in methods.items()]


def test_every_operation_says_what_it_is_for() -> None:
    ids = [found["operationId"] for _, _, found in _operations()]

    assert len(set(ids)) == len(ids) >= 20
    for _, path, found in _operations():
        assert found["summary"] and found["description"], path
        assert found["tags"], path
        for parameter in found.get("parameters", []):
            assert parameter.get("description"), (path, parameter["name"])


def test_every_body_has_an_example_that_is_answered(client: TestClient) -> None:
    bodies = 0
    for method, path, found in _operations():
        if method != "post" or path.startswith("/live"):
            continue
        schema = found["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for example in DOCUMENT["components"]["schemas"][schema]["examples"]:
            bodies += 1
            written = path == "/label-events"  # the server of the tests takes no labels
            assert client.post(path, json=example).status_code == (403 if written else 200), path

    assert bodies >= 2


def test_only_the_plain_paths_are_listed_and_the_document_says_so() -> None:
    assert not [path for _, path, _ in _operations() if path.startswith(("/v/", "/runs/"))]
    assert "/runs/{run}/v/{version}" in DOCUMENT["info"]["description"]


class _Page(HTMLParser):
    """Tags, identifiers and what a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.ids.add(given.get("id") or "")
        self.links.add(given.get("href") or "" if tag == "a" else "")
        self.loaded |= {value or "" for name, value in attrs if name in ("src", "srcset", "action", "data")}


def test_docs_is_one_plain_page_of_every_path_that_loads_nothing(client: TestClient) -> None:
    answer = client.get("/docs")
    page = _Page(answer.text)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert not page.loaded
    assert not page.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= page.ids
    for method, path, found in _operations():
        assert f"{method.upper()} {path}" in answer.text
        assert found["operationId"] in page.ids
        for parameter in found.get("parameters", []):
            assert f"<code>{parameter['name']}</code>" in answer.text


def test_the_other_pages_of_the_framework_are_gone(client: TestClient) -> None:
    assert client.get("/redoc").status_code == 404
    assert client.get("/openapi.json").json() == client.app.api.openapi()  # type: ignore[attr-defined]
