"""The menu of every panel: its link leads to it, its files hold what it shows, its picture is one."""

import io
import json
import re
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from splat_dash.app import create_app
from splat_dash.query import ListQuery
from splat_dash.source import Source
from tests.dash.conftest import Watched, settle

BUILD = "b=3.SSU-SSU-_-_._-_-_-_._-_-_-_"


@pytest.fixture(scope="session")
def expect() -> Any:
    from playwright.sync_api import expect

    return expect


@pytest.fixture(scope="session")
def busy(source: Source) -> int:
    return int(source.rows(ListQuery(sort="-density"))["feature_id"][0])


@pytest.fixture(scope="module")
def client(source: Source) -> TestClient:
    return TestClient(create_app(source).server, base_url="http://127.0.0.1")


def read(text: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(text.partition("\n")[2]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/f/{busy}",
        "/f/{busy}?group=random_active",
        "/f/{busy}?min=0.1&max=0.9",
        "/f/{busy}?tab=tokens",
        "/f/{busy}?tab=doses",
        "/f/{busy}?tab=statistics",
        "/f/{busy}?tab=experiments&x=bands",
        "/compare?f={busy},1",
        "/find?rule=ssu>=6",
        "/find?rule=ssu>=6&against=iss>=6",
        f"/whatif?{BUILD}",
        "/map",
        "/",
    ],
)
def test_files_hold_what_stands_below_the_menu(
    path: str, watched: Watched, expect: Any, busy: int, source: Source
) -> None:
    page = watched.open(path.format(busy=busy))
    expect(page.locator("main h1")).to_be_visible()
    expect(page.locator("main .menu").first).to_be_attached()
    settle(page)
    files = page.eval_on_selector_all("main .menu a", "links => links.map(one => [one.textContent, one.href])")
    assert files
    for form, address in files:
        answer = page.request.get(address)
        assert answer.ok, address
        assert "attachment" in answer.headers["content-disposition"]
        if form == "JSON":
            result = json.loads(answer.text())
            assert result["version"] == source.about.version
            assert result["provenance"]["sae"] == source.sae
            assert [len(row) for row in result["table"]["rows"]] == [len(result["table"]["columns"])] * len(
                result["table"]["rows"]
            )
        elif form == "Markdown":
            assert re.search(r"^\|[-:|]+\|$", answer.text(), re.MULTILINE)
        else:
            name = address.rpartition("/")[2].partition(".")[0]
            shown = (
                page.locator(f"#panel-{name} table tbody tr")
                if name != "examples"
                else page.locator("table.examples tbody tr")
            )
            frame = read(answer.text())
            assert frame.width > 1
            if shown.count() and "/map.csv" not in address:
                assert frame.height == shown.count(), address


@pytest.mark.slow
def test_the_link_to_a_panel_leads_to_it(watched: Watched, expect: Any, busy: int) -> None:
    watched.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=watched.url)
    page = watched.open(f"/f/{busy}?tab=tokens")
    panel = page.locator("#panel-tokens_against")
    expect(panel).to_be_visible()
    panel.locator(".menu summary").click()
    panel.get_by_role("button", name="copy link").click()
    expect(panel.locator(".menu[open]")).to_have_count(0)

    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{watched.url}/f/{busy}?tab=tokens#panel-tokens_against"
    other = watched.open(copied.removeprefix(watched.url))
    expect(other.locator("#panel-tokens_against")).to_be_in_viewport()


@pytest.mark.slow
def test_a_plot_is_saved_as_a_picture(watched: Watched, expect: Any, busy: int) -> None:
    page = watched.open(f"/f/{busy}")
    expect(page.locator("#feature-histogram .main-svg").first).to_be_visible()
    panel = page.locator("#panel-feature-histogram")
    for name, begins in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        panel.locator(".menu summary").click()
        with page.expect_download() as caught:
            panel.get_by_role("button", name=name, exact=True).click()
        assert caught.value.suggested_filename == f"feature-histogram.{name.lower()}"
        assert caught.value.path().read_bytes().startswith(begins)


def test_a_feature_s_files_have_its_label_and_its_numbers(client: TestClient, source: Source, busy: int) -> None:
    result = client.get(f"/api/features/{busy}/histogram/histogram.json").json()

    assert (result["feature_id"], result["label"]) == (busy, None)
    rows = result["table"]["rows"]
    own = source.feature(busy).histogram
    assert [row[2] for row in rows] == own["counts"]
    assert [row[0] for row in rows] == pytest.approx(own["edges"][:-1])
    frame = read(client.get(f"/api/features/{busy}/influences/raised.csv").text)
    influences = source.feature(busy).influences
    assert influences is not None
    expected = [(one["token"], pytest.approx(one["value"]), one["in_data"]) for one in influences["raised"]]
    assert frame.select("token", "influence", pl.col("in_data").cast(pl.String) == "true").rows() == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/features/3/palm/tokens.csv", "unknown section 'palm'; choose from tokens, weapons"),
        ("/api/features/3/tokens/palm.csv", "unknown table 'palm'; choose from tokens"),
        ("/api/features/3/tokens/tokens.xls", "unknown format 'xls'; choose from csv, json, md"),
        ("/api/compare/tokens.csv?f=3", "is not a pair of features"),
        ("/api/compare/tokens.csv", "is not a pair of features"),
        ("/api/find/features.csv?rule=ssu>=", "ssu>="),
        ("/api/experiments/palmistry/x.csv?feature_id=3", "palmistry"),
        ("/api/experiments/bands/x.csv", "feature_id"),
        ("/api/experiments/bands/x.csv?feature_id=abc", "feature_id"),
        ("/api/whatif/features.csv?b=nonsense", "b"),
        ("/api/features/3/examples/examples.csv?min=a", "min and max must be numbers"),
    ],
)
def test_a_file_that_is_not_there_is_one_sentence(client: TestClient, path: str, message: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 422
    assert message in answer.text and "Traceback" not in answer.text
    assert client.get("/api/features/96/tokens/tokens.csv").status_code == 404
