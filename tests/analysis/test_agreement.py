"""Krippendorff's alpha against his own example and against what it must be."""

import random

import pytest

from splat_assets.analysis.inference.similarity import Agreement, agreement

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), C: four observers, twelve units, nominal alpha = 0.743.
_OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def test_the_published_example() -> None:
    units = [
        [value for value in unit if value != "."] for unit in zip(*(row.split() for row in _OBSERVERS), strict=True)
    ]

    found = agreement(units)

    assert found.alpha == pytest.approx(0.743, abs=0.0005)
    assert found.n == 11


def test_all_alike_and_at_random() -> None:
    assert agreement([["a", "a"], ["b", "b", "b"], ["a"]]) == Agreement(2, 2, 1.0)
    assert agreement([["a", "a"], ["a", "a"]]) == Agreement(2, 2, None)
    assert agreement([]) == Agreement(0, 0, None)
    rng = random.Random(0)
    chance = agreement([[rng.choice("abc"), rng.choice("abc")] for _ in range(5_000)])
    assert chance.alpha == pytest.approx(0, abs=0.03)
