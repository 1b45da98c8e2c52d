"""Where rules hold is what reading each build's tokens by their names gives."""

import random
from pathlib import Path

import numpy as np

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.rules.library import RuleLibrary
from splat_assets.domain.concepts import NAME, All, AnyOf, Not, Rule, WeaponIs, Wears
from tests.analysis.demo_builds import demo_builds


def holds_on(rule: Rule, build: list[str], weapon: str, attributes: dict[str, str]) -> bool:
    """Whether the rule holds on one build, from the names of its tokens: `swim_speed_up_21`, `ninja_squid`."""
    if isinstance(rule, All):
        return all(holds_on(part, build, weapon, attributes) for part in rule.rules)
    if isinstance(rule, AnyOf):
        return any(holds_on(part, build, weapon, attributes) for part in rule.rules)
    if isinstance(rule, Not):
        return not holds_on(rule.rule, build, weapon, attributes)
    if isinstance(rule, WeaponIs):
        return (weapon if rule.attribute == NAME else attributes.get(rule.attribute)) in rule.one_of
    rungs = [name.removeprefix(rule.ability).lstrip("_") for name in build if name.startswith(rule.ability)]
    return any(rule.at_least is None or int(rung) >= rule.at_least for rung in rungs)


def random_rule(conditions: list[Rule], draw: random.Random, depth: int = 2) -> Rule:
    if depth == 0 or draw.random() < 0.3:
        return draw.choice(conditions)
    parts = tuple(random_rule(conditions, draw, depth - 1) for _ in range(draw.randint(2, 3)))
    joined: list[Rule] = [All(parts), AnyOf(parts), Not(parts[0])]
    return draw.choice(joined)


def test_a_rule_holds_on_the_builds_whose_tokens_say_so(tmp_path: Path) -> None:
    table: BuildTable = demo_builds(tmp_path, seed=0)
    conditions = [condition.rule for condition in RuleLibrary(table).conditions]
    assert {type(rule) for rule in conditions} >= {Wears, WeaponIs}
    draw, chosen = random.Random(0), random.Random(1).sample(range(table.n_samples), 300)
    builds = [table.vocabulary.names(table.tokens[table.offsets[at] : table.offsets[at + 1]]) for at in chosen]
    weapons = [table.contexts.items[table.weapons[at]] for at in chosen]

    n_held = 0
    for rule in [*conditions, *(random_rule(conditions, draw) for _ in range(200))]:
        read = [
            holds_on(rule, list(build), weapon.name, dict(weapon.attributes))
            for build, weapon in zip(builds, weapons, strict=True)
        ]
        assert np.flatnonzero(table.holds(rule)[chosen]).tolist() == np.flatnonzero(read).tolist(), rule
        n_held += sum(read)

    assert n_held > 1_000
