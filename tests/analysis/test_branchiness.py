"""How far the next token turns the rest, against sums written out."""

import math

import numpy as np
import pytest

from splat_assets.analysis.builds.build_space import Situation
from splat_assets.analysis.predictions.branches import axes, branches, branchiness, median_halves
from tests.analysis.predicting import toy_model, toy_space

SUPPORT = (0, 2, 3, 4)


def divergence(p: list[float], q: list[float]) -> float:
    def kl(left: list[float], right: list[float]) -> float:
        return sum(x * math.log2(x / y) for x, y in zip(left, right, strict=True) if x > 0)

    middle = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    return (kl(p, middle) + kl(q, middle)) / 2


@pytest.mark.parametrize("weight", ["p0", "uniform"])
def test_each_quantity_is_its_definition(weight: str) -> None:
    space, model = toy_space(), toy_model(seed=6)
    branch = branches(model, space, [Situation(0, space.empty)])[0]

    found = branchiness(branch, 2, weight)  # type: ignore[arg-type]

    p = model([(0, ())])[0].astype(float)
    total = 0.0
    for at, token in enumerate(SUPPORT):
        q = model([(0, (token,))])[0].astype(float)
        rest = [u for u in SUPPORT if u != token]
        js = divergence([p[u] / sum(p[rest]) for u in rest], [q[u] / sum(q[rest]) for u in rest])
        top = sorted(rest, key=lambda u: -p[u])[:2]
        weights = [p[u] if weight == "p0" else 1.0 for u in top]
        lost = sum(w * max(0.0, p[u] - q[u]) for w, u in zip(weights, top, strict=True)) / sum(weights)
        assert (found.divergence[at], found.suppression[at]) == pytest.approx((js, lost))
        total += p[token] / sum(p[list(SUPPORT)]) * js
    assert found.total == pytest.approx(total)


def test_tokens_that_lead_to_builds_of_their_own_are_a_bit_apart() -> None:
    space, model = toy_space(), toy_model()
    model.bias[:] = 0.0
    model.adds[:] = -40.0
    for left, right in ((0, 2), (3, 4)):  # each pair goes together, and drives out the other
        model.adds[left, right] = model.adds[right, left] = 40.0

    found = branchiness(branches(model, space, [Situation(0, space.empty)])[0])

    third = [1 / 3, 1 / 3, 1 / 3]
    assert found.divergence == pytest.approx(divergence(third, [1.0, 0.0, 0.0]))
    assert 0 < found.total < 1


def test_axes_are_their_definitions() -> None:
    space, model = toy_space(), toy_model(seed=8)

    found = axes(branches(model, space, [Situation(1, space.empty)])[0])

    p = model([(1, ())])[0].astype(float)[list(SUPPORT)]
    shares = p / p.sum()
    assert found.choices == pytest.approx(math.prod(share**-share for share in shares))
    assert found.amplitude == pytest.approx(sum(2 * x * (1 - x) for x in p))
    assert found.budget == pytest.approx(p.sum())


def test_equally_likely_tokens_are_as_many_choices() -> None:
    space, model = toy_space(), toy_model()
    model.bias[:] = -1.0

    assert axes(branches(model, space, [Situation(0, space.empty)])[0]).choices == pytest.approx(4)


def test_halves_are_above_the_median_or_not() -> None:
    assert median_halves([1, 2, 3, 4]).tolist() == [False, False, True, True]
    assert median_halves([1, 2, 9]).tolist() == [False, False, True]
    assert median_halves([np.nan, 1, 2]).tolist() == [False, False, True]
