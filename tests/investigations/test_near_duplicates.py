"""Builds that are nearly the same are told by the one that comes first."""

from typing import Any

from splat_serving.investigations.near_duplicates import are_equal, group_near_duplicates


def _row(number: int, weapon: str, abilities: str) -> dict[str, Any]:
    return {"global_index": number, "weapon_name": weapon, "abilities": abilities.split()}


def _numbers(rows: list[dict[str, Any]]) -> list[list[int]]:
    return [[row["global_index"] for row in group] for group in group_near_duplicates(rows)]


def test_one_rung_less_of_five_is_nearly_the_same_build() -> None:
    whole, less, other = "a_3 a_6 a_12 b_3 b_6", "a_3 a_6 a_12 b_3", "a_3 a_6 c_3 c_6 c_12"

    result = _numbers([_row(1, "Splattershot", whole), _row(2, "Splattershot", other), _row(3, "Splattershot", less)])

    assert result == [[1, 3], [2]]


def test_another_weapon_is_another_build() -> None:
    assert _numbers([_row(1, "Splattershot", "a_3"), _row(2, "Aerospray MG", "a_3")]) == [[1], [2]]


def test_what_is_like_no_first_row_stands_for_itself() -> None:
    """Each row is held against the first of a group, never against those grouped with it: groups do not drift."""
    rungs = [f"a_{at}" for at in range(10)]
    rows = [_row(at, "Splattershot", " ".join(rungs[: 10 - at])) for at in range(5)]

    assert _numbers(rows) == [[0, 1, 2], [3, 4]]


def test_builds_without_abilities_are_the_same() -> None:
    assert _numbers([_row(1, "Splattershot", ""), _row(2, "Splattershot", "")]) == [[1, 2]]


def test_nothing_is_folded_of_nothing() -> None:
    assert group_near_duplicates([]) == []


def test_three_hundred_equal_builds_are_called_equal_and_one_rung_less_is_not() -> None:
    equal = [_row(at, "Splattershot", "a_3 a_6 b_3 b_6 c_3") for at in range(300)]
    (group,) = group_near_duplicates([*equal, _row(300, "Splattershot", "c_3 b_6 b_3 a_6 a_3")])

    assert len(group) == 301 and are_equal(group)
    (group,) = group_near_duplicates([*equal, _row(300, "Splattershot", "a_3 a_6 b_3 b_6")])
    assert len(group) == 301 and not are_equal(group)
