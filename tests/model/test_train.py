import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from splat_assets.model import load_base_model
from splat_assets.model.epochs import masked_loss, validation_builds
from splat_assets.model.prediction import prediction_metrics
from splat_assets.model.recipe import BaseTrainingRecipe
from splat_assets.model.train import FILES, train_base_model
from splat_assets.store.activations import offsets_of
from splat_assets.store.files import sha256_of_file
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary

_NAMES = ["a", "b", "c", "d", "e", "f", "g", "h", "<NULL>", "<PAD>"]
VOCABULARY = Vocabulary(tuple(Token(i, name, name) for i, name in enumerate(_NAMES)), pad_id=9, null_id=8)
CONTEXTS = Contexts(tuple(Context(i, f"weapon_id_{i}", str(i)) for i in range(3)))

RECIPE = BaseTrainingRecipe(
    embedding_dim=8, hidden_dim=16, num_layers=1, num_heads=2, num_inducing_points=2, epochs=2, batch_size=32
)


def pairs(n: int) -> Builds:
    """Each build is two of the pairs ab, cd, ef, gh: who sees `a` knows `b`, whatever the weapon."""
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.permutation(4)[:2] for _ in range(n)])
    tokens = np.stack([2 * chosen, 2 * chosen + 1], axis=-1).reshape(n, 4)
    return Builds(
        tokens=tokens.reshape(-1).astype(np.int32),
        offsets=offsets_of(np.full(n, 4)),
        weapons=rng.integers(0, 3, n).astype(np.int32),
        split=np.where(np.arange(n) % 5 < 3, 0, np.arange(n) % 5 - 2).astype(np.uint8),
        source_row=np.arange(n, dtype=np.int64),
    )


BUILDS = pairs(300)


class TestTraining:
    def test_it_writes_a_folder_that_loads_as_the_trained_model(self, tmp_path: Path) -> None:
        trained = train_base_model(BUILDS, VOCABULARY, CONTEXTS, RECIPE, tmp_path / "model")

        loaded = load_base_model(tmp_path / "model")
        metrics = json.loads((tmp_path / "model" / "training_metrics.json").read_text())
        assert sorted(path.name for path in (tmp_path / "model").iterdir()) == sorted(FILES)
        assert loaded.fingerprint == trained.model.fingerprint == metrics["fingerprint"]
        assert metrics["inputs"]["builds"] == BUILDS.fingerprint
        assert len(metrics["epochs"]) == 2
        assert json.loads((tmp_path / "model" / "vocab.json").read_text()) == {n: i for i, n in enumerate(_NAMES)}
        assert list(tmp_path.iterdir()) == [tmp_path / "model"]

    def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_model(self, tmp_path: Path) -> None:
        for name, seed in (("one", 0), ("again", 0), ("other", 1)):
            train_base_model(BUILDS, VOCABULARY, CONTEXTS, replace(RECIPE, seed=seed), tmp_path / name)

        def hashes(name: str) -> list[str]:
            return [sha256_of_file(tmp_path / name / file) for file in FILES]

        assert hashes("one") == hashes("again")
        assert hashes("one")[0] != hashes("other")[0]

    def test_training_leaves_the_global_random_state_alone(self, tmp_path: Path) -> None:
        before = torch.random.get_rng_state()

        train_base_model(BUILDS, VOCABULARY, CONTEXTS, replace(RECIPE, epochs=1), tmp_path / "model")

        assert torch.random.get_rng_state().equal(before)

    def test_the_weights_of_the_best_epoch_are_kept_and_patience_ends_it(self, tmp_path: Path) -> None:
        few = pairs(30)  # so few that it soon learns them by heart
        recipe = replace(RECIPE, epochs=60, patience=2, learning_rate=0.03, batch_size=4)

        trained = train_base_model(few, VOCABULARY, CONTEXTS, recipe, tmp_path / "model")

        losses = [epoch.validation_loss for epoch in trained.epochs]
        assert trained.stopped_early and len(losses) == trained.best_epoch + 2 < 60
        assert min(losses) == losses[trained.best_epoch - 1] < losses[-1]
        kept = masked_loss(load_base_model(tmp_path / "model"), validation_builds(few, VOCABULARY, recipe))
        assert kept == pytest.approx(min(losses), rel=1e-5)

    def test_the_learning_rate_rises_and_falls(self, tmp_path: Path) -> None:
        early, late = (
            train_base_model(BUILDS, VOCABULARY, CONTEXTS, replace(RECIPE, warmup_share=share), tmp_path / str(share))
            for share in (0.1, 0.9)
        )

        assert early.epochs[-1].learning_rate < 0.1 * RECIPE.learning_rate
        assert late.epochs[0].learning_rate == pytest.approx(RECIPE.learning_rate * 0.5 / 0.9, rel=0.1)
        assert early.model.fingerprint != late.model.fingerprint

    @pytest.mark.slow
    def test_it_learns_which_abilities_go_together(self, tmp_path: Path) -> None:
        recipe = replace(RECIPE, epochs=30, learning_rate=1e-2, mask_skew=0.0)

        trained = train_base_model(pairs(1_000), VOCABULARY, CONTEXTS, recipe, tmp_path / "model")

        scores = trained.held_out
        assert scores.model.bce < 0.7 * scores.frequency.bce
        assert scores.model.recall > scores.weapon_frequency.recall + 0.2

    def test_builds_that_were_not_split_are_refused(self, tmp_path: Path) -> None:
        unsplit = BUILDS.with_split(np.zeros(300, dtype=np.uint8))

        with pytest.raises(InputError, match="none of the 300 builds is in the validation split"):
            train_base_model(unsplit, VOCABULARY, CONTEXTS, RECIPE, tmp_path / "model")
        assert not list(tmp_path.iterdir())

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("")

        with pytest.raises(InputError, match="holds thesis.tex, which would be lost"):
            train_base_model(BUILDS, VOCABULARY, CONTEXTS, RECIPE, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_training_that_diverges_says_so_and_writes_nothing(self, tmp_path: Path) -> None:
        recipe = replace(RECIPE, learning_rate=1e38, use_layer_norm=False)

        with pytest.raises(InputError, match="learning_rate 1e[+]38 is too high"):
            train_base_model(BUILDS, VOCABULARY, CONTEXTS, recipe, tmp_path / "model")
        assert not list(tmp_path.iterdir())


class TestRecipe:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"epochs": 0}, "epochs must be at least 1"),
            ({"learning_rate": 0.0}, "learning_rate must be above 0"),
            ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
            ({"null_share": 1.5}, "null_share must be within 0 and 1"),
            ({"num_heads": 5}, "num_heads 5 does not divide hidden_dim 64"),
            ({"seed": -1}, "seed"),
        ],
    )
    def test_contradictions_are_refused(self, settings: dict, said: str) -> None:
        with pytest.raises(InputError, match=said):
            BaseTrainingRecipe(**settings)


class Knows:
    """A model that gives the whole answer, or its opposite."""

    def __init__(self, sign: float) -> None:
        self.sign = sign

    def __call__(self, ability_tokens: torch.Tensor, weapon_token: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(ability_tokens), 10), -20.0 * self.sign)
        logits[:, :4] *= -1
        return logits


class TestPrediction:
    def test_a_model_that_knows_everything_scores_full_marks(self) -> None:
        same = Builds(
            tokens=np.tile(np.arange(4, dtype=np.int32), 50),
            offsets=offsets_of(np.full(50, 4)),
            weapons=np.zeros(50, dtype=np.int32),
            split=np.zeros(50, dtype=np.uint8),
            source_row=np.arange(50, dtype=np.int64),
        )

        right = prediction_metrics(Knows(1), same, np.arange(50), VOCABULARY)  # type: ignore[arg-type]
        wrong = prediction_metrics(Knows(-1), same, np.arange(50), VOCABULARY)  # type: ignore[arg-type]

        assert right.n_builds == 50 and right.n_hidden >= 50
        assert (right.model.recall, right.model.f1) == (1.0, 1.0) and right.model.bce < 1e-5
        assert (wrong.model.recall, wrong.model.f1) == (0.0, 0.0) and wrong.model.bce > 10
        assert right.frequency.recall == right.weapon_frequency.recall == 1.0

    def test_the_frequency_of_a_weapon_beats_the_frequency_of_all_where_weapons_differ(self) -> None:
        tokens = np.array([[0, 1, 2], [5, 6, 7]] * 100, dtype=np.int32)
        builds = Builds(
            tokens=tokens.reshape(-1),
            offsets=offsets_of(np.full(200, 3)),
            weapons=np.tile([0, 1], 100).astype(np.int32),
            split=np.repeat([0, 2], 100).astype(np.uint8),
            source_row=np.arange(200, dtype=np.int64),
        )

        scores = prediction_metrics(Knows(1), builds, builds.rows_of("test"), VOCABULARY)  # type: ignore[arg-type]

        assert scores.weapon_frequency.recall == 1.0 > scores.frequency.recall
        assert scores.weapon_frequency.bce < scores.frequency.bce
        entropy = np.log(2) * 6 / 10  # six tokens in half of the builds, four in none
        assert scores.frequency.bce == pytest.approx(entropy, rel=1e-4)

    def test_no_build_to_score_on_is_refused(self) -> None:
        with pytest.raises(InputError, match="builds to score on"):
            prediction_metrics(Knows(1), BUILDS, np.array([], dtype=np.int64), VOCABULARY)  # type: ignore[arg-type]
