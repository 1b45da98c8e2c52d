"""A version that is published meanwhile: a page that is loaded shows it, an open one gets a notice, and nothing typed is lost."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from splat_assets.store.layout import DataRoot
from splat_assets.store.manifest import Manifest
from splat_dash import frame
from splat_dash.app import create_app
from splat_dash.frame import version_notice
from splat_dash.shown import CurrentSource, VersionStatus
from splat_dash.source import Source
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app as create_server
from splat_serving.http.settings import settings_from_environment
from splat_serving.investigations.opening import open_subject
from tests.dash.conftest import Watched
from tests.serving.running import running


def publish_another(root: DataRoot, **facts: str) -> str:
    """Publish what is current once more, made from something else; its id."""
    store = root.run("small").store
    folder = store / "versions" / (store / "CURRENT").read_text().strip()
    manifest = Manifest.load(folder)
    other = replace(manifest, provenance={**manifest.provenance, "run": "of another day", **facts})
    shutil.copytree(folder, folder.with_name(other.version))
    other.save(folder.with_name(other.version))
    (store / "CURRENT").write_text(f"{other.version}\n")
    return other.version


@pytest.fixture
def own_source(own_root: DataRoot) -> Iterator[Source]:
    with open_subject("small", root=own_root) as subject:
        yield Source(subject)


def test_a_new_version_is_followed(own_root: DataRoot, own_source: Source) -> None:
    shown = CurrentSource(own_source)
    assert shown.follow() == VersionStatus(own_source.about.version)
    assert shown.source is own_source

    other = publish_another(own_root)

    assert shown.follow() == VersionStatus(other)
    assert shown.source.about.version == other
    assert shown.source.feature(0).statistics["n_active"] == own_source.feature(0).statistics["n_active"]
    assert shown.follow() == VersionStatus(other)


def test_a_source_that_goes_away_is_reported_and_the_page_stays(own_root: DataRoot, own_source: Source) -> None:
    shown = CurrentSource(own_source)
    (own_root.run("small").store / "CURRENT").unlink()

    result = shown.follow()

    assert result.version == own_source.about.version and result.trouble
    assert shown.source is own_source
    assert "does not answer" in str(version_notice(result, result.version))


def test_a_server_that_follows_is_followed(own_root: DataRoot) -> None:
    server = create_server(Catalogue(Target.of(None, own_root)), settings_from_environment())
    with running(server) as url, open_subject(url) as subject:
        shown = CurrentSource(Source(subject))
        other = publish_another(own_root)
        assert shown.follow() == VersionStatus(other)
        assert shown.source.about.version == other
    assert "no activation server answers" in shown.follow().trouble
    shown.source.subject.close()


def test_who_loads_a_page_gets_the_newest_version(own_root: DataRoot, own_source: Source) -> None:
    client = TestClient(create_app(own_source).server, base_url="http://127.0.0.1")
    before = client.get("/_dash-layout").text
    other = publish_another(own_root)

    after = client.get("/_dash-layout").text

    assert f"version {own_source.about.version}" in before and other not in before
    assert f"version {other}" in after
    assert client.get("/api/features/0.json").json()["version"] == other


def test_an_open_page_gets_a_notice_and_keeps_what_is_typed(
    browser: Any, own_root: DataRoot, own_source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import expect

    monkeypatch.setattr(frame, "_WATCH_SECONDS", 1)
    with running(create_app(own_source).server) as url:
        watched = Watched(browser, url)
        page = watched.open("/f/3")
        page.wait_for_selector("#label-edit")
        page.keyboard.press("e")
        page.fill("#label-text", "half a thought")
        page.keyboard.press("Tab")
        other = publish_another(own_root)

        expect(page.locator("#newer")).to_contain_text(f"Version {other} is available")
        page.click("#newer .reload")

        expect(page.locator(".where")).to_contain_text(other)
        expect(page.locator("#label-text")).to_have_value("half a thought")
        expect(page.locator("#newer")).to_have_text("")
        watched.context.close()
    assert watched.complaints == []


def test_a_label_typed_for_another_sae_is_not_saved(browser: Any, own_root: DataRoot, own_source: Source) -> None:
    from playwright.sync_api import expect

    app = create_app(own_source)
    with running(app.server) as url:
        watched = Watched(browser, url)
        page = watched.open("/f/3")
        page.wait_for_selector("#label-edit")
        publish_another(own_root, sae="f" * 64)
        watched.open("/about").wait_for_selector("h1")  # somebody else loads a page
        page.keyboard.press("e")
        page.fill("#label-text", "about the old one")
        page.keyboard.press("Control+Enter")

        expect(page.locator("#label-message")).to_contain_text("whose feature 3 is another one")
        watched.context.close()
    assert own_source.subject.labels.current() == {}
    with open_subject("small", root=own_root) as newer:
        assert newer.labels.current() == {}
    assert watched.complaints == []
