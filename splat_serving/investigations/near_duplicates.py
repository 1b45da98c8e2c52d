"""Groups of example builds that are nearly the same, so that one of them can stand for all."""

from collections.abc import Mapping, Sequence
from typing import Any

LEAST_JACCARD = 0.8
"""Two builds are nearly the same from this share of common tokens on, if their weapon is the same."""


def group_near_duplicates(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Examples in groups of nearly the same build; the first of each group stands for the others.

    rows: with `weapon_name` and `abilities` (names of tokens, every rung reached). A row belongs to the first group whose first
    row has its weapon and a Jaccard similarity of at least LEAST_JACCARD; groups are in the order of their first rows.
    """
    groups: list[list[Mapping[str, Any]]] = []
    for row in rows:
        own = next((group for group in groups if _alike(group[0], row)), None)
        if own is None:
            groups.append([row])
        else:
            own.append(row)
    return groups


def are_equal(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all examples of a group are the same build: one weapon, the same abilities at the same rungs."""
    builds = {(row.get("weapon_name"), frozenset(row.get("abilities") or ())) for row in rows}
    return len(builds) <= 1


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    left, right = set(one.get("abilities") or ()), set(other.get("abilities") or ())
    return one.get("weapon_name") == other.get("weapon_name") and len(left & right) >= LEAST_JACCARD * len(left | right)
