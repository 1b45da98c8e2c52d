"""The dashboard without a browser: the first answer is whole, answers are compressed and timed, and starting takes no torch."""

import re
import subprocess
import sys

from starlette.testclient import TestClient

from splat_dash.app import create_app
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

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
