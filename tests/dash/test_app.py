"""The dashboard without a browser: the first answer is whole, answers are compressed and timed, and starting takes no torch."""

import re
import shutil
import subprocess
import sys

from starlette.testclient import TestClient

from splat_assets.store.layout import DataRoot
from splat_dash.app import create_app, news
from splat_dash.source import Source
from splat_serving.app import create_app as create_server
from splat_serving.catalogue import Catalogue, Target
from splat_serving.investigations.opening import open_subject
from splat_serving.settings import settings_from_environment
from tests.serving.running import running


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


def test_the_page_says_when_another_version_is_published(own_root: DataRoot) -> None:
    with open_subject("small", root=own_root) as subject:
        source = Source(subject)
        assert news(source) is None
        store = own_root.run("small").store
        other = "0123456789abcdef"
        text = (store / "CURRENT").read_text()
        shutil.copytree(store / "versions" / source.about.version, store / "versions" / other)
        (store / "CURRENT").write_text(text.replace(source.about.version, other))
        assert f"Version {other} was published meanwhile" in str(news(source))
        (store / "CURRENT").unlink()
        assert "does not answer" in str(news(source))


def test_the_page_says_when_the_server_behind_it_goes_away(finished_root: DataRoot) -> None:
    app = create_server(Catalogue(Target.of(None, finished_root)), settings_from_environment())
    with running(app) as url:
        subject = open_subject(url)
        assert news(Source(subject)) is None
    assert "does not answer: no activation server answers" in str(news(Source(subject)))
    subject.close()
