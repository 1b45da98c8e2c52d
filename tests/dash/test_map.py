"""The map: every feature as a point, boxes and clusters that list theirs, and the way to each."""

import csv
import io
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from splat_assets.errors import InputError
from splat_dash.app import create_app
from splat_dash.figures import LABEL_COLORS, N_CLUSTER_COLORS, on_map
from splat_dash.query import MapQuery
from splat_dash.source import Source
from splat_serving.investigations.feature_map import clusters
from tests.dash.conftest import Watched

_PLACE = """at => { const plot = document.querySelector("#map .js-plotly-plot"), box = plot.getBoundingClientRect(),
    x = plot._fullLayout.xaxis, y = plot._fullLayout.yaxis, data = plot._fullData[0];
    return [box.x + x._offset + x.l2p(data.x[at]), box.y + y._offset + y.l2p(data.y[at])]; }"""


@pytest.fixture(scope="session")
def expect() -> Any:
    from playwright.sync_api import expect

    return expect


def test_a_query_reads_as_it_was_written() -> None:
    query = MapQuery("coactivation", "cluster", "swim speed", "3", "1,2.5,-1,4")
    parameters = {
        "by": "coactivation",
        "color": "cluster",
        "q": "swim speed",
        "cluster": "3",
        "box": "1,2.5,-1,4",
        "list": "x",
    }

    assert MapQuery.parse(parameters) == query
    assert query.corners == (1.0, 2.5, -1.0, 4.0)
    assert MapQuery(box="2,1,4,3").corners == (1.0, 2.0, 3.0, 4.0)
    assert MapQuery().as_text() == ""
    assert MapQuery(by="coactivation").as_text(cluster="2") == "by=coactivation&cluster=2"


@pytest.mark.parametrize(
    "parameters",
    [
        {"by": "umap"},
        {"color": "red"},
        {"cluster": "-1"},
        {"cluster": "9" * 40},
        {"box": "1,2,3"},
        {"box": "1,2,3,nan"},
        {"box": "a,b,c,d"},
        {"q": "x" * 300},
        {"by": ["decoder", "coactivation"]},
    ],
)
def test_an_invalid_parameter_is_named(parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(parameters))}: "):
        MapQuery.parse(parameters)


@pytest.mark.parametrize("by", ["decoder", "coactivation"])
def test_a_query_chooses_what_fulfils_all_it_says(by: str, source: Source) -> None:
    table = source.subject.database.feature_map()
    x, y, cluster = (table[f"{by}_{name}"].to_numpy() for name in ("x", "y", "cluster"))
    left, right, bottom, top = np.nanquantile(x, 0.2), np.nanquantile(x, 0.8), np.nanquantile(y, 0.2), np.nanmax(y)
    inside = (x >= left) & (x <= right) & (y >= bottom) & (y <= top)

    in_box = source.on_map(MapQuery(by, box=",".join(str(float(one)) for one in (right, left, bottom, top))))
    in_both = source.on_map(MapQuery(by, cluster="1", box="-1e9,1e9,-1e9,1e9"))

    assert in_box["feature_id"].to_list() == list(range(96))
    assert in_box["chosen"].to_list() == inside.tolist()
    assert 5 < inside.sum() < 96
    assert in_both["chosen"].to_list() == (cluster == 1).tolist()
    assert not source.on_map(MapQuery(by))["chosen"].any()


def test_clusters_are_counted_over_their_features() -> None:
    placed = pl.DataFrame(
        {
            "cluster": [0, 0, 0, 1, 1, None],
            "density": [0.1, 0.3, 0.2, 0.5, 0.7, 0.9],
            "token": ["a", "b", "a", None, None, "c"],
            "labelled": [True, False, True, False, False, True],
        },
        schema_overrides={"cluster": pl.UInt32},
    )

    result = clusters(placed, "decoder")

    assert result.rows == [[0, 3, 2, pytest.approx(0.2), "a", pytest.approx(2 / 3)], [1, 2, 0, 0.6, None, None]]
    assert result.evidence == "weights"


def test_colours_stand_for_what_the_legend_says(source: Source) -> None:
    features = source.on_map(MapQuery())
    n_colors = {"label": len(LABEL_COLORS), "cluster": N_CLUSTER_COLORS}

    for color, n in n_colors.items():
        marker = on_map(features, color, None).data[0].marker
        shade = np.asarray(marker.color) / 255
        drawn = [next(rgb for edge, rgb in reversed(marker.colorscale) if edge <= one) for one in shade]
        for row, rgb in zip(features.rows(named=True), drawn, strict=True):
            if color == "cluster":
                expected = marker.colorscale[2 * (row["cluster"] % n)][1]
            else:
                kind = "dead" if not row["n_active"] else "with a rule" if row["suggested"] else "neither"
                expected = next(rgb for rgb, name in LABEL_COLORS if name == kind)
            assert rgb == expected, row


def test_a_file_has_what_the_map_chooses(source: Source) -> None:
    with TestClient(create_app(source).server, base_url="http://127.0.0.1") as client:
        for query in (MapQuery(cluster="0"), MapQuery("coactivation"), MapQuery(q="ink")):
            answer = client.get(f"/api/map.csv?{query.as_text()}")
            rows = list(csv.DictReader(io.StringIO(answer.text.split("\n", 1)[1])))
            result = source.on_map(query)
            expected = result.filter("chosen") if query.chooses else result.drop_nulls("x")
            assert [int(row["feature_id"]) for row in rows] == expected["feature_id"].to_list()
            assert [float(row["x"]) for row in rows] == pytest.approx(expected["x"].to_list())
        assert client.get("/api/map.csv?by=x").status_code == 422


@pytest.mark.slow
def test_a_box_lists_its_features_and_a_click_opens_one(watched: Watched, expect: Any, source: Source) -> None:
    page = watched.open("/map")
    expect(page.locator("#map canvas").first).to_be_visible()
    page.wait_for_timeout(800)
    left, top, width, height = page.evaluate(
        """() => { const plot = document.querySelector("#map .js-plotly-plot"), box = plot.getBoundingClientRect(),
             size = plot._fullLayout._size; return [box.x + size.l, box.y + size.t, size.w, size.h]; }"""
    )
    page.mouse.move(left + 0.2 * width, top + 0.2 * height)
    page.mouse.down()
    page.mouse.move(left + 0.5 * width, top + 0.5 * height, steps=5)
    page.mouse.move(left + 0.7 * width, top + 0.7 * height, steps=5)
    page.mouse.up()

    expect(page.locator("#map-chosen table")).to_be_visible()
    chosen = MapQuery.parse({"box": page.evaluate("new URL(location).searchParams.get('box')")})
    expected = source.on_map(chosen).filter("chosen").sort(["density", "feature_id"], descending=[True, False])
    assert expected.height > 10
    listed = page.locator("#map-chosen tbody a").all_inner_texts()
    assert listed == [str(one) for one in expected["feature_id"].head(100)]

    page.reload()
    expect(page.locator("#map-chosen tbody a").first).to_have_text(listed[0])
    assert page.locator("#map-chosen tbody a").all_inner_texts() == listed
    page.get_by_role("link", name="Clear the selection").click()
    expect(page.locator("#map-chosen")).to_contain_text("None yet")

    expect(page.locator("#map canvas").first).to_be_visible()
    page.wait_for_timeout(800)
    x, y = page.evaluate(_PLACE, 5)
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    expect(page.locator("h1")).to_contain_text("Feature 5")


@pytest.mark.slow
def test_a_cluster_and_words_choose_and_stay_in_the_address(watched: Watched, expect: Any, source: Source) -> None:
    page = watched.open("/map?by=coactivation")
    page.locator("section", has_text="Clusters").locator("tbody a").nth(1).click()
    n = int(source.on_map(MapQuery("coactivation", cluster="1"))["chosen"].sum())
    expect(page.locator("#map-chosen")).to_contain_text(f"{n} features")
    assert "cluster=1" in page.url
    assert "by=coactivation" in page.url

    page.fill("#map-q", "ink")
    page.get_by_role("button", name="Show").click()
    n = int(source.on_map(MapQuery("coactivation", q="ink"))["chosen"].sum())
    expect(page.locator("#map-chosen")).to_contain_text(f"{n} features")
    assert "by=coactivation" in page.url


def test_a_store_without_a_map_says_how_to_get_one(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    from splat_dash.pages import feature_map
    from splat_serving.database.errors import NotComputedError

    def none(by: str) -> pl.DataFrame:
        raise NotComputedError("a map was not computed: `splat materialize RUN`")

    monkeypatch.setattr(source, "places", none)

    assert "splat materialize" in str(feature_map.layout(source).to_plotly_json())
