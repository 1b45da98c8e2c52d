import json
from pathlib import Path

import numpy as np
import pytest

from splat_assets.assets.opened import base_activations_of, base_model_of, hook_of, items_of, sae_of
from splat_assets.compute.fit import SCORECARD, SampleSplits, fidelity_items, mismatched_figures, write_scorecard
from splat_assets.compute.harvest import BaseActivations
from splat_assets.compute.items import BUILD, MASKED, Items, make_items
from splat_assets.errors import InputError
from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot
from splat_assets.text.progress import SilentProgress
from tests.data.making import CONTEXTS, VOCABULARY, builds_of


def split_items(*splits: int) -> Items:
    builds = builds_of(*[([i, 20 + i], 0) for i in range(len(splits))]).with_split(np.array(splits, dtype=np.uint8))
    return make_items(builds, VOCABULARY, CONTEXTS, 0, 0)


def test_nulls_train_and_each_build_goes_where_its_split_says() -> None:
    splits = SampleSplits.of(split_items(0, 1, 2, 0), per_token=False)

    assert splits.train.tolist() == [0, 3, 4, 5]
    assert (splits.validation.tolist(), splits.test.tolist()) == ([1], [2])


def test_all_tokens_of_a_build_are_in_its_split() -> None:
    splits = SampleSplits.of(split_items(0, 1, 2), per_token=True)

    assert splits.train.tolist() == [0, 1, 6, 7]
    assert (splits.validation.tolist(), splits.test.tolist()) == ([2, 3], [4, 5])


@pytest.mark.parametrize("splits", [(0, 0), (0, 1), (0, 2)])
def test_without_builds_to_judge_by_there_is_no_sae(splits: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="use more builds or larger shares"):
        SampleSplits.of(split_items(*splits), per_token=False)


def test_fidelity_is_measured_on_builds_spread_over_the_whole_test_split() -> None:
    split = np.tile(np.array([0, 1, 2], dtype=np.uint8), 8000)
    kind = np.repeat(np.array([BUILD, MASKED], dtype=np.uint8), 12_000)
    items = Items(builds_of(*[([3, 4], 0)] * split.size).with_split(split), kind)

    measured = fidelity_items(items)

    assert measured.size == np.unique(measured).size == 4096
    assert items.builds.split[measured].tolist() == [2] * 4096
    assert measured.max() > 0.99 * split.size
    assert np.count_nonzero(items.kind[measured] == MASKED) == 2048


@pytest.fixture(scope="module")
def run(finished_root: DataRoot) -> Run:
    return open_run(finished_root, "small")


@pytest.fixture(scope="module")
def items(run: Run) -> Items:
    return items_of(run)


@pytest.fixture(scope="module")
def base(run: Run, items: Items) -> BaseActivations:
    return base_activations_of(run, items, SilentProgress())


def test_a_scorecard_says_on_how_many_samples_each_figure_was_measured(
    run: Run, items: Items, base: BaseActivations, tmp_path: Path
) -> None:
    splits = SampleSplits.of(items, per_token=False)

    card = write_scorecard(sae_of(run), items, base, hook_of(run), base_model_of(run), splits, tmp_path, {"k": 1})

    assert json.loads((tmp_path / SCORECARD).read_text()) == card
    assert (card["n_train_samples"], card["n_test_samples"]) == (splits.train.size, splits.test.size)
    assert card["n_fidelity_builds"] == splits.test.size
    assert (card["d_in"], card["d_sae"], card["training"]) == (16, 96, {"k": 1})
    assert 0 <= card["fvu"] < 0.5 < card["fidelity"] <= 1
    stored = json.loads((run.layout.sae / SCORECARD).read_text())
    figures = [name for name, value in card.items() if isinstance(value, float)]
    assert [stored[name] for name in figures] == pytest.approx([card[name] for name in figures], rel=1e-4)


def test_figures_that_are_not_true_are_named(run: Run, items: Items, base: BaseActivations) -> None:
    card = json.loads((run.layout.sae / SCORECARD).read_text())
    sae, model = sae_of(run), base_model_of(run)

    assert mismatched_figures(card, sae, items, base, hook_of(run), model) == []
    assert mismatched_figures({**card, "fidelity": None}, sae, items, base, hook_of(run), model) == ["fidelity"]
    forged = {**card, "fvu": card["fvu"] * 0.9, "bce_sae": 0.0}
    del forged["cosine"]
    for name in ("dead_percent", "dense_percent", "gamma", "n_train_samples", "n_test_samples"):
        assert mismatched_figures({**card, name: card[name] + 1}, sae, items, base, hook_of(run), model) == [name]
    training = {**card["training"], "held_out": {**card["training"]["held_out"], "l0_mean": 8.5}}
    wrong = mismatched_figures({**card, "training": training}, sae, items, base, hook_of(run), model)
    assert wrong == ["training.held_out.l0_mean"]
    assert mismatched_figures(forged, sae, items, base, hook_of(run), model) == ["fvu", "cosine", "bce_sae"]
