"""The model run on builds that somebody typed: it must say what the store says, and an edit must do exactly what it is."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from pydantic import BaseModel
from starlette.testclient import TestClient

from splat_assets.assets.opened import base_model_of, sae_of
from splat_assets.model import SplatGPT
from splat_assets.runs import HookRecipe, open_run
from splat_assets.sae import Sae
from splat_assets.store import open_store
from splat_assets.store.errors import FeatureNotFoundError, FingerprintMismatchError
from splat_assets.store.layout import DataRoot, RunLayout
from splat_assets.store.published.publishing import publish
from splat_assets.store.published.version import Store
from splat_serving.database.errors import NotComputedError, ParameterError, UnknownNameError
from splat_serving.http.routes.live import FeaturesAnswer, InterveneAnswer
from splat_serving.http.state import LiveModels
from splat_serving.model.answers import Edit, TopFeatures
from splat_serving.model.live import LiveModel
from splat_serving.model.typed_builds import TypedBuild
from tests.contracts.sources import sparse_random
from tests.serving.conftest import client_of
from tests.small_run import RECIPE, make_all, make_inputs, new_small_run
from tests.store.making import staged_parts

EMPTY = TypedBuild(0, tokens=())
SWIMMER = TypedBuild("weapon_id_40", abilities={"swim_speed_up": 12, "comeback": 10})


@pytest.fixture(scope="module")
def live(finished_root: DataRoot) -> LiveModel:
    return LiveModel.of_run(finished_root.run("small"))


@pytest.fixture(scope="module")
def model(finished_root: DataRoot) -> SplatGPT:
    return base_model_of(open_run(finished_root, "small"))


@pytest.fixture(scope="module")
def sae(finished_root: DataRoot) -> Sae:
    return sae_of(open_run(finished_root, "small"))


@pytest.fixture(scope="module")
def builds(store: Store) -> dict[int, TypedBuild]:
    """Fifty builds of the store by their sample, spread over it."""
    rows = store.samples.filter(kind="build")
    chosen = rows[np.linspace(0, rows.height - 1, 50).astype(int)]
    return {
        sample: TypedBuild(weapon, tuple(tokens))
        for sample, weapon, tokens in chosen.select("global_index", "weapon_id_token", "tokens").rows()
    }


def body_of(build: TypedBuild) -> dict[str, Any]:
    return {"weapon": build.weapon, "tokens": list(build.tokens or ())}


def dense(found: TopFeatures, n_features: int) -> npt.NDArray[np.float32]:
    row = np.zeros(n_features, dtype=np.float32)
    row[list(found.feature_id)] = found.activation
    return row


def logits_of(model: SplatGPT, build: TypedBuild) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        found: npt.NDArray[np.float32] = model(torch.tensor([build.tokens]), torch.tensor([[build.weapon]]))[0].numpy()
    return found


def pooled_of(model: SplatGPT, build: TypedBuild) -> torch.Tensor:
    return model.activations(torch.tensor([build.tokens]), torch.tensor([[build.weapon]])).values


def test_features_of_a_typed_build_are_those_of_the_store(
    client: TestClient, store: Store, builds: dict[int, TypedBuild]
) -> None:
    asked = {"builds": [body_of(build) for build in builds.values()], "top_k": None}

    body = client.post("/live/features", json=asked).json()

    assert body["version"] == store.version
    for sample, found in zip(builds, body["builds"], strict=True):
        stored = store.sample(sample)
        order = np.argsort(found["features"]["feature_id"])
        assert found["n_active"] == stored.feature_ids.size
        assert np.array(found["features"]["feature_id"])[order].tolist() == stored.feature_ids.tolist()
        np.testing.assert_allclose(np.array(found["features"]["activation"])[order], stored.values, rtol=1e-4)
        assert found["build"]["weapon_name"] == store.take_samples([sample])["weapon_name"][0]
        assert found["features"]["token_position"] is None


def test_a_batch_gives_what_its_builds_give_one_by_one(live: LiveModel, builds: dict[int, TypedBuild]) -> None:
    together = live.features([*builds.values(), EMPTY], top_k=None, predictions=200)

    for build, found in zip([*builds.values(), EMPTY], together, strict=True):
        (alone,) = live.features([build], top_k=None, predictions=200)
        assert (alone.build, alone.n_active) == (found.build, found.n_active)
        np.testing.assert_allclose(dense(alone.features, 96), dense(found.features, 96), rtol=1e-4)
        assert alone.reconstruction == pytest.approx(found.reconstruction, rel=1e-3)
        of_token = {one.token: one.logit for one in found.predictions}
        assert {one.token: one.logit for one in alone.predictions} == pytest.approx(of_token, abs=1e-4)


def test_the_same_question_has_the_same_answer(client: TestClient, builds: dict[int, TypedBuild]) -> None:
    asked = {"builds": [body_of(build) for build in builds.values()]}

    first, again = (client.post("/live/features", json=asked) for _ in range(2))

    assert first.content == again.content
    assert first.headers["cache-control"] == "no-store"
    assert "etag" not in first.headers


def test_the_strongest_features_come_first(live: LiveModel, builds: dict[int, TypedBuild]) -> None:
    for whole, cut in zip(live.features([*builds.values()], None), live.features([*builds.values()], 3), strict=True):
        assert list(whole.features.activation) == sorted(whole.features.activation, reverse=True)
        assert cut.features.feature_id == whole.features.feature_id[:3]
        assert cut.n_active == whole.n_active == len(whole.features.feature_id)


def test_a_build_may_be_typed_in_several_ways(live: LiveModel, store: Store) -> None:
    names = ("swim_speed_up_3", "swim_speed_up_6", "swim_speed_up_12", "comeback")
    ids = tuple(store.vocabulary.by_name[name].id for name in names)
    weapon = next(item for item in store.contexts.items if item.key == "weapon_id_40")

    by_ap, by_name, by_id, by_text, mixed = live.features(
        [
            SWIMMER,
            TypedBuild(weapon.name, tokens=names),
            TypedBuild(weapon.id, tokens=ids),
            TypedBuild(str(weapon.id), tokens=tuple(map(str, ids))),
            TypedBuild(weapon.key, tokens=(*names[:2], *ids[2:])),
        ]
    )

    assert by_ap.build.abilities == names
    assert by_ap.build.ability_input_tokens == ids
    assert (by_ap.build.weapon_id, by_ap.build.weapon_name) == (weapon.id, weapon.name)
    assert by_ap.build == by_name.build == by_id.build == by_text.build == mixed.build


def test_a_build_of_nothing_is_the_null_row_of_its_weapon(live: LiveModel, store: Store) -> None:
    sample = int(store.samples.filter(pl.col("is_null"), weapon_id_token=3)["global_index"][0])
    stored = store.sample(sample)

    for build in (TypedBuild(3, tokens=()), TypedBuild(3, abilities={}), TypedBuild(3, abilities={"comeback": 0})):
        (found,) = live.features([build], top_k=None)
        assert found.build.abilities == ("<NULL>",)
        assert sorted(found.features.feature_id) == stored.feature_ids.tolist()
        assert found.of_build == ()


def test_predictions_are_the_base_models_probabilities(
    live: LiveModel, model: SplatGPT, store: Store, builds: dict[int, TypedBuild]
) -> None:
    special = {store.vocabulary.pad_id, store.vocabulary.null_id}

    for build, found in zip(builds.values(), live.features([*builds.values()], predictions=200), strict=True):
        logits = logits_of(model, build)
        missing = {i for i in range(len(logits)) if i not in (build.tokens or ()) and i not in special}
        assert {one.token_id for one in found.predictions} == missing
        assert [one.token_id for one in found.of_build] == list(build.tokens or ())
        probabilities = [one.probability for one in found.predictions]
        assert probabilities == sorted(probabilities, reverse=True)
        for one in (*found.predictions, *found.of_build):
            assert one.token == store.vocabulary.tokens[one.token_id].name
            assert one.logit == pytest.approx(logits[one.token_id], abs=1e-4)
            assert one.probability == pytest.approx(1 / (1 + np.exp(-one.logit)))


def test_reconstruction_is_the_relative_squared_error_of_the_sae(
    live: LiveModel, model: SplatGPT, sae: Sae, builds: dict[int, TypedBuild]
) -> None:
    for build, found in zip(builds.values(), live.features([*builds.values()]), strict=True):
        x = pooled_of(model, build)
        error = float((x - sae.reconstruct(x)).square().sum() / x.square().sum())
        assert found.reconstruction == pytest.approx(error, rel=1e-3)


def firing(live: LiveModel, build: TypedBuild) -> tuple[int, float]:
    """The strongest feature of a build and its activation."""
    features = live.features([build])[0].features
    return features.feature_id[0], features.activation[0]


def silent(live: LiveModel, build: TypedBuild) -> int:
    fires = live.features([build], top_k=None)[0].features.feature_id
    return next(i for i in range(96) if i not in fires)


def test_an_edit_of_nothing_changes_nothing(live: LiveModel, builds: dict[int, TypedBuild]) -> None:
    for build in [*builds.values()][:10]:
        feature, activation = firing(live, build)
        for edits in (
            [],
            [Edit(feature, "scale", 1)],
            [Edit(feature, "set", activation)],
            [Edit(silent(live, build), "ablate")],
        ):
            (found,) = live.intervene([build], edits)
            assert max(abs(one.logit_change) for one in found.predictions) <= 1e-5
            assert found.mean_abs_logit_change <= 1e-5
            assert found.kl_nats <= 1e-9


@pytest.mark.parametrize("keep_error", [True, False])
def test_an_edit_is_decoded_and_put_in_place(
    live: LiveModel, model: SplatGPT, sae: Sae, builds: dict[int, TypedBuild], keep_error: bool
) -> None:
    for build in [*builds.values()][:10]:
        (ablated, value), other = firing(live, build), silent(live, build)
        x = pooled_of(model, build)
        hidden = sae.encode(x)
        error = x - sae.decode(hidden)
        hidden[0, ablated], hidden[0, other] = 0, 2.5
        put = sae.decode(hidden) + (error if keep_error else 0)
        before, after = logits_of(model, build), model.output_layer(put)[0].numpy()

        (found,) = live.intervene(
            [build], [Edit(ablated, "ablate"), Edit(other, "set", 2.5)], keep_error, predictions=200
        )

        assert [(one.feature_id, one.before, one.after) for one in found.edited] == [
            (ablated, pytest.approx(value), 0),
            (other, 0, 2.5),
        ]
        assert found.mean_abs_logit_change == pytest.approx(np.abs(after - before).mean(), rel=1e-3)
        p, q = (1 / (1 + np.exp(-logits.astype(np.float64))) for logits in (before, after))
        kl = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
        assert found.kl_nats == pytest.approx(kl, rel=1e-3)
        changes = [abs(one.logit_change) for one in found.predictions]
        assert changes == sorted(changes, reverse=True)
        assert {one.token_id for one in found.predictions if one.in_build} == set(build.tokens or ())
        for one in found.predictions:
            assert one.logit_change == pytest.approx(after[one.token_id] - before[one.token_id], abs=1e-4)
            assert one.before == pytest.approx(p[one.token_id], abs=1e-5)
            assert one.after == pytest.approx(q[one.token_id], abs=1e-5)


def test_scaling_multiplies_what_fires_on_each_build(client: TestClient, live: LiveModel) -> None:
    feature, activation = firing(live, SWIMMER)
    typed = {"weapon": SWIMMER.weapon, "abilities": SWIMMER.abilities}
    asked = {"builds": [typed, body_of(EMPTY)], "edits": [{"feature": feature, "op": "scale", "value": -0.5}]}

    body = client.post("/live/intervene", json={**asked, "predictions": 4}).json()

    (edited,) = body["builds"][0]["edited"]
    assert edited == {
        "feature_id": feature,
        "token_position": None,
        "before": pytest.approx(activation),
        "after": pytest.approx(-activation / 2),
    }
    assert body["builds"][0]["mean_abs_logit_change"] > 0
    assert [len(one["predictions"]) for one in body["builds"]] == [4, 4]


@pytest.mark.parametrize("route, model", [("features", FeaturesAnswer), ("intervene", InterveneAnswer)])
def test_the_example_of_the_documentation_is_answered_as_documented(
    client: TestClient, route: str, model: type[BaseModel]
) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    (example,) = schemas[f"{route.capitalize()}Body"]["examples"]

    answer = client.post(f"/live/{route}", json=example)

    assert answer.status_code == 200
    assert model.model_validate_json(answer.content).model_dump(mode="json") == answer.json()


def test_the_paths_of_runs_and_versions_answer_too(client: TestClient, store: Store) -> None:
    asked = {"builds": [body_of(EMPTY)]}

    plain, *others = (
        client.post(f"{prefix}/live/features", json=asked)
        for prefix in ("", "/runs/small", f"/v/{store.version}", f"/runs/small/v/{store.version}")
    )

    assert plain.status_code == 200
    for other in others:
        assert other.json() == plain.json()
        assert other.headers["cache-control"] == "no-store"
        assert other.headers["x-store-version"] == store.version


def build(**changes: Any) -> dict[str, Any]:
    return {"builds": [{"weapon": 0, "tokens": []}, {"weapon": 0, **changes}]}


FULL = {"swim_speed_up": 30, "ink_saver_main": 9, "ink_saver_sub": 9, "run_speed_up": 12}
BAD_BUILDS = {
    "unknown token": (build(tokens=["flying"]), 404, "builds.1: unknown token 'flying'"),
    "unknown token id": (build(tokens=[140]), 404, "builds.1: token 140 does not exist: ids are 0 to 139"),
    "unknown weapon": (build(weapon="Spoon", tokens=[]), 404, "builds.1: unknown weapon 'Spoon'; /weapons"),
    "unknown weapon id": (build(weapon=9999, tokens=[]), 404, "weapon 9999 does not exist: ids are 0 to"),
    "token twice": (build(tokens=["comeback", "comeback"]), 422, "builds.1.tokens: comeback occurs twice"),
    "padding": (build(tokens=["comeback", "<PAD>"]), 422, "<PAD> is padding"),
    "null and more": (build(tokens=["comeback", "<NULL>"]), 422, "<NULL> is the empty build"),
    "neither": (build(), 422, "builds.1: a build needs either tokens or abilities"),
    "both": (build(tokens=[], abilities={}), 422, "builds.1: a build needs either tokens or abilities"),
    "unknown ability": (build(abilities={"flying": 3}), 422, "builds.1.abilities: no gear has these AP: 'flying'"),
    "no sum of slots": (build(abilities={"swim_speed_up": 5}), 422, "swim_speed_up cannot have 5 AP"),
    "too much": (build(abilities=FULL), 422, "60 AP is more than the 57 of a full build"),
    "main-only by subs": (build(abilities={"comeback": 3}), 422, "comeback has 3 AP; a main-only ability has 10"),
    "two on one piece": (build(abilities={"comeback": 10, "opening_gambit": 10}), 422, "the head can hold one"),
    "negative": (build(abilities={"swim_speed_up": -3}), 422, "less than none"),
    "no number": (build(abilities={"swim_speed_up": True}), 422, "builds.1.abilities.swim_speed_up"),
    "unknown member": (build(tokens=[], ability=3), 422, "builds.1.ability"),
    "no builds": ({"builds": []}, 422, "at least 1 item"),
    "too many builds": ({"builds": [{"weapon": 0, "tokens": []}] * 257}, 422, "at most 256 items"),
}


@pytest.mark.parametrize("what", BAD_BUILDS)
@pytest.mark.parametrize("route", ["features", "intervene"])
def test_a_build_that_cannot_be_is_a_problem(client: TestClient, route: str, what: str) -> None:
    asked, status, detail = BAD_BUILDS[what]

    answer = client.post(f"/live/{route}", json=asked)

    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text


BAD_EDITS = {
    "outside": ('[{"feature": 96, "op": "ablate"}]', 404, "feature 96 is not in this SAE: it holds features 0 to 95"),
    "negative": ('[{"feature": -1, "op": "ablate"}]', 404, "features 0 to 95"),
    "twice": ('[{"feature": 1, "op": "ablate"}, {"feature": 1, "op": "ablate"}]', 422, "feature 1 is edited twice"),
    "NaN": ('[{"feature": 1, "op": "set", "value": NaN}]', 422, "NaN is not a JSON number"),
    "infinite": ('[{"feature": 1, "op": "scale", "value": 1e999}]', 422, "edits.0.value"),
    "too large": ('[{"feature": 1, "op": "set", "value": 1e30}]', 422, "at most 1,000,000"),
    "unknown op": ('[{"feature": 1, "op": "boil"}]', 422, "edits.0.op: Input should be 'set', 'scale' or 'ablate'"),
    "no value": ('[{"feature": 1, "op": "set"}]', 422, "feature 1: set needs a value"),
    "value too many": ('[{"feature": 1, "op": "ablate", "value": 1}]', 422, "feature 1: ablate takes no value"),
}


@pytest.mark.parametrize("what", BAD_EDITS)
def test_an_edit_that_cannot_be_is_a_problem(client: TestClient, what: str) -> None:
    edits, status, detail = BAD_EDITS[what]
    content = f'{{"builds": [{{"weapon": 0, "tokens": []}}], "edits": {edits}}}'

    answer = client.post("/live/intervene", content=content, headers={"Content-Type": "application/json"})

    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text


def test_python_refuses_what_http_refuses(live: LiveModel) -> None:
    with pytest.raises(ParameterError, match="unknown operation 'boil'; choose from set, scale, ablate"):
        Edit(1, "boil")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="the absolute value must be at most 1,000,000, not nan"):
        Edit(1, "set", float("nan"))
    with pytest.raises(FeatureNotFoundError, match="features 0 to 95"):
        live.intervene([EMPTY], [Edit(96, "ablate")])
    with pytest.raises(UnknownNameError, match=r"builds\.0: unknown token 'flying'"):
        live.features([TypedBuild(0, ("flying",))])
    assert live.features([]) == ()
    assert live.intervene([], []) == ()


def test_what_was_made_from_another_model_or_sae_is_refused(own_root: DataRoot) -> None:
    layout = own_root.run("small")
    stated = open_store(layout.root).manifest.provenance
    staged = staged_parts(layout.root / "other", sparse_random(6, 4, 0.5))

    for name in ("base_model", "sae", "vocabulary", "contexts"):
        publish(layout.store, staged, {**stated, name: "0" * 64})
        with client_of("small", own_root) as client:
            answer = client.post("/live/features", json=build(tokens=[]))
        assert answer.status_code == 500
        assert name in answer.json()["detail"]
        assert "0" * 64 in answer.json()["detail"] and str(stated[name]) in answer.json()["detail"]

    publish(layout.store, staged, {"sae": stated["sae"]})
    with client_of("small", own_root) as client:
        answer = client.post("/live/features", json=build(tokens=[]))
    assert (answer.status_code, "does not record which base_model" in answer.text) == (404, True)


def test_a_changed_or_missing_input_is_named(own_root: DataRoot) -> None:
    layout = own_root.run("small")
    checkpoint = own_root.models / "small" / "model.pth"
    content = checkpoint.read_bytes()

    checkpoint.write_bytes(content + b" ")
    with pytest.raises(
        FingerprintMismatchError, match="base model checkpoint .* is not the file this run was made from"
    ):
        LiveModel.of_run(layout)
    checkpoint.unlink()
    with pytest.raises(
        NotComputedError, match="the model of run small cannot be run: base model checkpoint: file .* does not exist"
    ):
        LiveModel.of_run(layout)
    with client_of("small", own_root) as client:
        gone = client.post("/live/features", json=build(tokens=[]))
        checkpoint.write_bytes(content)
        back = client.post("/live/features", json=build(tokens=[]))

    assert (gone.status_code, gone.json()["title"], back.status_code) == (404, "not computed", 200)


def test_what_is_no_run_says_what_is_needed(finished_root: DataRoot, tmp_path: Path, store: Store) -> None:
    layout = finished_root.run("small")
    shutil.copytree(layout.store, tmp_path / "alone")
    alone, version = tmp_path / "alone", tmp_path / "alone" / "versions" / store.version

    for folder in (alone, version, layout.transposed):
        with client_of(str(folder), finished_root) as client:
            answer = client.post("/live/features", json=build(tokens=[]))
        assert (answer.status_code, answer.json()["title"]) == (404, "not computed")
        assert (
            "not part of a run" in answer.json()["detail"] and "`splat import FOLDER --run" in answer.json()["detail"]
        )
    with pytest.raises(NotComputedError, match="cannot be run: run 'nothing' does not exist"):
        LiveModel.of_run(finished_root.run("nothing"))
    with pytest.raises(NotComputedError, match="a run is a folder of DATA_ROOT/runs"):
        LiveModel.of_run(RunLayout(tmp_path / "alone"))


def test_a_run_served_by_any_of_its_folders_is_a_run(finished_root: DataRoot, store: Store) -> None:
    layout = finished_root.run("small")

    for folder in (layout.root, layout.store, layout.store / "versions" / store.version):
        with client_of(str(folder), finished_root) as client:
            assert client.post("/live/features", json=build(tokens=[])).status_code == 200


def test_a_model_is_loaded_once_and_few_are_kept(finished_root: DataRoot, store: Store) -> None:
    models, layout, provenance = LiveModels(), finished_root.run("small"), store.manifest.provenance

    async def ask(versions: Sequence[str]) -> list[LiveModel]:
        return await asyncio.gather(*(models.run(layout, version, provenance, lambda it: it) for version in versions))

    async def asked() -> list[list[LiveModel]]:
        return [await ask(versions) for versions in ("aaaa", "ba", "c", "ab")]

    (first, *same), (b, a), (_,), (a_again, b_again) = asyncio.run(asked())

    assert all(one is first for one in (*same, a))
    assert a_again is first
    assert b_again is not b


def run_alone(code: str, root: DataRoot) -> dict[str, Any]:
    """What a fresh interpreter prints last, as JSON."""
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "SPLAT_DATA": str(root.path)},
    )
    answer: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return answer


ALONE = """
import json, sys
from starlette.testclient import TestClient
from splat_serving.server import app
def loaded(): return [name for name in ("torch", "dagster", "splat_serving.model.live") if name in sys.modules]
with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
    statuses = [client.get(path).status_code for path in ("/health", "/activations/1", "/openapi.json")]
    before = loaded()
    answer = client.post("/live/features", json={"builds": [{"weapon": 0, "tokens": []}]})
print(json.dumps({"statuses": statuses, "before": before, "after": loaded(), "status": answer.status_code, "text": answer.text}))
"""


def test_torch_is_imported_by_the_first_live_question_and_not_before(finished_root: DataRoot) -> None:
    found = run_alone(ALONE, finished_root)

    assert (found["statuses"], found["before"]) == ([200, 200, 200], [])
    assert (found["status"], found["after"]) == (200, ["torch", "splat_serving.model.live"])


def test_without_torch_the_rest_is_served_and_live_says_what_to_install(finished_root: DataRoot) -> None:
    found = run_alone(f"import sys; sys.modules['torch'] = None\n{ALONE}", finished_root)

    assert (found["statuses"], found["status"]) == ([200, 200, 200], 404)
    assert "pip install 'splatlens[live]'" in found["text"]


@pytest.fixture(scope="module")
def token_run(tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    root = DataRoot(tmp_path_factory.mktemp("per_token"))
    make_inputs(root, n_builds=120)
    run = new_small_run(root, hook=HookRecipe("token_ff"), sae=replace(RECIPE, epochs=2))
    make_all(run)
    return run.layout


@pytest.fixture(scope="module")
def token_live(token_run: RunLayout) -> LiveModel:
    return LiveModel.of_run(token_run, open_store(token_run.root).manifest.provenance)


def test_features_are_those_of_each_token_in_the_store(token_run: RunLayout, token_live: LiveModel) -> None:
    store = open_store(token_run.root)
    rows = store.samples.filter(pl.col("kind") == "build", pl.col("source_row") < 30)
    builds = rows.group_by("source_row", maintain_order=True).agg(pl.first("weapon_id_token", "tokens"), "global_index")
    typed = [TypedBuild(weapon, tuple(tokens)) for _, weapon, tokens, _ in builds.rows()]

    for samples, found in zip(builds["global_index"].to_list(), token_live.features(typed, top_k=None), strict=True):
        expected, given = np.zeros((2, len(samples), 96), dtype=np.float32)
        for position, sample in enumerate(samples):
            stored = store.sample(sample)
            expected[position, stored.feature_ids] = stored.values
        given[list(found.features.token_position or ()), list(found.features.feature_id)] = found.features.activation
        assert found.n_active == np.count_nonzero(expected)
        np.testing.assert_allclose(given, expected, rtol=1e-3, atol=1e-5)


def test_edits_reach_every_token_and_nothing_changes_nothing(token_run: RunLayout, token_live: LiveModel) -> None:
    builds = [SWIMMER, EMPTY]
    feature = token_live.features(builds)[0].features.feature_id[0]

    swimmer, empty = token_live.intervene(builds, [Edit(feature, "scale", 1)])
    ablated, _ = token_live.intervene(builds, [Edit(feature, "ablate")])

    assert [one.token_position for one in swimmer.edited] == [0, 1, 2, 3]
    assert [one.token_position for one in empty.edited] == [0]
    assert swimmer.mean_abs_logit_change == empty.mean_abs_logit_change == 0
    assert {one.after for one in ablated.edited} == {0}
    assert ablated.mean_abs_logit_change > 0


def test_without_the_error_the_reconstruction_of_every_token_is_put_in_place(
    token_run: RunLayout, token_live: LiveModel
) -> None:
    run = open_run(DataRoot(token_run.root.parent.parent), token_run.name)
    model, sae = base_model_of(run), sae_of(run)
    build = token_live.features([SWIMMER])[0].build
    tokens, weapons = torch.tensor([build.ability_input_tokens]), torch.tensor([[build.weapon_id]])
    expected = model.logits_with(tokens, weapons, sae.reconstruct, hook_target="token_ff") - model(tokens, weapons)

    (found,) = token_live.intervene([SWIMMER], [], keep_error=False, predictions=200)

    assert found.mean_abs_logit_change == pytest.approx(float(expected.abs().mean()), rel=1e-3)
    for one in found.predictions:
        assert one.logit_change == pytest.approx(float(expected[0, one.token_id]), abs=1e-4)


@pytest.mark.parametrize("path", ["features", "intervene"])
def test_tokens_that_never_occur_in_the_data_are_marked_and_last(path: str, client: TestClient, store: Store) -> None:
    never = set(store.idf.filter(pl.col("doc_freq") == 0)["ability_input_tokens"].cast(pl.Int64))

    answer = client.post(f"/live/{path}", json={**build(tokens=[]), "predictions": 1_000})

    assert answer.status_code == 200, answer.text
    for found in answer.json()["builds"]:
        marks = [one["in_data"] for one in found["predictions"]]
        assert marks == [one["token_id"] not in never for one in found["predictions"]]
        assert marks == sorted(marks, reverse=True)
        assert not all(marks), "the small run has such tokens"
