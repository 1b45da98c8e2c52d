"""The dashboard over 24,576 features: what answers weigh, and that they come within the budgets of a page."""

import base64
import gzip
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from benchmarks.reference_store import N_FEATURES, ReferenceRows, staged_parts
from splat_assets.compute import feature_map
from splat_assets.compute.neighbours import write_neighbours
from splat_assets.store.published.publishing import publish
from splat_assets.store.sparse.reader import SparseReader
from splat_dash.app import create_app
from splat_dash.source import Source
from splat_serving.investigations.opening import open_subject

pytestmark = pytest.mark.slow

_BUDGETS_MS = {"feature": 200, "tokens": 200, "compare": 200, "list": 100, "search": 100, "map": 500}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The dashboard of a store of 4,000 samples, with neighbours and a map; neither model nor labels."""
    folder = tmp_path_factory.mktemp("wide")
    parts = staged_parts(folder / "staged", ReferenceRows(4_000, N_FEATURES, 48, (3_000,) * 2))
    decoder = np.random.default_rng(0).normal(size=(N_FEATURES, 32)).astype(np.float32)
    near, on_map = folder / "staged" / "neighbours.parquet", folder / "staged" / "feature_map.parquet"
    write_neighbours(SparseReader(parts["activations.zarr"]), decoder, near, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_map, "_N_EPOCHS", 5)  # where features lie on the map is of no interest here
        feature_map.write_feature_map(near, decoder, on_map, seed=0)
    publish(folder / "store", {**parts, near.name: near, on_map.name: on_map}, {"made_by": "a test"})
    with (
        open_subject(str(folder / "store")) as subject,
        TestClient(create_app(Source(subject)).server, base_url="http://127.0.0.1") as result,
    ):
        yield result


def page(client: Any, path: str, search: str = "") -> tuple[Any, float, int]:
    """What the router answers for an address: content, milliseconds by the server's account, bytes as they travel."""
    inputs = [("pathname", path), ("search", search)]
    body = {
        "output": ".._pages_content.children..._pages_store.data..",
        "outputs": [{"id": "_pages_content", "property": "children"}, {"id": "_pages_store", "property": "data"}],
        "inputs": [{"id": "_pages_location", "property": name, "value": value} for name, value in inputs],
        "changedPropIds": ["_pages_location.pathname", "_pages_location.search"],
        "state": [],
    }
    return posted(client, body)


def rows(client: Any, block: int, q: str) -> tuple[Any, float, int]:
    """A block of 100 rows of the list, by density."""
    request = {
        "startRow": 100 * block,
        "endRow": 100 * block + 100,
        "sortModel": [{"colId": "density", "sort": "desc"}],
    }
    states = [("features-q", "value", q), ("features-state", "value", ""), ("features-sort", "data", None)]
    body = {
        "output": "..features-grid.getRowsResponse...features-count.children..",
        "outputs": [
            {"id": "features-grid", "property": "getRowsResponse"},
            {"id": "features-count", "property": "children"},
        ],
        "inputs": [{"id": "features-grid", "property": "getRowsRequest", "value": request}],
        "changedPropIds": ["features-grid.getRowsRequest"],
        "state": [{"id": one, "property": name, "value": value} for one, name, value in states],
    }
    return posted(client, body)


def posted(client: Any, body: dict[str, Any]) -> tuple[Any, float, int]:
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code == 200
    weight = len(gzip.compress(answer.content))
    return answer.json()["response"], float(answer.headers["Server-Timing"].partition("dur=")[2]), weight


def figure_in(content: Any) -> Any:
    """The first figure of a page."""
    if isinstance(content, dict):
        if content.get("type") == "Graph":
            return content["props"]["figure"]
        content = list(content.values())
    if isinstance(content, list):
        return next((result for one in content if (result := figure_in(one))), None)
    return None


def test_pages_stay_within_their_budgets_and_weights(client: Any) -> None:
    ids = np.random.default_rng(1).choice(N_FEATURES, 20, replace=False).tolist()
    requests = {
        "feature": [page(client, f"/f/{one}", "?list=sort%3D-density") for one in ids],
        "tokens": [page(client, f"/f/{one}", "?tab=tokens") for one in ids[:8]],
        "compare": [page(client, "/compare", f"?f={one},{ids[0]}") for one in ids[1:8]],
        "list": [rows(client, one, "") for one in (0, 1, 30, 120, 245)],
        "search": [rows(client, 0, str(one)[:3]) for one in ids],
        "map": [page(client, "/map", f"?color={color}") for color in ("density", "cluster", "label")],
    }

    for name, answers in requests.items():
        # The faster ones: the others may come upon what else the machine does. `benchmarks.dashboard` has median and p95.
        assert np.quantile([took for _, took, _ in answers], 0.25) <= _BUDGETS_MS[name], name
        heaviest = max(weight for _, _, weight in answers)
        assert heaviest <= (400_000 if name == "map" else 200_000), name


def test_the_list_is_sorted_over_all_blocks_and_counts_all(client: Any) -> None:
    result, _, _ = rows(client, 0, "")
    density = [row["density"] for row in result["features-grid"]["getRowsResponse"]["rowData"]]
    for block in (1, 30, 245):
        later, _, _ = rows(client, block, "")
        density += [row["density"] for row in later["features-grid"]["getRowsResponse"]["rowData"]]

    assert result["features-count"]["children"].startswith("24,576 of 24,576")
    assert result["features-grid"]["getRowsResponse"]["rowCount"] == 24_576
    assert len(density) == 376
    assert density == sorted(density, reverse=True)


def test_the_map_has_every_feature_in_a_figure_of_at_most_400_kb(client: Any) -> None:
    content, _, _ = page(client, "/map")
    figure = figure_in(content)

    x = np.frombuffer(base64.b64decode(figure["data"][0]["x"]["bdata"]), dtype=figure["data"][0]["x"]["dtype"])
    assert x.size == 24_576
    assert len(json.dumps(figure)) <= 400_000
