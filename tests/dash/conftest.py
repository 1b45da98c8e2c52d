"""The dashboard of the small run, and a browser that is strict with it: no error, no failed request, nobody else asked."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from splat_assets.store.layout import DataRoot
from splat_dash.app import create_app
from splat_dash.source import Source
from splat_serving.investigations.opening import open_subject
from tests.serving.running import running

_ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="session")
def source(finished_root: DataRoot) -> Iterator[Source]:
    """What the dashboard shows: the small run, on which nobody writes labels."""
    with open_subject("small", root=finished_root) as subject:
        yield Source(subject)


@pytest.fixture(scope="session")
def url(source: Source) -> Iterator[str]:
    """The address of the dashboard."""
    with running(create_app(source).server) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium. Where it may be left out, tests that need it are skipped; CI sets SPLAT_BROWSER=required."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("SPLAT_BROWSER") == "required":
            pytest.fail("there is no Chromium, and SPLAT_BROWSER=required: apt-get install chromium")
        pytest.skip("there is no Chromium: `make browser` installs it on Debian")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # the plots' library takes seconds to load where nothing is cached
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield chromium
        chromium.close()


_IS_IDLE = """() => {
  const { stored, completed, ...waiting } = window.store ? window.store.getState().callbacks : { none: [0] };
  const isIdle = document.querySelector("main h1") && document.fonts.status === "loaded"
    && Object.values(waiting).every((callbacks) => !callbacks.length)
    && [...document.querySelectorAll(".dash-graph")].every((graph) => graph.querySelector(".main-svg"));
  window.timesIdle = isIdle ? (window.timesIdle || 0) + 1 : 0;
  return window.timesIdle > 4; }"""


def settle(page: Any) -> None:
    """Wait until the page has its heading and its plots, and Dash has had no callback to call for a fifth of a second."""
    page.evaluate("window.timesIdle = 0")
    page.wait_for_function(_IS_IDLE, polling=50, timeout=60_000)


_VIEWPORT = {"width": 1400, "height": 900}


class Watched:
    """Pages of one browser context; complaints: what went wrong on any of them."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport=_VIEWPORT, **options)

    def open(self, path: str) -> Any:
        """A new page at a path of the dashboard."""
        page = self.context.new_page()
        page.on("console", lambda said: self.complaints.append(said.text) if _is_complaint(said) else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "response", lambda got: self.complaints.append(f"{got.status} {got.url}") if got.status >= 400 else None
        )
        page.on(
            "request",
            lambda sent: None if self._is_here(sent.url) else self.complaints.append(f"elsewhere: {sent.url}"),
        )
        page.goto(self.url + path)
        return page

    def visit(self, page: Any, path: str) -> None:
        """Lead an open page to another path as a link on it does, without loading it anew, until it has settled."""
        called = "window.store.getState().callbacks.completed"
        before = page.evaluate(called)
        page.evaluate(
            "path => { history.pushState({}, '', path); "
            "window.dispatchEvent(new CustomEvent('_dashprivate_pushstate')); window.scrollTo(0, 0); }",
            path,
        )
        page.wait_for_function(f"{called} > {before}", timeout=60_000)
        settle(page)

    def _is_here(self, address: str) -> bool:
        return address.startswith((self.url, "data:", "blob:"))


def _is_complaint(said: Any) -> bool:
    """Whether the page is to blame: the driver of a graphics card that is not there speaks of its own speed."""
    return said.type in ("error", "warning") and "GL Driver Message" not in said.text


@pytest.fixture(scope="session")
def cached_scripts(browser: Any, url: str) -> Watched:
    """A context that keeps what it has loaded: a page with plots opens in two thirds of the time."""
    return Watched(browser, url)


@pytest.fixture
def watched(cached_scripts: Watched) -> Iterator[Watched]:
    """The shared context, with pages and storage of this test alone; the test must end without a complaint."""
    cached_scripts.complaints.clear()
    yield cached_scripts
    for page in cached_scripts.context.pages:
        if page.url.startswith(cached_scripts.url):
            page.evaluate("localStorage.clear()")
        page.close()
    cached_scripts.context.clear_permissions()
    assert cached_scripts.complaints == []
