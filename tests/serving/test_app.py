"""The server from outside: shapes, forms, caching, errors, runs and versions."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot, RunLayout
from splat_assets.store.published.publishing import publish
from splat_assets.store.published.version import Store
from splat_serving.http.arrow_stream import FILE, STREAM
from splat_serving.http.settings import settings_from_environment
from tests.contracts.sources import sparse_random
from tests.serving.conftest import client_of
from tests.store.making import staged_parts


def test_a_feature_has_the_guides_shape(client: TestClient, store: Store, feature_id: int) -> None:
    expected = store.feature(feature_id)
    samples = store.take_samples(expected.sample_ids)

    body = client.get(f"/activations/{feature_id}").json()

    assert {"feature_id", "n_rows", "columns", "data", "load_time_ms"} <= body.keys()
    assert body["columns"][:3] == ["activation", "weapon_id", "ability_input_tokens"]
    assert body["n_rows"] == expected.n_active == len(body["data"])
    found = pl.DataFrame(body["data"])
    np.testing.assert_array_equal(found["activation"].to_numpy().astype(np.float32), expected.values)
    assert found["global_index"].to_list() == expected.sample_ids.tolist()
    assert found["weapon_id"].to_list() == samples["weapon_id_token"].to_list()
    assert found["ability_input_tokens"].to_list() == samples["tokens"].to_list()


@pytest.mark.parametrize("orient", ["rows", "columns"])
def test_no_member_of_an_answer_is_there_twice(client: TestClient, feature_id: int, orient: str) -> None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs), [name for name, _ in pairs]
        return dict(pairs)

    for path in (
        f"/activations/{feature_id}",
        "/features",
        "/tokens",
        "/weapons",
        f"/coactivation/{feature_id}",
    ):
        more = "" if path in ("/tokens", "/weapons") else "&limit=2"
        found = json.loads(client.get(f"{path}?orient={orient}{more}").content, object_pairs_hook=once)
        assert ("data" in found) == (orient == "rows") and isinstance(found.get("columns", {}), dict | list)
    body = {"feature_ids": [feature_id, 0]}
    many = client.post(f"/activations?orient={orient}", json=body)
    json.loads(many.content, object_pairs_hook=once)


def test_every_form_holds_the_same_rows(client: TestClient, feature_id: int) -> None:
    url = f"/activations/{feature_id}?columns=global_index,activation,weapon_id,ability_input_tokens,is_null"
    as_json = pl.DataFrame(client.get(url).json()["data"])
    as_columns = pl.DataFrame(client.get(f"{url}&orient=columns").json()["columns"])
    stream = pl.read_ipc_stream(io.BytesIO(client.get(url, headers={"Accept": STREAM}).content))
    squeezed = client.get(url, headers={"Accept": f'{STREAM}; codecs="zstd"'})
    file = pl.read_ipc(io.BytesIO(client.get(url, headers={"Accept": FILE}).content))
    parquet = pl.read_parquet(io.BytesIO(client.get(f"{url}&format=parquet").content))
    csv = pl.read_csv(io.BytesIO(client.get(f"{url}&format=csv").content))

    assert squeezed.headers["content-type"] == f'{STREAM}; codecs="zstd"'
    for other in (file, parquet, pl.read_ipc_stream(io.BytesIO(squeezed.content))):
        assert other.equals(stream)
    for other in (as_json, as_columns):
        assert other.cast(stream.schema).equals(stream)  # type: ignore[arg-type]
    assert csv["global_index"].to_list() == stream["global_index"].to_list()
    assert csv["ability_input_tokens"][0] == " ".join(map(str, stream["ability_input_tokens"][0]))


def test_the_arrow_route_is_a_stream_and_readable_as_a_file(client: TestClient, store: Store, feature_id: int) -> None:
    answer = client.get(f"/activations/{feature_id}/arrow")

    stream = pa.ipc.open_stream(answer.content).read_all()
    file = pl.read_ipc(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == STREAM
    assert pl.from_arrow(stream).equals(file)  # type: ignore[union-attr]
    facts = {key.decode(): value.decode() for key, value in stream.schema.metadata.items()}
    assert facts["splat.feature_id"] == str(feature_id)
    assert facts["splat.version"] == store.version
    assert facts["splat.n_active"] == answer.headers["x-num-rows"] == str(stream.num_rows)


def test_a_requested_stream_ends_without_a_file_footer(client: TestClient, feature_id: int) -> None:
    answer = client.get(f"/activations/{feature_id}/arrow", headers={"Accept": STREAM})

    assert not answer.content.endswith(b"ARROW1")
    assert pa.ipc.open_stream(answer.content).read_all().num_rows > 0


def test_a_page_follows_the_requested_order(client: TestClient, store: Store, feature_id: int) -> None:
    whole = store.feature(feature_id)
    strongest = np.argsort(-whole.values, kind="stable")

    body = client.get(f"/activations/{feature_id}?order=activation&offset=2&limit=3").json()
    in_order = client.get(f"/activations/{feature_id}?limit=3").json()

    assert [row["global_index"] for row in body["data"]] == whole.sample_ids[strongest[2:5]].tolist()
    assert [row["global_index"] for row in in_order["data"]] == whole.sample_ids[:3].tolist()
    assert body["n_matching"] == whole.n_active


def test_filters_are_applied_before_the_page(client: TestClient, store: Store, feature_id: int) -> None:
    whole = store.feature(feature_id)
    samples = store.take_samples(whole.sample_ids)
    token = int(samples["tokens"].explode().mode()[0])
    has_token = samples["tokens"].list.contains(token).to_numpy()
    weapon = int(samples["weapon_id_token"].filter(has_token).mode()[0])
    has_both = has_token & (samples["weapon_id_token"] == weapon).to_numpy()
    threshold = float(np.median(whole.values[has_both]))
    fits = has_both & (whole.values >= threshold)

    name = store.vocabulary.names([token])[0]
    url = f"/activations/{feature_id}?weapon={weapon}&token={name}&min_activation={threshold}&limit=2"
    body = client.get(url).json()

    assert body["n_matching"] == int(fits.sum()) > 0
    assert [row["global_index"] for row in body["data"]] == whole.sample_ids[fits][:2].tolist()


def test_a_random_share_is_the_same_for_the_same_seed(client: TestClient, feature_id: int) -> None:
    url = f"/activations/{feature_id}?columns=global_index&sample_frac=0.5"

    first, again, other = (client.get(f"{url}&seed={seed}").json()["data"] for seed in (1, 1, 2))

    total = client.get(f"/activations/{feature_id}?limit=0").json()["n_active"]
    assert first == again != other
    assert len(first) == round(total * 0.5)
    assert [row["global_index"] for row in first] == sorted(row["global_index"] for row in first)


def test_what_a_client_has_is_not_sent_again(client: TestClient, feature_id: int) -> None:
    url = f"/activations/{feature_id}?limit=5"
    first = client.get(url)

    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    other_form = client.get(f"{url}&format=arrow", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert other_form.status_code == 200
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["vary"] == "Accept"


def test_a_strong_tag_stands_for_the_same_bytes(client: TestClient, feature_id: int) -> None:
    for form in ("json", "arrow", "arrow-file", "parquet", "csv"):
        first, again = (client.get(f"/activations/{feature_id}?format={form}") for _ in range(2))
        weak = first.headers["etag"].startswith("W/")

        assert first.headers["etag"] == again.headers["etag"]
        assert weak or first.content == again.content
        assert weak == (form == "json"), "JSON says how long it took, as the guide has it"


def test_any_tag_will_not_do_for_what_is_not_there(client: TestClient) -> None:
    assert client.get("/samples/999999", headers={"If-None-Match": "*"}).status_code == 404


def test_several_accept_headers_are_one_list(client: TestClient) -> None:
    answer = client.get("/activations/1", headers=[("Accept", "image/png"), ("Accept", "text/csv")])

    assert answer.headers["content-type"].startswith("text/csv")


_MISSPELT = ["/activations/1?limt=3", "/features?n_active=3", "/runs/small/activations/1?wepon=3", "/version?limit=1"]


@pytest.mark.parametrize("path", _MISSPELT)
def test_a_parameter_that_a_path_does_not_take_is_refused(path: str, client: TestClient) -> None:
    answer = client.get(path)

    assert answer.status_code == 422
    assert answer.json()["parameter"] == path.partition("?")[2].partition("=")[0]
    assert "unknown parameter of" in answer.json()["detail"]


def test_what_is_known_only_of_parameters_holds_for_every_way_to_ask(client: TestClient, store: Store) -> None:
    for prefix in ("", "/runs/small", f"/v/{store.version}", f"/runs/small/v/{store.version}"):
        assert client.get(f"{prefix}/activations/1?limit=3&seed=1").status_code == 200
        assert client.post(f"{prefix}/activations?format=csv", json={"feature_ids": [1]}).status_code == 200
        assert client.head(f"{prefix}/activations/1?limit=3").status_code == 200


def test_removing_every_column_is_refused(client: TestClient) -> None:
    answer = client.get("/activations/1?columns=abilities&include_abilities=false")

    assert (answer.status_code, answer.json()["parameter"]) == (422, "include_abilities")


_MANY_ROWS = [
    "/activations/{feature_id}",
    "/activations/{feature_id}/arrow",
    "/activations/{feature_id}?order=activation&limit=6",
    "/features",
    "/features?limit=50",
    "/samples",
    "/tokens",
    "/weapons",
    "/coactivation/{feature_id}",
]


@pytest.mark.parametrize("path", _MANY_ROWS)
def test_no_response_exceeds_the_row_limit(path: str, finished_root: DataRoot, feature_id: int) -> None:
    few = settings_from_environment().model_copy(update={"max_rows": 5})
    with client_of(None, finished_root, few) as client:
        refused = client.get(path.format(feature_id=feature_id))
        fits = client.get(f"/activations/{feature_id}?limit=5")

    assert refused.status_code == 413
    assert "limited to 5 rows" in refused.json()["detail"]
    assert fits.json()["n_rows"] == 5


def test_the_rows_of_many_features_are_counted_and_not_guessed(finished_root: DataRoot, feature_id: int) -> None:
    few = settings_from_environment().model_copy(update={"max_rows": 5})
    with client_of(None, finished_root, few) as client:
        ask = lambda **more: client.post("/activations", json={"feature_ids": [feature_id, 1], **more}).status_code  # noqa: E731
        found = [ask(), ask(limit=0), ask(min_activation=1e30), ask(limit=2), ask(limit=3)]

    assert found == [413, 200, 200, 200, 413]


def test_a_url_that_names_its_version_may_be_kept_for_ever(client: TestClient, store: Store, feature_id: int) -> None:
    pinned = client.get(f"/v/{store.version}/activations/{feature_id}?limit=2")
    in_run = client.get(f"/runs/small/v/{store.version}/activations/{feature_id}?limit=2")
    gone = client.get(f"/v/0123456789abcdef/activations/{feature_id}")

    behind_a_token = client.get(f"/v/{store.version}/activations/{feature_id}", headers={"Authorization": "Bearer x"})
    assert pinned.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert behind_a_token.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert pinned.json()["data"] == in_run.json()["data"]
    assert gone.status_code == 404
    assert store.version in gone.json()["detail"]


ERRORS = {
    "/activations/96": (404, "features 0 to 95"),
    "/activations/-1": (404, "features 0 to 95"),
    "/activations/99999999999999999999999": (404, "features 0 to 95"),
    "/activations/x": (422, "feature_id"),
    "/activations/1?limit=-1": (422, "limit"),
    "/activations/1?min_activation=nan": (422, "min_activation: must be a finite number"),
    "/activations/1?sample_frac=2": (422, "sample_frac: must be above 0"),
    "/activations/1?columns=nope": (422, "unknown column 'nope'; choose from global_index"),
    "/activations/1?weapon=Spoon": (404, "unknown weapon 'Spoon'"),
    "/activations/1?token=flying": (404, "unknown token 'flying'"),
    "/activations/1?token=99999": (404, "ids are 0 to 139"),
    "/samples/-1": (404, "samples 0 to"),
    "/features?limit=1&sort=beauty": (422, "unknown column 'beauty'"),
    "/features?limit=1&filter=n_active": (422, "is not a condition"),
    "/runs/other/features": (404, "unknown run 'other'; served runs are: small"),
    "/runs/..%2f..%2fetc/features": (404, "not found"),
    "/v/latest/features": (404, "is not a version id"),
    "/nowhere": (404, "this path does not exist"),
}


@pytest.mark.parametrize("path", ERRORS)
def test_what_cannot_be_answered_is_a_problem(path: str, client: TestClient) -> None:
    status, detail = ERRORS[path]

    answer = client.get(path)

    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert detail in answer.text


def test_a_form_that_is_not_there_is_406_and_names_those_that_are(client: TestClient) -> None:
    answer = client.get("/activations/1", headers={"Accept": "image/png"})

    assert answer.status_code == 406
    assert STREAM in answer.json()["types"]


def test_many_features_come_in_one_table(client: TestClient, store: Store) -> None:
    asked = {"feature_ids": [5, 2, 5], "columns": ["global_index", "activation"]}

    body = client.post("/activations", json=asked).json()

    expected = [(i, int(s)) for i in (5, 2) for s in store.feature(i).sample_ids]
    assert [(row["feature_id"], row["global_index"]) for row in body["data"]] == expected
    assert [one["feature_id"] for one in body["features"]] == [5, 2]
    assert client.post("/activations", json={"feature_ids": [5, 9999]}).status_code == 404


def test_the_feature_table_is_sorted_filtered_and_cut_by_the_server(client: TestClient, store: Store) -> None:
    expected = store.features.filter(pl.col("n_active") >= 10).sort("max", descending=True, nulls_last=True)

    body = client.get("/features?filter=n_active>=10&sort=-max&offset=1&limit=3&columns=feature_id,max").json()
    plain = client.get("/features").json()
    arrow = pl.read_ipc_stream(io.BytesIO(client.get("/features?format=arrow").content))

    assert body["total"] == expected.height
    assert body["data"] == expected[1:4].select("feature_id", "max").to_dicts()
    assert plain["feature_ids"] == list(range(96))
    assert client.get("/features?offset=90").json()["feature_ids"] == list(range(90, 96))
    assert client.get("/features?offset=9000").json()["feature_ids"] == []
    assert arrow.drop("effect").equals(store.features)


def test_a_page_on_a_feature_agrees_with_the_tables(client: TestClient, store: Store, feature_id: int) -> None:
    body = client.get(f"/features/{feature_id}").json()

    assert body["statistics"] == store.features.row(feature_id, named=True)
    assert body["histogram"]["counts"] == store.histograms["counts"][feature_id].to_list()
    assert len(body["histogram"]["edges"]) == len(body["histogram"]["counts"]) + 1
    row = np.array(store.influences.row(feature_id, named=True)["influence"])
    idf = store.table("idf")
    occurs = (idf["doc_freq"] > 0).to_numpy()[np.isin(idf["token"].to_numpy(), ["<PAD>", "<NULL>"], invert=True)]
    assert body["influences"]["raised"][0]["value"] == row[occurs].max()
    assert body["influences"]["lowered"][0]["value"] == row[occurs].min()
    nearest = store.neighbours.filter(feature_id=feature_id, kind="jaccard").sort("rank")
    assert [one["feature_id"] for one in body["neighbours"]["jaccard"]] == nearest["other_id"].to_list()
    top = store.examples.filter(feature_id=feature_id, group="top")
    assert [one["global_index"] for one in body["examples"]["top"]] == top["sample_id"].to_list()


def test_what_moves_a_token_is_a_column_of_the_influences(client: TestClient, store: Store) -> None:
    facts = json.loads(pl.read_parquet_metadata(store.folder / "influences.parquet")["splat"])
    at = facts["token_names"].index("swim_speed_up_12")

    by_name = client.get("/tokens/swim_speed_up_12/influences").json()["data"]
    by_id = client.get(f"/tokens/{facts['token_ids'][at]}/influences").json()["data"]

    assert [row["feature_id"] for row in by_name] == list(range(96))
    stored = store.influences["influence"].arr.get(at).to_numpy()
    np.testing.assert_array_equal(np.float32([row["influence"] for row in by_name]), stored)
    assert by_id == by_name
    for nothing, said in (("<NULL>", "is not an output of the model"), ("flying", "unknown token 'flying'")):
        answer = client.get(f"/tokens/{quote(nothing)}/influences")
        assert (answer.status_code, said in answer.json()["detail"]) == (404, True)


def test_a_sample_has_its_build_and_its_features(client: TestClient, store: Store) -> None:
    expected = store.sample(7)

    body = client.get("/samples/7?order=feature").json()

    assert body["features"]["feature_id"] == expected.feature_ids.tolist()
    assert np.array_equal(np.float32(body["features"]["activation"]), expected.values)
    assert body["ability_input_tokens"] == store.take_samples([7])["tokens"][0].to_list()
    assert body["abilities"] == store.vocabulary.names(body["ability_input_tokens"])


def test_features_of_a_token_are_counted_over_all_samples(client: TestClient, store: Store) -> None:
    token = int(store.samples["tokens"].explode().mode()[0])
    has = store.samples["tokens"].list.contains(token).to_numpy()

    name = store.vocabulary.names([token])[0]
    body = client.get(f"/tokens/{name}/features?limit=1000").json()

    assert body["n_set"] == int(has.sum())
    assert len(body["data"]) > 0
    for row in body["data"]:
        fires = store.feature(row["feature_id"]).sample_ids
        n_both = int(has[fires].sum())
        assert (row["n_both"], row["n_active"]) == (n_both, fires.size)
        assert row["lift"] == pytest.approx(n_both / has.sum() / (fires.size / has.size))
        active = np.zeros(has.size)
        active[fires] = 1
        if row["phi"] is not None:
            assert row["phi"] == pytest.approx(np.corrcoef(active, has)[0, 1])


def test_coactivation_counts_both_firing(client: TestClient, store: Store, feature_id: int) -> None:
    own = store.feature(feature_id).sample_ids

    body = client.get(f"/coactivation/{feature_id}?sort=-n_both&limit=4").json()

    assert feature_id not in [row["feature_id"] for row in body["data"]]
    for row in body["data"]:
        assert row["n_both"] == np.intersect1d(own, store.feature(row["feature_id"]).sample_ids).size


def test_a_query_combines_conditions(client: TestClient, store: Store) -> None:
    by_size = store.features.sort("n_active", descending=True)["feature_id"].to_list()
    a, b, c = (store.feature(i) for i in by_size[:3])
    threshold = float(np.median(a.values))
    expected = np.setdiff1d(np.intersect1d(a.sample_ids[a.values >= np.float32(threshold)], b.sample_ids), c.sample_ids)
    asked = {
        "all": [{"feature": by_size[0], "min": threshold}, {"feature": by_size[1]}],
        "none": [{"feature": by_size[2]}],
    }

    body = client.post("/query", json={**asked, "limit": 1000}).json()

    assert expected.size > 0
    assert [row["global_index"] for row in body["data"]] == expected.tolist()
    values = dict(zip(b.sample_ids.tolist(), b.values.tolist(), strict=True))
    assert all(
        np.float32(row[f"feature_{by_size[1]}"]) == np.float32(values[row["global_index"]]) for row in body["data"]
    )


def test_vocabularies_have_the_guides_shape(client: TestClient, store: Store) -> None:
    found, inverse = client.get("/context/vocab").json(), client.get("/context/inv_vocab").json()

    assert found["vocab"] == {token.name: token.id for token in store.vocabulary.tokens}
    assert found["weapon_vocab"] == {item.key: item.id for item in store.contexts.items}
    assert inverse["inv_vocab"]["0"] == store.vocabulary.tokens[0].name


def test_version_states_the_fingerprints(client: TestClient, store: Store) -> None:
    body = client.get("/version").json()

    assert body["version"] == store.version
    assert body["provenance"] == store.manifest.provenance
    assert (body["n_samples"], body["n_features"]) == (store.n_samples, store.n_features)


def test_health_ready_runs_and_metrics(client: TestClient, store: Store) -> None:
    assert client.get("/ready").json()["version"] == store.version

    health = client.get("/health").json()
    counted = client.get("/metrics").text

    assert (health["status"], health["n_features"]) == ("healthy", 96)
    assert client.get("/runs").json() == {"runs": [{"name": "small", "default": True, "version": store.version}]}
    assert 'route="/health"' in counted
    assert not any(f'route="/activations/{i}' in counted for i in range(10))


def test_a_new_version_is_served_without_a_restart(tmp_path: "object", own_root: DataRoot) -> None:
    run = own_root.run("small")
    before = open_store(run.root)
    with client_of("small", own_root) as client:
        first = client.get("/version").json()
        staged = staged_parts(run.root / "other", sparse_random(6, 4, 0.5))

        version = publish(run.store, staged, {"sae": "another"})

        second = client.get("/version").json()
        old = client.get(f"/v/{before.version}/version").json()
    assert (first["version"], second["version"]) == (before.version, version)
    assert (second["n_samples"], old["n_samples"]) == (6, before.n_samples)


def test_while_nothing_is_published_answers_are_503(own_root: DataRoot) -> None:
    (own_root.run("small").store / "CURRENT").unlink()
    with client_of("small", own_root) as client:
        answers = [client.get(path) for path in ("/activations/1", "/ready", "/version")]
        health = client.get("/health")

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert answers[0].headers["retry-after"]
    assert (health.status_code, health.json()["n_features"]) == (200, None)


def _store_is_a_file(run: RunLayout) -> None:
    run.store.write_text("nothing")


def _pointer_is_a_folder(run: RunLayout) -> None:
    (run.store / "CURRENT").mkdir(parents=True)


def _pointer_leads_in_a_circle(run: RunLayout) -> None:
    run.store.mkdir()
    (run.store / "CURRENT").symlink_to("CURRENT")


def _pointer_is_no_id(run: RunLayout) -> None:
    run.store.mkdir()
    (run.store / "CURRENT").write_text("../../elsewhere")


_ODD_RUNS = [_store_is_a_file, _pointer_is_a_folder, _pointer_leads_in_a_circle, _pointer_is_no_id]


@pytest.mark.parametrize("make", _ODD_RUNS, ids=lambda make: make.__name__.strip("_"))
def test_a_run_that_cannot_be_read_is_an_error_of_its_own_paths_alone(
    make: Callable[[RunLayout], None], own_root: DataRoot
) -> None:
    odd = own_root.run("odd")
    odd.root.mkdir()
    odd.config.write_text("")
    make(odd)
    if (odd.store / "CURRENT").is_file():
        os.utime(odd.store / "CURRENT", (1, 1))
    with client_of(None, own_root) as client:
        plain = [client.get(path).status_code for path in ("/health", "/ready", "/activations/1")]
        listed = {run["name"]: run["version"] for run in client.get("/runs").json()["runs"]}
        own = [client.get(f"/runs/odd/{path}") for path in ("version", "v/0123456789abcdef/version")]

    assert plain == [200, 200, 200]
    assert listed["odd"] is None
    assert listed["small"] is not None
    assert {answer.status_code for answer in own} <= {500, 503}
    assert str(odd.store) in own[0].json()["detail"]


def test_a_folder_whose_name_no_run_can_have_is_no_run(own_root: DataRoot) -> None:
    strange = own_root.runs / "not a run"
    shutil.copytree(own_root.run("small").root, strange)
    with client_of(None, own_root) as client:
        served = client.get("/version")
        listed = client.get("/runs").json()["runs"]

    assert served.status_code == 200
    assert [run["name"] for run in listed] == ["small"]


def test_a_pointer_to_a_version_that_is_not_there_is_damage(own_root: DataRoot) -> None:
    pointer = own_root.run("small").store / "CURRENT"
    pointer.write_text("0123456789abcdef\n")
    with client_of(None, own_root) as client:
        answers = [client.get(path) for path in ("/version", "/ready", "/health", "/runs")]

    assert [answer.status_code for answer in answers] == [500, 500, 200, 200]
    assert f"{pointer} names version 0123456789abcdef" in answers[0].json()["detail"]


@pytest.mark.parametrize(
    "path", [f"/runs/{'a' * 101}/version", f"/v/{'0' * 41}/version", f"/runs/small/v/{'0' * 41}/version"]
)
def test_a_name_that_is_too_long_is_the_name_of_nothing(path: str, client: TestClient) -> None:
    assert client.get(path).status_code == 404


def test_damaged_bytes_are_an_error_of_that_feature_alone(own_root: DataRoot, feature_id: int) -> None:
    store = open_store(own_root.run("small").root)
    data = next((store.folder / "activations.zarr" / "X" / "data" / "c").iterdir())
    lo = int(store.reader.by_feature.indptr[feature_id])
    bytes_ = bytearray(data.read_bytes())
    bytes_[4 * lo] ^= 1
    data.chmod(0o644)
    data.unlink()
    data.write_bytes(bytes_)
    other = next(i for i in range(96) if i != feature_id and store.feature(i).n_active)
    with client_of("small", own_root) as client:
        broken, whole = client.get(f"/activations/{feature_id}"), client.get(f"/activations/{other}")

    assert broken.status_code == 500
    assert f"feature {feature_id}" in broken.json()["detail"]
    assert str(data) in broken.json()["detail"]
    assert whole.status_code == 200


def test_a_shard_that_is_cut_short_while_it_is_open_fails_what_lies_beyond(own_root: DataRoot) -> None:
    store = open_store(own_root.run("small").root)
    active = [i for i in range(96) if store.feature(i).n_active]
    shard = next((store.folder / "activations.zarr" / "X" / "data" / "c").iterdir())
    whole = store.feature(active[0]).values.tolist()
    with client_of("small", own_root) as client:
        assert client.get("/ready").status_code == 200
        shard.chmod(0o644)
        with shard.open("r+b") as file:  # the same file that the server has open
            file.truncate(4 * int(store.reader.by_feature.indptr[active[0] + 1]))

        first, last = (client.get(f"/activations/{i}?columns=activation") for i in (active[0], active[-1]))

    assert [np.float32(row["activation"]) for row in first.json()["data"]] == whole
    assert last.status_code == 500
    assert str(shard) in last.json()["detail"]


def test_a_store_that_is_deleted_while_it_is_served_is_503_and_the_server_goes_on(own_root: DataRoot) -> None:
    run = own_root.run("small")
    with client_of("small", own_root) as client:
        before = client.get("/activations/1").status_code
        shutil.rmtree(run.store)

        after, health = client.get("/activations/1"), client.get("/health")

    assert (before, after.status_code, health.status_code) == (200, 503, 200)
    assert "holds no published store" in after.json()["detail"]


def test_files_that_are_deleted_below_an_open_version_are_an_error_where_they_are_needed(own_root: DataRoot) -> None:
    store = open_store(own_root.run("small").root)
    with client_of("small", own_root) as client:
        before = client.get("/activations/1?columns=global_index,activation").json()["data"]
        shutil.rmtree(store.folder)

        kept = client.get("/activations/1?columns=global_index,activation").json()["data"]
        gone = client.get("/features/1")

    assert kept == before
    assert gone.status_code == 500
    assert "no longer exists" in gone.json()["detail"]


def test_neither_dagster_nor_torch_is_imported() -> None:
    code = "import sys, splat_serving.server, splat_serving.http.app; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True)

    modules = json.loads(found.stdout)
    assert not [name for name in modules if name.split(".")[0] in ("dagster", "torch", "numba")]
