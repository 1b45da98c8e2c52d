import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.data.splits import group_hashes, refuse_too_few, split_builds
from splat_assets.errors import InputError
from tests.data.making import builds_of

SETS = st.lists(
    st.tuples(st.lists(st.integers(0, 8), min_size=1, max_size=4, unique=True), st.integers(0, 2)),
    min_size=1,
    max_size=60,
)
MANY = builds_of(*(([i % 97, 100 + i // 97], i % 3) for i in range(9_000)))


@given(SETS, st.integers(0, 5))
def test_equal_builds_never_stand_on_both_sides(sets: list[tuple[list[int], int]], seed: int) -> None:
    split = split_builds(builds_of(*sets), seed, validation=0.3, test=0.3).split

    places: dict[object, set[int]] = {}
    for (tokens, weapon), part in zip(sets, split.tolist(), strict=True):
        places.setdefault((frozenset(tokens), weapon), set()).add(part)
    assert all(len(parts) == 1 for parts in places.values())
    if len(places) >= 3:
        assert set(split.tolist()) == {0, 1, 2}


def test_the_order_of_rows_and_of_tokens_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(MANY.n_builds)
    turned = builds_of(*((MANY.tokens_of(i)[::-1].tolist(), int(MANY.weapons[i])) for i in order))

    np.testing.assert_array_equal(split_builds(turned, 7).split, split_builds(MANY, 7).split[order])


def test_a_build_keeps_its_split_when_the_dataset_grows() -> None:
    half = MANY.take(np.arange(0, MANY.n_builds, 2))

    np.testing.assert_array_equal(split_builds(half, 7).split, split_builds(MANY, 7).split[::2])


def test_shares_are_about_as_requested_and_the_rest_trains() -> None:
    shares = np.bincount(split_builds(MANY, 0, validation=0.1, test=0.2).split) / MANY.n_builds

    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.02)


def test_another_seed_is_another_split() -> None:
    assert (split_builds(MANY, 0).split != split_builds(MANY, 1).split).mean() > 0.2


def test_the_split_of_a_seed_is_the_same_on_every_machine() -> None:
    assert group_hashes(builds_of(([3, 5], 1), ([5, 3], 1), ([3, 5], 2)), 0).tolist() == [
        17177987979036465111,
        17177987979036465111,
        14386546211053222986,
    ]


def test_the_weapon_and_every_token_count() -> None:
    sets = [([1], 0), ([1], 1), ([2], 0), ([1, 2], 0), ([1, 3], 0), ([2, 3], 0), ([0], 1), ([0, 1], 0)]

    assert np.unique(group_hashes(builds_of(*sets), 0)).size == len(sets)


def test_no_share_means_no_builds_there() -> None:
    assert set(split_builds(MANY, 0, validation=0.0, test=0.0).split.tolist()) == {0}
    assert set(split_builds(MANY, 0, validation=0.0, test=0.5).split.tolist()) == {0, 2}


def test_one_build_trains() -> None:
    for seed in range(20):
        assert split_builds(builds_of(([1], 0)), seed, validation=0.4, test=0.4).split.tolist() == [0]


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.1), (0.1, 1.0), (float("nan"), 0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(validation: float, test: float) -> None:
    with pytest.raises(InputError, match="split shares must be"):
        split_builds(MANY, 0, validation=validation, test=test)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([([1, 2], 0)] * 300, "all 300 builds are equal: an SAE needs 3 different ones"),
        ([([1, 2], 0), ([2, 1], 0), ([1, 2], 1)], "of 3 builds, 2 are different"),
        ([([1], 0)], "there is 1 build"),
    ],
)
def test_builds_that_are_equal_are_called_equal(sets: list[tuple[list[int], int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        refuse_too_few(builds_of(*sets))

    refuse_too_few(builds_of(*sets, ([5], 0), ([6], 0), ([7], 0)))
