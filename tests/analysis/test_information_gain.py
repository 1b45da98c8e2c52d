"""What one more token tells, against sums written out."""

import math

import numpy as np
import pytest

from splat_assets.analysis.builds.build_space import Situation, StackPolicy
from splat_assets.analysis.predictions.branches import branches
from splat_assets.analysis.predictions.information_gain import deeper, discount, information_gain, learned_from
from tests.analysis.predicting import toy_model, toy_space

SUPPORTS: dict[StackPolicy, tuple[int, ...]] = {
    "none": (0, 1, 2, 3, 4),
    "next-tier": (0, 2, 3, 4),
    "max-tier": (1, 2, 3, 4),
}
HOLDS = {0: {0}, 1: {0, 1}, 2: {2}, 3: {3}, 4: {4}}
"""What a toy set has once a token is added to the empty one."""


def entropy_of(weights: list[float], base: float = 2.0) -> float:
    return -sum(w / sum(weights) * math.log(w / sum(weights), base) for w in weights)


@pytest.mark.parametrize("policy", SUPPORTS)
def test_each_quantity_is_its_definition(policy: StackPolicy) -> None:
    space, model = toy_space(), toy_model(seed=1)
    branch = branches(model, space, [Situation(2, space.empty)], policy)[0]

    found = information_gain(branch)

    p = model([(2, ())])[0].astype(float)
    support = SUPPORTS[policy]
    choice = {token: p[token] / sum(p[other] for other in support) for token in support}
    total = 0.0
    for at, token in enumerate(support):
        q = model([(2, tuple(sorted(HOLDS[token])))])[0].astype(float)
        rest = [other for other in support if other not in HOLDS[token]]
        before, after = entropy_of([p[u] for u in rest]), entropy_of([q[u] for u in rest])
        kl = sum(q[u] * math.log2(q[u] / p[u]) + (1 - q[u]) * math.log2((1 - q[u]) / (1 - p[u])) for u in rest)
        assert (found.before[at], found.after[at]) == pytest.approx((before, after))
        assert found.learned[at] == pytest.approx(kl)
        total += choice[token] * (before - after)
    assert branch.choice.tolist() == pytest.approx(list(choice.values()))
    assert (found.h0, found.total) == pytest.approx((entropy_of(list(choice.values())), total))


def test_a_token_that_moves_nothing_tells_nothing() -> None:
    space, model = toy_space(), toy_model(seed=1)
    model.adds[:] = 0.0

    found = information_gain(branches(model, space, [Situation(0, space.empty)])[0])

    assert found.learned == pytest.approx(0, abs=1e-12)
    assert found.gain == pytest.approx(0, abs=1e-12)


def test_another_base_changes_the_unit_alone() -> None:
    space = toy_space()
    branch = branches(toy_model(seed=1), space, [Situation(0, space.empty)])[0]

    bits, nats = information_gain(branch), information_gain(branch, math.e)

    assert (nats.h0, nats.total) == pytest.approx((bits.h0 * math.log(2), bits.total * math.log(2)))
    assert nats.learned == pytest.approx(bits.learned * math.log(2))


def test_a_full_build_has_no_gain_that_is_known() -> None:
    space = toy_space()
    full = space.rungs([1, 2, 3, 4])

    empty, last = branches(toy_model(), space, [Situation(0, full), Situation(0, space.without(full, 4))])

    assert math.isnan(information_gain(empty).total)
    assert information_gain(last).total == information_gain(last).h0 == 0


def test_a_token_of_the_set_is_held_against_the_set_without_it() -> None:
    space, model = toy_space(), toy_model(seed=4)
    worn = Situation(1, space.rungs([1, 3]))
    branch = branches(model, space, [worn])[0]

    probability, learned = learned_from(model, space, worn, [0, 3], branch)

    after = model([(1, (0, 1, 3))])[0].astype(float)
    for at, (token, without) in enumerate([(0, (3,)), (3, (0, 1))]):
        q = model([(1, without)])[0].astype(float)
        kl = sum(
            after[u] * math.log2(after[u] / q[u]) + (1 - after[u]) * math.log2((1 - after[u]) / (1 - q[u]))
            for u in (2, 4)
        )
        assert (probability[at], learned[at]) == pytest.approx((q[token], kl))


def test_the_discount_is_a_power_of_the_depth() -> None:
    assert discount(0) == discount(1) == 1
    assert discount(8, 0.5, "log2") == pytest.approx(1 / 8)
    assert discount(100, 0.9, "log10") == pytest.approx(0.81)
    assert discount(20, 0.95, "ln") == pytest.approx(20 ** math.log(0.95))


def test_depth_counts_the_token_and_all_that_follows() -> None:
    space, model = toy_space(), toy_model(seed=2, bias=0.3)
    branch = branches(model, space, [Situation(0, space.empty)])[0]

    added, _ = deeper(model, space, [branch], 0.6)[0]

    for token, more in zip(branch.support.tolist(), added.tolist(), strict=True):
        worn = {token}
        while True:
            row = model([(0, tuple(sorted(worn)))])[0]
            left = [other for other in range(5) if other not in worn and row[other] >= np.float32(0.6)]
            if not left:
                break
            likeliest = max(left, key=lambda other: row[other])
            worn |= HOLDS[likeliest]
        assert more == len(worn)
    assert set(added.tolist()) != {1.0}
