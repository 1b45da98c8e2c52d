from collections import Counter

import numpy as np
import pytest

from splat_assets.analysis.examples import GROUPS, ExampleCounts, draw_examples, draw_inactive, strongest
from splat_assets.analysis.statistics import BANDS, band_numbers, effective_max
from splat_assets.store.activations import Activations


def activations(values: dict[int, float]) -> Activations:
    ids = np.array(sorted(values), dtype=np.int32)
    return Activations(ids, np.array([values[int(i)] for i in ids], dtype=np.float32))


def many(n: int, n_samples: int, seed: int = 0) -> Activations:
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(n_samples, n, replace=False)).astype(np.int32)
    return Activations(ids, rng.gamma(1.0, 1.0, n).astype(np.float32) + np.float32(1e-4))


def test_the_strongest_come_first_and_equal_ones_in_sample_order() -> None:
    found = activations({2: 1.0, 4: 5.0, 5: 3.0, 7: 3.0, 9: 3.0})

    assert found.sample_ids[strongest(found, 3)].tolist() == [4, 5, 7]
    assert found.sample_ids[strongest(found, 99)].tolist() == [4, 5, 7, 9, 2]
    assert strongest(found, 0).size == 0


def test_every_example_of_a_band_lies_in_it_and_none_stands_twice() -> None:
    found = many(4000, 10_000)
    border = effective_max(found.values)

    groups = {group.name: group for group in draw_examples(found, 10_000, ExampleCounts(n_per_band=25), 1, 2)}

    for number, band in enumerate(BANDS):
        group = groups[f"band_{band.name}"]
        assert set(band_numbers(group.values, border)) == {number}
        assert len(set(group.sample_ids.tolist())) == group.sample_ids.size == 25


def test_every_group_shows_true_activations_best_first() -> None:
    found = many(3000, 10_000)
    dense = np.zeros(10_000, dtype=np.float32)
    dense[found.sample_ids] = found.values

    groups = list(draw_examples(found, 10_000, ExampleCounts(), 3, 4))

    assert [group.name for group in groups] == list(GROUPS)
    for group in groups:
        assert dense[group.sample_ids].tolist() == group.values.tolist()
        assert np.diff(group.values).max(initial=0) <= 0
    assert (groups[-1].values == 0).all()


def test_a_feature_that_never_fires_has_only_inactive_examples() -> None:
    groups = list(draw_examples(activations({}), 5, ExampleCounts(n_random=10), 0, 0))

    assert [(group.name, group.sample_ids.tolist()) for group in groups] == [("random_inactive", [0, 1, 2, 3, 4])]


def test_a_feature_that_always_fires_has_no_inactive_examples() -> None:
    groups = list(draw_examples(activations({0: 1.0, 1: 2.0}), 2, ExampleCounts(), 0, 0))

    assert "random_inactive" not in [group.name for group in groups]
    assert groups[0].sample_ids.tolist() == [1, 0]


def test_draws_depend_on_seed_and_feature_alone() -> None:
    found = many(500, 2000)

    def drawn(seed: int, feature_id: int) -> list[list[int]]:
        return [group.sample_ids.tolist() for group in draw_examples(found, 2000, ExampleCounts(), seed, feature_id)]

    first = drawn(7, 3)
    drawn(7, 4)
    assert drawn(7, 3) == first
    assert drawn(8, 3) != first
    assert drawn(7, 4) != first


def test_inactive_examples_are_uniform_over_the_samples_without_the_feature() -> None:
    found = activations({0: 1.0, 3: 1.0, 4: 1.0, 9: 1.0})
    rng = np.random.default_rng(0)

    counted = Counter(int(i) for _ in range(3000) for i in draw_inactive(found, 10, 2, rng))

    assert sorted(counted) == [1, 2, 5, 6, 7, 8]
    assert max(counted.values()) < 1.15 * min(counted.values())


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        ExampleCounts(n_top=-1)
