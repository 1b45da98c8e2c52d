import numpy as np
import pytest

from splat_assets.sae import SaeRecipe
from splat_assets.sae.training.schedule import Batches, Schedule


@pytest.mark.parametrize(("n_rows", "batch_size"), [(1, 1), (10, 3), (10, 10), (10, 64), (100, 7)])
def test_every_epoch_shows_every_row_once_in_batches_of_at_most_batch_size(n_rows: int, batch_size: int) -> None:
    schedule = Schedule(SaeRecipe(batch_size=batch_size, epochs=3), n_rows)
    rows = np.arange(n_rows) * 2
    batches = Batches(np.arange(2 * n_rows, dtype=np.float32)[:, None], rows, schedule)

    seen = [batches.of_step(step)[:, 0] for step in range(schedule.n_steps)]

    for epoch in range(3):
        of_epoch = seen[epoch * schedule.batches_per_epoch : (epoch + 1) * schedule.batches_per_epoch]
        assert sorted(np.concatenate(of_epoch).tolist()) == rows.tolist()
    assert max(batch.size for batch in seen) <= batch_size
    assert schedule.samples_after(schedule.n_steps - 1) == 3 * n_rows


def test_epochs_are_shuffled_apart_and_seeds_too() -> None:
    schedule = Schedule(SaeRecipe(seed=1), 50)

    assert schedule.epoch_order(0).tolist() != schedule.epoch_order(1).tolist()
    assert schedule.epoch_order(0).tolist() == Schedule(SaeRecipe(seed=1), 50).epoch_order(0).tolist()
    assert schedule.epoch_order(0).tolist() != Schedule(SaeRecipe(seed=2), 50).epoch_order(0).tolist()


def test_the_learning_rate_rises_stays_and_falls() -> None:
    recipe = SaeRecipe(lr=1.0, epochs=100, batch_size=1, lr_warmup_fraction=0.1, lr_decay_fraction=0.5)
    rates = [Schedule(recipe, 1).learning_rate(step) for step in range(100)]

    assert rates[0] == 0.1
    assert rates[9:50] == [1.0] * 41
    assert rates[75] == 0.5
    assert rates[99] == 0.02


def test_the_l1_weight_rises_and_is_0_for_batch_topk() -> None:
    recipe = SaeRecipe(architecture="relu_l1", l1_coeff=2.0, epochs=100, batch_size=1, l1_warmup_fraction=0.1)

    assert [Schedule(recipe, 1).l1_weight(step) for step in (0, 4, 9, 99)] == [0.2, 1.0, 2.0, 2.0]
    assert Schedule(SaeRecipe(), 1).l1_weight(0) == 0.0
