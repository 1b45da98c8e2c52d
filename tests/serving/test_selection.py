from typing import Any

import numpy as np
import pytest

from splat_serving.database.errors import ParameterError
from splat_serving.database.selection import Selection, matching_values, page

VALUES = np.array([0.7, 0.1, 0.3, 0.7, 2.5], dtype=np.float32)


@pytest.mark.parametrize("bound", [0.7, np.float64(0.7), np.float32(0.7)])
def test_a_bound_fits_the_value_that_is_written_alike(bound: float) -> None:
    kept = matching_values(Selection(min_activation=bound), VALUES)

    assert kept is not None
    assert kept.tolist() == [True, False, False, True, True]


@pytest.mark.parametrize(("least", "n"), [(1e300, 0), (-1e300, 5)])
def test_a_bound_beyond_float32_is_no_fault(least: float, n: int) -> None:
    kept = matching_values(Selection(min_activation=least), VALUES)

    assert kept is not None
    assert kept.sum() == n


def test_both_bounds_hold_together() -> None:
    kept = matching_values(Selection(min_activation=0.2, max_activation=0.7), VALUES)

    assert kept is not None
    assert kept.tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 9, None])
@pytest.mark.parametrize("offset", [0, 1, 4, 7])
def test_the_strongest_come_first_and_equal_ones_in_sample_order(limit: int | None, offset: int) -> None:
    found = page(Selection(order="activation", offset=offset, limit=limit), VALUES, 0)

    stop = None if limit is None else offset + limit
    assert np.arange(5)[found].tolist() == [4, 0, 3, 2, 1][offset:stop]


def test_the_strongest_of_many_are_those_of_a_full_sort() -> None:
    values = np.random.default_rng(0).integers(0, 50, 2_000).astype(np.float32)

    found = page(Selection(order="activation", limit=40), values, 0)

    assert np.arange(2_000)[found].tolist() == np.argsort(-values, kind="stable")[:40].tolist()


def test_each_feature_has_a_draw_of_its_own() -> None:
    values = np.ones(1_000, dtype=np.float32)

    first, other = (np.arange(1_000)[page(Selection(sample_frac=0.1, seed=3), values, i)].tolist() for i in (1, 2))

    assert len(first) == len(other) == 100
    assert first != other


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"min_activation": float("nan")}, "min_activation"),
        ({"max_activation": float("inf")}, "max_activation"),
        ({"sample_frac": 0.0}, "sample_frac"),
        ({"sample_frac": 1.5}, "sample_frac"),
        ({"limit": -1}, "limit"),
        ({"offset": -1}, "offset"),
        ({"seed": -1}, "seed"),
        ({"order": "beauty"}, "order"),
        ({"limit": 3.7}, "limit"),
        ({"limit": 2**53 + 1}, "limit"),
        ({"offset": "1"}, "offset"),
        ({"seed": 1.0}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"min_activation": "much"}, "min_activation"),
        ({"max_activation": 10**400}, "max_activation"),
        ({"weapon": "12"}, "weapon"),
        ({"weapon": None}, "weapon"),
        ({"weapon": {"12": 1}}, "weapon"),
        ({"token": iter(("12",))}, "token"),
        ({"token": (12,)}, "token"),
        ({"token": ("\udcff",)}, "token"),
    ],
)
def test_what_means_nothing_is_refused_by_name(changes: dict[str, Any], parameter: str) -> None:
    with pytest.raises(ParameterError, match=parameter) as caught:
        Selection(**changes)

    assert caught.value.parameter == parameter


def test_whole_numbers_of_numpy_and_lists_of_names_are_fine() -> None:
    chosen = Selection(limit=np.int64(3), seed=np.uint64(2**63 - 1), weapon=["12"])  # type: ignore[arg-type]

    assert chosen.limit == 3
