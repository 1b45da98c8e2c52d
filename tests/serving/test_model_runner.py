"""The model asked by programs: the same from this machine and through a server, and true to the store and to the weights."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch

from splat_assets.assets.opened import base_model_of, sae_of
from splat_assets.runs import HookRecipe, open_run
from splat_assets.store.errors import FeatureNotFoundError
from splat_assets.store.layout import DataRoot
from splat_serving.database.errors import NotComputedError, ParameterError, UnknownNameError
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.subject import Subject
from splat_serving.model.answers import Edit
from splat_serving.model.live import LiveModel
from splat_serving.model.runner import TokenSet
from splat_serving.model.typed_builds import TypedBuild
from tests.small_run import make_all, new_small_run


@pytest.fixture(scope="module", params=["local", "remote"])
def subject(request: pytest.FixtureRequest, finished_root: DataRoot) -> Iterator[Subject]:
    """The finished run from disk, and from a server of it."""
    from splat_serving.database.catalogue import Catalogue, Target
    from splat_serving.http.app import create_app
    from splat_serving.http.settings import settings_from_environment
    from tests.serving.running import running

    if request.param == "local":
        yield open_subject("small", root=finished_root)
        return
    app = create_app(Catalogue(Target.of(None, finished_root)), settings_from_environment())
    with running(app) as url, open_subject(url) as found:
        yield found


def builds_of(subject: Subject, samples: npt.NDArray[np.integer]) -> list[TokenSet]:
    table = subject.builds
    return [
        TokenSet(int(table.weapons[at]), tuple(table.tokens[table.offsets[at] : table.offsets[at + 1]].tolist()))
        for at in samples.tolist()
    ]


@pytest.fixture(scope="module")
def samples(subject: Subject) -> npt.NDArray[np.integer]:
    """A hundred samples from all over the store."""
    return np.linspace(0, subject.n_samples - 1, 100).astype(int)


def test_activations_are_those_of_the_store(subject: Subject, samples: npt.NDArray[np.integer]) -> None:
    often = subject.database.features().sort("n_active", descending=True)["feature_id"][:5].to_list()

    found = subject.model.activations(builds_of(subject, samples), often)

    assert (found.shape, found.dtype) == ((100, 5), np.float32)
    stored = np.stack([subject.dense(feature)[samples] for feature in often], axis=1)
    np.testing.assert_allclose(found, stored, atol=1e-5)
    assert (stored > 0).any()


def test_more_builds_than_one_question_holds_come_in_order(subject: Subject) -> None:
    ids = np.arange(5_000) % subject.n_samples

    found = subject.model.activations(builds_of(subject, ids), [0])

    np.testing.assert_allclose(found[:, 0], subject.dense(0)[ids], atol=1e-5)


def test_probabilities_are_sigmoids_of_the_model_s_logits(
    subject: Subject, samples: npt.NDArray[np.integer], finished_root: DataRoot
) -> None:
    builds = builds_of(subject, samples[:7])

    found = subject.model.probabilities(builds)

    model = base_model_of(open_run(finished_root, "small"))
    for row, build in zip(found, builds, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([list(build.tokens)]), torch.tensor([[build.weapon_id]]))
        np.testing.assert_allclose(row, torch.sigmoid(logits)[0].numpy(), atol=1e-6)


def test_probabilities_with_features_edited_are_what_an_intervention_gives(
    subject: Subject, samples: npt.NDArray[np.integer], finished_root: DataRoot
) -> None:
    builds = builds_of(subject, samples[:3])
    strongest = subject.model.trace(builds[0], 2).features
    edits = [Edit(strongest[0], "ablate"), Edit(strongest[1], "scale", 3.0), Edit(90, "set", 0.5)]
    model = LiveModel.of_run(finished_root.run("small"))
    typed = [TypedBuild(build.weapon_id, tokens=build.tokens) for build in builds]
    whole = model.intervene(typed, edits, predictions=len(model.vocabulary))

    found = subject.model.probabilities(builds, edits)

    for row, told in zip(found, whole, strict=True):
        for prediction in told.predictions:
            assert row[prediction.token_id] == pytest.approx(prediction.after, abs=1e-6)
    assert not np.allclose(found, subject.model.probabilities(builds))
    with pytest.raises(ParameterError, match="edited twice"):
        subject.model.probabilities(builds, [Edit(1, "ablate"), Edit(1, "ablate")])
    with pytest.raises(FeatureNotFoundError):
        subject.model.probabilities(builds, [Edit(96, "ablate")])


def test_the_empty_build_is_what_the_model_sees_as_null(subject: Subject) -> None:
    null = subject.vocabulary.null_id
    assert null is not None

    empty, named = subject.model.probabilities([TokenSet(0), TokenSet(0, (null,))])

    np.testing.assert_array_equal(empty, named)


def test_effects_are_the_product_of_the_step_with_the_output_layer(
    subject: Subject, samples: npt.NDArray[np.integer], finished_root: DataRoot
) -> None:
    feature = int(subject.database.features()["n_active"].arg_max() or 0)
    firing = subject.feature(feature).sample_ids[:20]

    found = subject.model.effects(builds_of(subject, firing), Edit(feature, "ablate"), n_random=3, matched=[1], seed=4)

    run = open_run(finished_root, "small")
    sae, model = sae_of(run), base_model_of(run)
    step = -subject.feature(feature).values[:20].astype(np.float64)
    row, output = sae.W_dec[feature].numpy().astype(np.float64), model.output_weight.detach().numpy().astype(np.float64)
    np.testing.assert_allclose(found.size, step * np.linalg.norm(row), atol=1e-5)
    np.testing.assert_allclose(found.own, np.outer(step, output @ row), atol=1e-4)
    np.testing.assert_allclose(found.mean_abs[0], np.abs(np.outer(step, output @ row)).mean(axis=1), rtol=1e-3)
    assert (found.kinds, found.ids) == (("feature", "random", "random", "random", "matched"), (feature, -1, -1, -1, 1))
    other = sae.W_dec[1].numpy().astype(np.float64)
    by_other = np.abs(np.outer(found.size, output @ (other / np.linalg.norm(other)))).mean(axis=1)
    np.testing.assert_allclose(found.mean_abs[4], by_other, rtol=1e-3)
    again = subject.model.effects(builds_of(subject, firing), Edit(feature, "ablate"), n_random=3, matched=[1], seed=4)
    np.testing.assert_array_equal(found.mean_abs, again.mean_abs)


def test_an_edit_that_changes_nothing_has_no_effect(subject: Subject) -> None:
    feature = int(subject.database.features()["n_active"].arg_max() or 0)
    builds = builds_of(subject, subject.feature(feature).sample_ids[:5])

    found = subject.model.effects(builds, Edit(feature, "scale", 1.0), n_random=2)

    assert not found.size.any() and not found.mean_abs.any() and not found.kl.any()


def test_contributions_add_up_to_the_logits(subject: Subject) -> None:
    feature = int(subject.database.features()["n_active"].arg_max() or 0)
    (build,) = builds_of(subject, subject.feature(feature).sample_ids[:1])

    found = subject.model.trace(build, top_k=1_000)

    assert found.exact and feature in found.features
    total = found.bias.astype(np.float64) + found.rest + found.contributions.sum(axis=0)
    np.testing.assert_allclose(total, found.logits, atol=1e-4)
    assert list(found.activations) == sorted(found.activations, reverse=True)
    fewer = subject.model.trace(build, top_k=1)
    np.testing.assert_allclose(fewer.contributions, found.contributions[:1], atol=1e-6)


def test_an_invalid_request_is_refused_with_a_reason(subject: Subject) -> None:
    model, one = subject.model, [TokenSet(0, (1, 2))]

    with pytest.raises(FeatureNotFoundError, match="features 0 to 95"):
        model.activations(one, [96])
    with pytest.raises(UnknownNameError, match=r"builds\.0: weapon 9999 does not exist"):
        model.activations([TokenSet(9999)], [0])
    with pytest.raises(UnknownNameError, match=r"builds\.1: token 5000 does not exist"):
        model.probabilities([*one, TokenSet(0, (5000,))])
    with pytest.raises(ParameterError, match="each once"):
        model.probabilities([TokenSet(0, (1, 1))])
    with pytest.raises(ParameterError, match="positions"):
        model.activations(one, [0], positions=[0])


def test_a_store_without_its_run_has_no_model(
    finished_root: DataRoot, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import shutil

    alone = tmp_path_factory.mktemp("alone") / "store"
    shutil.copytree(finished_root.run("small").store, alone)

    found = open_subject(str(alone))

    assert not found.has_model
    with pytest.raises(NotComputedError, match="causal evidence needs base model and SAE: .* is not part of a run"):
        _ = found.model


def test_a_hook_per_token_is_read_at_positions(tmp_path: pytest.TempPathFactory) -> None:
    root = DataRoot(tmp_path)  # type: ignore[arg-type]
    run = new_small_run(root, "per_token", hook=HookRecipe("token_ff", layer_index=0))
    make_all(run)
    subject = open_subject("per_token", root=root)
    feature = int(subject.database.features()["n_active"].arg_max() or 0)
    ids = subject.feature(feature).sample_ids[:50]
    positions = subject.samples["token_position"].to_numpy()[ids]

    found = subject.model.activations(builds_of(subject, ids), [feature], positions.tolist())

    np.testing.assert_allclose(found[:, 0], subject.feature(feature).values[:50], atol=1e-5)
    traced = subject.model.trace(builds_of(subject, ids[:1])[0], top_k=5)
    assert not traced.exact and traced.token_positions is not None
    effects = subject.model.effects(builds_of(subject, ids[:3]), Edit(feature, "ablate"), n_random=2)
    assert effects.mean_abs.shape == (3, 3)
