"""Pages in Chromium: addresses, lists, keys, states, and nothing that a screen reader stumbles over."""

import random
import re
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import polars as pl
import pytest

from splat_assets.analysis.statistics import BANDS
from splat_assets.domain.concepts import Wears
from splat_dash.abilities import in_words
from splat_dash.cells import in_digits
from splat_dash.query import ListQuery
from splat_dash.source import Source
from splat_dash.terms import FEW
from splat_serving.investigations.compare import Compare, compare
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.experiments.leave_one_out import leave_one_out
from splat_serving.investigations.near_duplicates import are_equal, group_near_duplicates
from splat_serving.investigations.results.outputs import marked
from splat_serving.investigations.results.rendering import cells as cells_of
from splat_serving.investigations.results.rendering import shown
from tests.dash.conftest import Watched, settle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def expect() -> Any:
    from playwright.sync_api import expect

    return expect


@pytest.fixture(scope="session")
def busy(source: Source) -> int:
    """The feature that fires most often."""
    return int(source.rows(ListQuery(sort="-density"))["feature_id"][0])


_SAID = "[...document.querySelectorAll('main h1, main table, main dl')].map(e => e.innerText).join(' ')"


def words(page: Any) -> str:
    """What the page says once Dash is idle; without the numbers of plots, which come later."""
    settle(page)
    return " ".join(page.evaluate(_SAID).split())


def test_a_feature_has_an_address_and_a_wrong_one_says_so(watched: Watched, expect: Any, busy: int) -> None:
    page = watched.open(f"/f/{busy}")
    expect(page.locator("h1")).to_contain_text(f"Feature {busy}")
    before = words(page)
    page.reload()
    expect(page.locator("h1")).to_contain_text(f"Feature {busy}")
    assert words(page) == before

    for path, message in (
        ("/f/abc", "is not a feature"),
        ("/f/96", "features 0 to 95"),
        ("/f/1/2", "is not a feature"),
        ("/nowhere", "No page has this address"),
        ("/features?sort=x", "sort"),
    ):
        page.goto(watched.url + path)
        expect(page.get_by_role("alert")).to_contain_text(message)
        assert page.get_by_role("alert").get_by_role("link").get_attribute("href") == "/features"


def test_the_whole_view_is_in_the_address(watched: Watched, expect: Any, busy: int) -> None:
    page = watched.open(f"/f/{busy}?list=sort%3D-density")
    page.get_by_role("navigation", name="Evidence").get_by_text("tokens").click()
    expect(page.locator("main h3", has_text="Associated tokens")).to_be_visible()

    other = watched.open(page.evaluate("location.pathname + location.search"))

    expect(other.locator("main h3", has_text="Associated tokens")).to_be_visible()
    assert words(other) == words(page)


def test_back_goes_back(watched: Watched, expect: Any) -> None:
    page = watched.open("/features?q=1&state=unlabelled")
    expect(page.locator(".ag-row").first).to_be_visible()
    first, second = (page.locator(f".ag-row[row-index='{row}'] a").inner_text() for row in (0, 1))
    page.locator(".ag-row[row-index='0'] a").click()
    expect(page.locator("h1")).to_contain_text(f"Feature {first}")
    page.keyboard.press("j")
    expect(page.locator("h1")).to_have_text(re.compile(rf"^Feature {second}\b"))

    page.go_back()
    expect(page.locator("h1")).to_have_text(re.compile(rf"^Feature {first}\b"))
    page.go_back()

    expect(page.locator(".ag-row").first).to_be_visible()
    assert page.get_by_label("Search").input_value() == "1"
    expect(page.locator(".ag-row[row-index='0'] a")).to_have_text(first)


def test_the_list_is_sorted_where_the_data_is(watched: Watched, expect: Any, source: Source) -> None:
    page = watched.open("/features")
    expect(page.locator("#features-count")).to_have_text("96 of 96 features")
    page.locator(".ag-header-cell", has_text="density").click()
    page.locator(".ag-header-cell", has_text="density").click()

    rows = source.rows(ListQuery(sort="-density"))
    for at in (0, 7):
        row = page.locator(f".ag-row[row-index='{at}']")
        expect(row.locator("a")).to_have_text(str(rows["feature_id"][at]))
        expect(row.locator("[col-id='density']")).to_have_text(in_digits(rows["density"][at], "%"))
        for name in ("f1", "max", "mean", "effect"):
            expect(row.locator(f"[col-id='{name}']")).to_have_text(in_digits(rows[name][at]))
    assert page.locator(".ag-row").count() < 100


def test_a_search_narrows_the_list_from_its_top(watched: Watched, expect: Any, source: Source) -> None:
    token = source.rows(ListQuery(sort="-f1"))["token"][0].partition(">")[0]
    matching = source.rows(ListQuery(q=token))
    page = watched.open("/features")
    expect(page.locator("#features-count")).to_have_text("96 of 96 features")
    page.locator(".ag-body-viewport").evaluate("body => { body.scrollTop = 32 * 90 - 100; }")
    expect(page.locator(".ag-row[row-index='90'] a")).to_be_visible()

    page.get_by_label("Search").fill(token)

    expect(page.locator("#features-count")).to_have_text(f"{matching.height} of 96 features")
    expect(page.locator(".ag-row[row-index='0'] a")).to_have_text(str(matching["feature_id"][0]))
    assert f"q={token}" in page.evaluate("location.search")
    page.get_by_label("Search").fill("nothing of the kind")
    expect(page.locator("#features-count")).to_contain_text("No feature matches (96 searched)")

    page.get_by_role("button", name="Clear the search").click()

    expect(page.locator("#features-count")).to_have_text("96 of 96 features")
    assert page.get_by_label("Search").input_value() == ""
    assert page.evaluate("location.search") == ""


def test_the_first_hit_of_a_token_has_it_among_its_top_tokens(watched: Watched, expect: Any, source: Source) -> None:
    tokens = sorted({text.partition(">")[0] for text in source.rows(ListQuery(sort="-f1"))["token"].drop_nulls()[:5]})
    for token in tokens:
        page = watched.open(f"/features?q={token}")
        expect(page.locator("#features-count")).to_contain_text("of 96 features")
        page.locator(".ag-row[row-index='0'] a").click()
        page.get_by_role("navigation", name="Evidence").get_by_text("tokens").click()
        top = page.locator("#panel-tokens tbody tr td:first-child")
        expect(top.first).to_be_visible()
        best = page.locator("#label .quiet", has_text=" alone ").inner_text()
        assert any(token in name for name in (*top.all_inner_texts()[:10], best)), token
        page.close()


def test_files_hold_what_the_page_shows(watched: Watched, expect: Any, source: Source, busy: int) -> None:
    page = watched.open("/features?sort=-density")
    page.fill("#features-q", "ink")
    n = source.rows(ListQuery("ink")).height
    expect(page.locator("#features-count")).to_contain_text(f"{n} of")
    expect(page.locator("#features-file")).to_have_attribute("href", re.compile("q=ink"))
    with page.expect_download() as coming:
        page.locator("#features-file").click()
    lines = coming.value.path().read_text().splitlines()
    assert len(lines) == n + 2  # where it comes from, and headings
    assert lines[0].startswith("# {")

    page.goto(f"{watched.url}/f/{busy}")
    address = page.get_by_role("link", name="JSON").get_attribute("href")
    whole = page.request.get(watched.url + str(address)).json()
    assert (whole["feature_id"], whole["run"]) == (busy, "small")
    assert whole["version"] == source.about.version


def test_keys_follow_the_list_and_leave_writers_alone(watched: Watched, expect: Any, source: Source) -> None:
    ids = source.rows(ListQuery(sort="-density"))["feature_id"].to_list()
    page = watched.open(f"/f/{ids[0]}?list=sort%3D-density&tab=weapons")
    expect(page.locator("h1")).to_contain_text(f"Feature {ids[0]}")
    for feature in ids[1:4]:
        page.keyboard.press("j")
        expect(page.locator("h1")).to_contain_text(f"Feature {feature}")
        assert "tab=weapons" in page.evaluate("location.search")
    page.keyboard.press("k")
    expect(page.locator("h1")).to_contain_text(f"Feature {ids[2]}")
    page.keyboard.press("[")
    expect(page.locator("main h3", has_text="Associated tokens")).to_be_visible()

    page.goto(watched.url + "/features")
    expect(page.locator(".ag-row").first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("jjk")
    assert page.get_by_label("Search").input_value() == "jjk"


def test_numbers_on_the_page_are_those_of_the_store(watched: Watched, expect: Any, source: Source, busy: int) -> None:
    page = watched.open(f"/f/{busy}")
    result = source.feature(busy)
    own = result.statistics

    expect(page.locator("figcaption")).to_contain_text(f"Fires on {own['n_active']:,} samples")
    assert f"zeros: {result.histogram['n_zero']:,}" in page.locator("figcaption").inner_text()
    kept = page.locator("#numbers")
    numbers = dict(zip(kept.locator("dt").all_inner_texts(), kept.locator("dd").all_inner_texts(), strict=True))
    assert numbers["max"] == shown(own["max"])
    assert numbers["density"] == in_digits(own["n_active"] / own["n_samples"], "%")
    raised = result.influences["raised"][:8] if result.influences else []
    rows = page.locator("table.effects").first.locator("tr").all_inner_texts()
    assert [row.split() for row in rows] == [
        [*marked(one["token"], one["in_data"]).split(), in_digits(one["value"], "+")] for one in raised
    ]
    examples = page.locator("table.examples tbody tr")
    assert examples.count() == len((result.examples or {})["top"])
    assert examples.first.locator("a").last.inner_text() == f"{(result.examples or {})['top'][0]['global_index']:,}"


def test_the_pages_of_fifty_features_say_what_store_and_api_say(watched: Watched, expect: Any, source: Source) -> None:
    page = watched.open("/about")
    for feature in random.Random(0).sample(range(source.about.n_features), 50):
        watched.visit(page, f"/f/{feature}")
        expect(page.locator("h1")).to_contain_text(f"Feature {feature}")
        page.wait_for_function(
            "[...document.querySelectorAll('slot[data-table]')].every(place => place.querySelector('table'))"
        )
        record = page.request.get(f"{watched.url}/api/features/{feature}.json").json()
        own = source.feature(feature)
        assert (record["statistics"], record["influences"], record["examples"]) == (
            own.statistics,
            own.influences,
            own.examples,
        )
        kept = page.locator("#numbers")
        numbers = dict(zip(kept.locator("dt").all_inner_texts(), kept.locator("dd").all_inner_texts(), strict=True))
        statistics = record["statistics"]
        assert numbers["fires on"] == f"{statistics['n_active']:,} of {statistics['n_samples']:,} samples"
        for name, key in (("max", "max"), ("mean", "mean"), ("median", "median"), ("99 %", "q99")):
            assert numbers[name] == shown(statistics[key])
        rows = page.locator("table.effects tr").all_inner_texts()
        moved = [*record["influences"]["raised"][:8], *record["influences"]["lowered"][:8]]
        assert [row.split() for row in rows] == [
            [*marked(one["token"], one["in_data"]).split(), in_digits(one["value"], "+")] for one in moved
        ]
        listed = page.locator("table.examples tbody td:last-child a").all_text_contents()
        groups = record["examples"] or {}
        folds = group_near_duplicates(groups.get("top", next(iter(groups.values()), [])))
        assert listed == [f"{one['global_index']:,}" for group in folds for one in group]
        expect(page.locator("table.examples tbody tr:visible")).to_have_count(len(folds))


def test_two_features_are_compared_and_swapped(watched: Watched, expect: Any, source: Source, busy: int) -> None:
    other = source.rows(ListQuery(sort="-density"))["feature_id"][1]
    page = watched.open(f"/compare?f={busy},{other}")
    expect(page.locator("h1")).to_have_text(f"Feature {busy} compared with feature {other}")
    own = source.feature(busy).statistics
    row = page.locator("main table").first.locator("tbody tr", has_text="n_active")
    assert row.locator("td").nth(1).inner_text() == f"{own['n_active']:,}"
    assert page.locator("main table").first.locator("th").all_inner_texts() == [
        "statistic",
        f"feature {busy}",
        "difference",
        f"feature {other}",
    ]
    for row in source.comparison(busy, other).table("statistics").rows:
        assert row[2] == row[1] - row[3]

    page.get_by_text("swap").click()

    expect(page.locator("h1")).to_have_text(f"Feature {other} compared with feature {busy}")
    assert page.evaluate("location.search") == f"?f={other},{busy}"
    expect(page.locator("main table").first.locator("tbody tr", has_text="n_active").locator("td").nth(3)).to_have_text(
        f"{own['n_active']:,}"
    )
    page.goto(f"{watched.url}/compare?f=1")
    expect(page.get_by_role("alert")).to_contain_text("is not a pair of features")


def test_a_comparison_the_other_way_round_says_the_same(source: Source, busy: int) -> None:
    other = int(source.rows(ListQuery(sort="-density"))["feature_id"][1])
    there = compare(source.subject, Compare(left=busy, right=other))
    back = compare(source.subject, Compare(left=other, right=busy))

    assert [table.name for table in there.tables] == [table.name for table in back.tables]
    one, two = there.table("statistics").frame, back.table("statistics").frame
    assert one["statistic"].to_list() == two["statistic"].to_list()
    assert one["left"].to_list() == two["right"].to_list() and one["right"].to_list() == two["left"].to_list()
    assert one["difference"].to_list() == [None if value is None else -value for value in two["difference"]]
    one, two = there.table("agreement").frame, back.table("agreement").frame
    assert one.select("n_both", "jaccard").equals(two.select("n_both", "jaccard"))
    assert one.select("pearson", "phi").row(0) == pytest.approx(two.select("pearson", "phi").row(0), abs=1e-12)
    assert one["only_left"][0] == two["only_right"][0] and one["only_right"][0] == two["only_left"][0]


def test_neighbours_have_each_other_and_their_scores_are_those_of_the_comparison(
    watched: Watched, expect: Any, source: Source, busy: int
) -> None:
    page = watched.open(f"/f/{busy}")
    expect(page.locator("main h1")).to_be_visible()
    near = source.feature(busy).neighbours or {}
    assert near["decoder_cosine"] and near["pearson"]
    for kind in ("decoder_cosine", "pearson"):
        scores = [row["score"] for row in near[kind]]
        assert scores == sorted(scores, reverse=True)
    other = near["pearson"][0]
    result = source.comparison(busy, other["feature_id"]).table("agreement").frame["pearson"][0]
    assert result == pytest.approx(other["score"], abs=1e-5)
    link = page.locator("section", has_text="by activations").get_by_role("link", name="compare").first
    expect(link).to_be_visible()


def test_a_rule_a_token_and_a_weapon_list_their_features(watched: Watched, expect: Any, source: Source) -> None:
    page = watched.open("/tokens")
    page.locator("main tbody a", has_text="SSU 12").click()
    expect(page.locator("h1")).to_have_text("Builds with swim_speed_up>=12")
    result = source.subject.database.features_of_rule(Wears("swim_speed_up", 12))
    first = result.table.slice(0, 1).to_pylist()[0]
    cells = page.locator("main table").first.locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells[0] == f"{first['feature_id']:,}"
    assert f"{first['n_both']:,}" in cells

    pushing = source.subject.database.influences_on("swim_speed_up_12")
    table = pushing.join(source.subject.database.features(), on="feature_id").filter(pl.col("n_active") > 0)
    for name, sign in (("raising", 1), ("lowering", -1)):
        rows = page.locator(f"#panel-{name} tbody tr")
        expect(rows.first).to_be_visible()
        moved = table.filter(pl.col("influence") * sign > 0).with_columns(moves=pl.col("influence") * pl.col("mean"))
        moved = moved.sort(-sign * pl.col("moves"), "feature_id").head(50)
        assert rows.count() == moved.height
        assert rows.locator("td:first-child").all_inner_texts() == [f"{one:,}" for one in moved["feature_id"]]
        assert rows.first.locator("td").nth(3).inner_text() == shown(float(moved["moves"][0]))
    rows.first.locator("a").click()
    expect(page.locator("h1")).to_contain_text(f"Feature {moved['feature_id'][0]}")
    raised = page.locator("table.effects th a").first
    token = raised.inner_text()
    raised.click()
    expect(page.locator("#panel-raising h3")).to_contain_text(f"Features that raise {token}")
    page.go_back()
    page.go_back()
    expect(page.locator("h1")).to_have_text("Builds with swim_speed_up>=12")

    page.get_by_label("Rule on builds").fill("ninja_squid and not ssu>=12")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("h1")).to_have_text("Builds with ninja_squid and not swim_speed_up>=12")
    page.get_by_label("Rule on builds").fill("ninja_squid and")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("alert")).to_contain_text("^")

    page.goto(f"{watched.url}/tokens")
    weapon = source.subject.contexts.items[3].name
    page.locator("main li a", has_text=re.compile(f"^{re.escape(weapon)}$")).click()
    expect(page.locator("h1")).to_contain_text(weapon)


def test_two_weapons_are_contrasted(watched: Watched, expect: Any, source: Source) -> None:
    page = watched.open("/find")
    page.fill("#rule", "class=shooter")
    page.fill("#against", "class=roller")
    page.get_by_role("button", name="Find").click()

    expect(page.locator("h1")).to_contain_text("class=shooter against class=roller")
    expected = source.contrast("class=shooter", "class=roller").table("features")
    shown_there = page.locator("main table").first.locator("tbody tr td:first-child").all_inner_texts()
    assert shown_there == [str(row[0]) for row in expected.rows]
    assert "against=class%3Droller" in page.url


_UNTOLD = """[...document.querySelectorAll('main th[scope=col], main dt')]
  .filter(one => !one.title && one.textContent && !/^[0-9]/.test(one.textContent)).map(one => one.textContent)"""
_CAPTIONS = """[...document.querySelectorAll('main figcaption, #interval')].flatMap(caption => {
  const result = [], walk = document.createTreeWalker(caption, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (/[0-9]/.test(walk.currentNode.data)) result.push(
    [walk.currentNode.data, walk.currentNode.parentElement.closest('[data-term]')?.dataset.term || null]);
  return result; })"""
_PERCENTAGES = """(() => {
  const result = [], walk = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, at = node.parentElement;
    if (!/[0-9] ?%/.test(node.data) || at.closest('svg, script, style, .badge, .ag-root, .menu, .meaning')) continue;
    const whole = (at.closest('p, li, dd, td, span') || at).innerText;
    if (at.closest('[data-n]') || at.title || /(of|on|n =) (these |its )?[0-9][0-9,]*/.test(whole)) continue;
    result.push(node.data);
  }
  return result; })()"""


def test_every_number_of_a_caption_is_defined(watched: Watched, expect: Any, source: Source, busy: int) -> None:
    page = watched.open("/about")
    expect(page.locator("main h1")).to_have_text("About")
    defined = set(page.locator("main dt").all_inner_texts())
    histogram = source.feature(busy).histogram
    for search in (
        "",
        f"?min={histogram['edges'][3]!r}&max={histogram['edges'][9]!r}",
        "?b=3.SSU-SSU-_-_._-_-_-_._-_-_-_",
    ):
        page.goto(f"{watched.url}/f/{busy}{search}")
        expect(page.locator("figcaption").first).to_be_visible()
        result = page.evaluate(_CAPTIONS)
        assert len(result) >= 4
        assert [text for text, term in result if term not in defined] == [], search
    dead = source.rows(ListQuery(state="dead"))["feature_id"]
    for path in ("/", "/map", *(f"/f/{one}" for one in dead[:1])):
        page.goto(watched.url + path)
        expect(page.locator("figcaption").first).to_be_visible()
        assert [text for text, term in page.evaluate(_CAPTIONS) if term not in defined] == [], path


def test_no_percentage_without_its_n(watched: Watched, expect: Any, busy: int) -> None:
    page = watched.open("/about")
    settle(page)
    paths = ("/", "/labels", f"/compare?f={busy},1", "/find?rule=ninja_squid", "/tokens/swim_speed_up_12")
    tabs = ("examples", "tokens", "weapons", "doses", "statistics", "effects")
    n_counted = 0
    for path in (*paths, *(f"/f/{busy}?tab={tab}" for tab in tabs)):
        watched.visit(page, path)
        assert page.evaluate(_PERCENTAGES) == [], path
        n_counted += page.locator("main [data-n]").count()
    assert n_counted > 100


def test_rows_of_few_samples_are_marked(watched: Watched, expect: Any, source: Source) -> None:
    ids = source.rows(ListQuery(sort="-density"))["feature_id"].to_list()
    n_few = 0
    for feature in (ids[0], ids[20], ids[40]):
        page = watched.open(f"/f/{feature}?tab=weapons")
        rows = page.locator("#panel-weapons tbody tr")
        expect(rows.first).to_be_visible()
        counted = [int(row.locator("td").nth(1).inner_text().replace(",", "")) for row in rows.all()]
        kinds = ["few" in (row.get_attribute("class") or "") for row in rows.all()]
        assert kinds == [n < FEW for n in counted]
        assert [int(row.get_attribute("data-n") or -1) for row in rows.all()] == counted
        n_few += sum(kinds)
        page.close()
    assert n_few, "the small run has weapons that few samples have"


def test_builds_that_are_nearly_the_same_are_folded(watched: Watched, expect: Any, source: Source) -> None:
    for feature in source.rows(ListQuery(sort="-density"))["feature_id"].to_list():
        groups = group_near_duplicates((source.feature(feature).examples or {})["top"])
        if len(groups[0]) > 1:
            break
    page = watched.open(f"/f/{feature}")
    rows = page.locator("table.examples tbody tr")
    expect(rows.first).to_be_visible()
    expect(page.locator("table.examples tbody tr:visible")).to_have_count(len(groups))
    button = rows.first.get_by_role("button")
    word = "equal" if are_equal(groups[0]) else "alike"
    expect(button).to_have_text(f"+ {len(groups[0]) - 1} {word}")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(page.locator("table.examples tbody tr:visible")).to_have_count(len(groups) + len(groups[0]) - 1)
    assert rows.nth(1).locator("a").inner_text() == f"{groups[0][1]['global_index']:,}"
    button.click()
    expect(page.locator("table.examples tbody tr:visible")).to_have_count(len(groups))


def test_random_examples_are_the_same_after_a_reload(watched: Watched, expect: Any, busy: int) -> None:
    page = watched.open(f"/f/{busy}?group=random_active")
    expect(page.locator("table.examples tbody tr").first).to_be_visible()
    before = page.locator("table.examples tbody a").all_text_contents()
    page.reload()
    expect(page.locator("table.examples tbody tr").first).to_be_visible()
    assert page.locator("table.examples tbody a").all_text_contents() == before


def test_bands_are_drawn_in_the_histogram(watched: Watched, expect: Any, source: Source, busy: int) -> None:
    page = watched.open(f"/f/{busy}")
    expect(page.locator("#feature-histogram .main-svg").first).to_be_visible()
    largest = source.feature(busy).statistics["max"]
    top = source.feature(busy).statistics["effective_max"]
    drawn = page.evaluate(
        "document.querySelector('#feature-histogram .js-plotly-plot').layout.shapes.map(one => one.x0)"
    )
    assert drawn == pytest.approx([band.above * top for band in BANDS if 0 < band.above * top < largest])
    names = page.locator("#feature-histogram .annotation-text").all_text_contents()
    assert "core" in names and "below core" in names


def test_light_or_dark_is_remembered(watched: Watched, expect: Any) -> None:
    page = watched.open("/about")
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "light")
    page.get_by_label("Light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")

    page.reload()
    expect(page.locator("main h1")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    other = watched.open("/")
    expect(other.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")


def test_every_heading_is_defined(watched: Watched, expect: Any, busy: int) -> None:
    page = watched.open("/about")
    expect(page.locator("main h1")).to_have_text("About")
    settle(page)
    defined = set(page.locator("main dt").all_inner_texts())
    paths = (
        "/",
        "/features",
        "/map",
        "/runs",
        *(f"/f/{busy}?tab={tab}" for tab in ("examples", "tokens", "weapons", "doses", "statistics", "effects")),
    )
    headings = "[...document.querySelectorAll('main th[scope=col], main dt, .ag-header-cell-text')].map(one => one.textContent)"
    for path in (
        *paths,
        f"/compare?f={busy},1",
        "/find?rule=ninja_squid",
        "/find?rule=ssu>=6&against=iss>=6",
        "/whatif?b=3.SSU-SSU-_-_._-_-_-_._-_-_-_",
    ):
        watched.visit(page, path)
        shown = (name.removesuffix(" [95 %]") for name in page.evaluate(headings))
        result = {re.sub(r"\bfeature \d+$", "feature N", name) for name in shown}
        assert result, path
        assert page.evaluate(_UNTOLD) == [], path
        terms = page.evaluate(
            "[...document.querySelectorAll('main [data-term]')].map(one => [one.dataset.term, one.title])"
        )
        assert {term for term, title in terms if not title} == set()
        assert {term for term, _ in terms} <= defined
        assert {name for name in result - defined if not name.isdigit()} == set(), path


def test_the_sheet_lists_the_keys_and_each_of_them_works(
    watched: Watched, expect: Any, busy: int, source: Source
) -> None:
    watched.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=watched.url)
    page = watched.open(f"/f/{busy}")
    expect(page.locator("h1")).to_be_visible()
    page.keyboard.press("?")
    sheet = page.locator("#help-sheet")
    expect(sheet).to_be_visible()
    listed = {
        "/",
        "j, k",
        "r",
        "[, ]",
        "1 … 9",
        "e",
        "Ctrl Enter",
        "p",
        "c",
        "g",
        "?",
        "Esc",
    }  # Ctrl Enter: test_labels
    assert set(sheet.locator("kbd").all_inner_texts()) == listed
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()

    page.keyboard.press("2")
    expect(page.get_by_role("navigation", name="Examples").locator(".chosen")).not_to_have_text("strongest")
    page.keyboard.press("c")
    expect(page.locator("#message")).to_have_text("Link copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.evaluate("location.href")
    page.keyboard.press("e")
    expect(page.locator("#label-text")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    expect(page.locator("#pinned")).to_have_text(f"pinned {busy}")
    page.keyboard.press("r")
    other = source.place(busy, ListQuery()).other
    expect(page.locator("h1")).to_have_text(re.compile(rf"^Feature {other}\b"))
    page.keyboard.press("p")
    expect(page.locator("h1")).to_have_text(f"Feature {busy} compared with feature {other}")
    for key, heading in (
        ("l", "Labels"),
        ("t", "Tokens and weapons"),
        ("a", "About"),
        ("h", "small"),
        ("f", "Features"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.locator("h1")).to_have_text(heading)
    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(page.locator("h1")).to_have_text("About")
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_visible()


def test_a_panel_grows_and_shrinks(watched: Watched, expect: Any, busy: int) -> None:
    page = watched.open(f"/f/{busy}")
    panel = page.locator("figure.panel")
    expect(panel.locator(".main-svg").first).to_be_visible()
    small = panel.bounding_box()

    panel.get_by_role("button", name="expand").click()
    expect(panel.get_by_role("button", name="collapse")).to_be_focused()
    page.wait_for_timeout(300)
    assert panel.bounding_box() == {"x": 0, "y": 0, "width": 1400, "height": 900}
    assert panel.locator(".main-svg").first.bounding_box()["height"] > 700
    page.keyboard.press("Escape")

    expect(panel.get_by_role("button", name="expand")).to_be_focused()
    assert panel.bounding_box() == small


def test_a_click_on_a_bar_lists_its_samples(watched: Watched, expect: Any, source: Source, busy: int) -> None:
    page = watched.open(f"/f/{busy}")
    expect(page.locator("#feature-histogram .main-svg").first).to_be_visible()
    histogram = source.feature(busy).histogram
    at = max(range(len(histogram["counts"])), key=lambda bin: histogram["counts"][bin])
    bar = page.locator("#feature-histogram .bars .point").nth(at).bounding_box()  # it ends below the plot
    page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + 5)
    page.wait_for_timeout(300)
    page.mouse.click(bar["x"] + bar["width"] / 2, bar["y"] + 5)

    expect(page.locator("#interval")).to_contain_text("All examples")
    low, high = histogram["edges"][at : at + 2]
    stored = source.subject.feature(busy).values
    within = int(((stored >= np.float32(low)) & (stored <= np.float32(high))).sum())
    assert f": {within:,} samples" in page.locator("#interval").inner_text()
    assert within >= histogram["counts"][at]
    values = [float(text) for text in page.locator("table.examples .with-bar .number").all_inner_texts()]
    assert len(values) == min(within, 50) and all(low - 1e-3 <= value <= high + 1e-3 for value in values)
    page.goto(f"{watched.url}/f/{busy}?min=much")
    expect(page.get_by_role("alert")).to_contain_text("min and max must be numbers")


def test_a_build_is_marked_in_the_histogram(watched: Watched, expect: Any, source: Source, busy: int) -> None:
    sample = int(source.subject.feature(busy).sample_ids[0])
    page = watched.open(f"/whatif?sample={sample}&f={busy}")
    link = page.locator("#panel-features td a", has_text=re.compile(f"^{busy}$"))
    expect(link).to_be_visible()
    link.click()

    expect(page.locator("main h1")).to_contain_text(f"Feature {busy}")
    value = float(source.subject.dense(busy)[sample])
    expect(page.locator("#panel-feature-histogram figcaption")).to_contain_text(
        f"Activation on the build of the address: {shown(value)}."
    )
    expect(page.locator("#feature-histogram .annotation-text", has_text="this build")).to_be_visible()
    page.get_by_role("navigation", name="Evidence").get_by_role("link", name="weapons").click()
    expect(page.locator("#panel-weapons")).to_be_visible()
    assert parse_qs(page.evaluate("location.search.slice(1)"))["b"]
    page.goto(f"{watched.url}/f/{busy}?b=nonsense")
    expect(page.get_by_role("alert")).to_contain_text("Invalid address")


def test_ten_intervals_hold_all_activations(watched: Watched, expect: Any, source: Source, busy: int) -> None:
    page = watched.open(f"/f/{busy}")
    nav = page.get_by_role("navigation", name="Intervals of the activation")
    expect(nav.get_by_role("link")).to_have_count(10)
    shares = [float(text.rstrip("%")) for text in nav.locator("small").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.6)
    stored = source.subject.feature(busy).values
    for at in range(10):
        nav.get_by_role("link").nth(at).click()
        expect(nav.locator(".chosen")).to_have_text(nav.get_by_role("link").nth(at).inner_text())
        parameters = parse_qs(page.evaluate("location.search.slice(1)"))
        low, high = float(parameters["min"][0]), float(parameters["max"][0])
        within = stored[(stored >= np.float32(low)) & (stored <= np.float32(high))]
        expect(page.locator("#interval")).to_contain_text(f": {within.size:,} samples")
        values = [float(text) for text in page.locator("table.examples .with-bar .number").all_inner_texts()]
        assert len(values) == min(within.size, 50)
        assert all(low - 1e-3 <= value <= high + 1e-3 for value in values)
        assert shares[at] == pytest.approx(100 * within.size / stored.size, abs=100 * 3 / stored.size + 0.06)


def test_a_click_on_a_point_of_the_first_page_opens_the_feature(watched: Watched, expect: Any) -> None:
    page = watched.open("/")
    expect(page.locator("#home-spread canvas").first).to_be_visible()
    settle(page)
    place = page.evaluate(
        """() => { const plot = document.querySelector("#home-spread .js-plotly-plot"), all = plot.calcdata[0],
             box = plot.getBoundingClientRect(), x = plot._fullLayout.xaxis, y = plot._fullLayout.yaxis, data = plot._fullData[0];
             return [box.x + x._offset + x.l2p(Math.log10(data.x[0])), box.y + y._offset + y.l2p(Math.log10(data.y[0])),
                     data.customdata[0]]; }"""
    )
    page.mouse.move(place[0], place[1])
    page.wait_for_timeout(300)
    page.mouse.click(place[0], place[1])

    expect(page.locator("h1")).to_contain_text("Feature ")


def test_the_first_page_has_the_figures_of_the_scorecard(watched: Watched, expect: Any, source: Source) -> None:
    card = source.subject.scorecard
    page = watched.open("/")

    expect(page.locator(".card").first).to_be_visible()
    shown_there = dict(
        zip(page.locator(".card dt").all_inner_texts(), page.locator(".card dd").all_inner_texts(), strict=True)
    )
    assert shown_there["FVU"] == shown(card["fvu"])
    assert shown_there["L0"] == shown(card["l0_mean"])
    assert shown_there["fidelity"] == shown(card["fidelity"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(
    scheme: str, browser: Any, url: str, expect: Any, busy: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    watched = Watched(browser, url, color_scheme=scheme)
    page = watched.open("/about")
    settle(page)
    paths = (
        "/",
        "/features",
        "/map",
        "/map?color=label&by=coactivation&cluster=0",
        "/labels",
        "/runs",
        "/about",
        f"/f/{busy}",
        f"/f/{busy}?tab=tokens",
        f"/f/{busy}?tab=doses",
        f"/f/{busy}?tab=effects",
        "/f/abc",
    )
    for path in (
        *paths,
        f"/compare?f={busy},1",
        "/whatif",
        "/find",
        "/find?rule=ninja_squid",
        "/find?rule=ssu>=6&against=iss>=6",
        "/tokens",
    ):
        watched.visit(page, path)
        assert page.locator("html").get_attribute("data-mantine-color-scheme") == scheme
        violations = Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in violations] == [], path
    watched.context.close()
    assert watched.complaints == []


def test_an_experiment_runs_from_the_page_and_shows_the_numbers_of_its_result(
    watched: Watched, expect: Any, source: Source, busy: int
) -> None:
    page = watched.open(f"/f/{busy}?tab=experiments&x=within-family")
    expect(page.locator("#experiment-result")).to_have_text("Fill in family, then run.")
    page.get_by_label("family", exact=True).fill("ssu")
    page.get_by_role("button", name="Run", exact=True).click()
    answer = page.locator("#experiment-result")
    expect(answer.locator("table").first).to_be_visible()

    whole = run(source.subject, spec_of({"experiment": "within-family", "feature_id": busy, "family": "ssu"}))
    assert answer.locator("p").first.inner_text() == whole.findings[0]
    rows = answer.locator("table").first.locator("tbody tr")
    assert rows.count() == len(whole.tables[0].rows)
    assert "family=ssu" in page.evaluate("location.search")
    page.goto(f"{watched.url}/f/{busy}?tab=experiments&x=within-family&family=swim_sped_up")
    expect(page.get_by_role("alert")).to_contain_text("did you mean swim_speed_up")
    page.goto(f"{watched.url}/f/{busy}?tab=experiments&x=palmistry")
    expect(page.get_by_role("alert")).to_contain_text("Unknown experiment 'palmistry'")


def test_the_effect_of_a_feature_stands_beside_what_its_weights_say(
    watched: Watched, expect: Any, source: Source, busy: int
) -> None:
    page = watched.open(f"/f/{busy}?tab=effects")
    answer = page.locator("#experiment-result")
    expect(answer.locator("table").first).to_be_visible()

    whole = run(source.subject, spec_of({"experiment": "causal-effect", "feature_id": busy}))
    assert answer.locator("p").first.inner_text() == whole.findings[0]
    assert "r = 1.0000" in whole.findings[0]
    names, _, rows = cells_of(whole.table("outputs"))
    assert answer.locator("table").first.locator("thead th").all_inner_texts() == names
    first = answer.locator("table").first.locator("tbody tr").first.locator("td, th").all_inner_texts()
    assert first == list(rows[0])


def test_each_ability_of_an_example_shows_the_drop_without_it(
    watched: Watched, expect: Any, source: Source, busy: int
) -> None:
    page = watched.open(f"/f/{busy}")
    expect(page.locator("#examples-legend")).to_contain_text("share of the activation lost")

    rows = [row for group in group_near_duplicates((source.feature(busy).examples or {})["top"]) for row in group]
    frame = leave_one_out(source.subject, busy, [row["global_index"] for row in rows])
    called = {in_words(group.name): group.name for group in source.subject.builds.groups}
    for at, row in enumerate(rows[:5]):
        shown = page.locator("table.examples tbody tr").nth(at).locator(".badge")
        own = frame.filter(pl.col("sample_id") == row["global_index"])
        assert shown.count() == own.height
        for badge in shown.all():
            title = badge.get_attribute("title") or ""
            ability = called[title.partition(";")[0].partition(",")[0]]
            drop, whole = own.filter(pl.col("ability") == ability).select("drop", "activation").row(0)
            assert title.endswith(f"; without it {in_digits(-drop, '+')} ({in_digits(-drop / whole, '+%')})")
            lost = float(badge.evaluate("one => one.style.getPropertyValue('--lost')").rstrip("%"))
            assert lost == pytest.approx(100 * min(max(drop / whole, 0), 1), abs=0.06)
    page.locator('nav[aria-label="Examples"] .choice', has_text="random, not firing").click()
    expect(page.locator("#examples-legend")).to_have_text("")


def test_every_ability_at_every_rung_observed_and_caused(
    watched: Watched, expect: Any, source: Source, busy: int
) -> None:
    page = watched.open(f"/f/{busy}?tab=experiments&x=dose-sweep&n_builds=20")
    expect(page.locator("table.strip").first).to_be_visible()

    whole = run(source.subject, spec_of({"experiment": "dose-sweep", "feature_id": busy, "n_builds": 20}))
    for at, figure in enumerate(whole.figures):
        cells = page.locator("table.strip").nth(at).locator("tbody td").all_inner_texts()
        assert cells == ["" if value is None else shown(value) for row in figure.z for value in row]  # type: ignore[union-attr]


def test_on_a_phone_a_feature_still_reads(browser: Any, url: str, expect: Any, busy: int) -> None:
    watched = Watched(browser, url)
    page = watched.open("/about")
    page.set_viewport_size({"width": 390, "height": 800})
    settle(page)

    from axe_playwright_python.sync_playwright import Axe

    for path in (f"/f/{busy}", "/map", "/runs", "/", "/labels", "/whatif"):
        watched.visit(page, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert [one["id"] for one in Axe().run(page).response["violations"]] == [], path
    watched.context.close()
    assert watched.complaints == []
