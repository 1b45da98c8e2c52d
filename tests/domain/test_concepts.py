from typing import Any

import numpy as np
import pytest

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.domain.concepts import All, AnyOf, Not, Rule, WeaponIs, Wears, leaves, parse_rule
from splat_assets.domain.tokens import parse_token
from splat_assets.errors import InputError
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary

NAMES = ["swim_speed_up_3", "swim_speed_up_6", "swim_speed_up_12", "run_speed_up_3", "haunt", "<NULL>", "<PAD>"]
VOCABULARY = Vocabulary(tuple(Token(i, name, *parse_token(name)) for i, name in enumerate(NAMES)), pad_id=6, null_id=5)
CONTEXTS = Contexts(
    (
        Context(0, "a", "A", {"class": "charger", "sub": "Splat Bomb"}),
        Context(1, "b", "B", {"class": "roller", "sub": "Splat Bomb"}),
        Context(2, "weapon_id_9", "weapon_id_9"),
    )
)


SETS = BuildTable(
    tokens=np.array([0, 1, 2, 4, 0, 1, 3, 5, 2], dtype=np.int32),
    offsets=np.array([0, 4, 7, 8, 9]),  # swim 12 + haunt | swim 6 + run 3 | null | swim 12 without lower rungs
    weapons=np.array([0, 1, 2, 1], dtype=np.int32),
    vocabulary=VOCABULARY,
    contexts=CONTEXTS,
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Wears("swim_speed_up"), [1, 1, 0, 1]),
        (Wears("swim_speed_up", 6), [1, 1, 0, 1]),
        (Wears("swim_speed_up", 12), [1, 0, 0, 1]),
        (Wears("haunt"), [1, 0, 0, 0]),
        (WeaponIs("class", ("charger",)), [1, 0, 0, 0]),
        (WeaponIs("class", ("charger", "roller")), [1, 1, 0, 1]),
        (Not(Wears("haunt")), [0, 1, 1, 1]),
        (All((WeaponIs("class", ("roller",)), Wears("swim_speed_up", 12))), [0, 0, 0, 1]),
        (AnyOf((Wears("haunt"), Wears("run_speed_up"))), [1, 1, 0, 0]),
    ],
)
def test_a_rule_holds_where_it_says(rule: Rule, expected: list[int]) -> None:
    assert SETS.holds(rule).tolist() == [bool(flag) for flag in expected]
    assert SETS.holds(parse_rule(rule.as_json())).tolist() == [bool(flag) for flag in expected]


def test_a_rule_reads_back_from_its_json() -> None:
    rule = All((WeaponIs("sub", ("Ink Mine",)), AnyOf((Wears("haunt"), Not(Wears("swim_speed_up", 12))))))

    assert parse_rule(rule.as_json()) == rule
    assert leaves(rule) == [WeaponIs("sub", ("Ink Mine",)), Wears("haunt"), Wears("swim_speed_up", 12)]


def test_no_builds_give_no_answers() -> None:
    empty = np.zeros(0, dtype=np.int32)
    nothing = BuildTable(empty, np.zeros(1, dtype=np.int64), empty, VOCABULARY, CONTEXTS)

    assert nothing.holds(All((Wears("haunt"), WeaponIs("class", ("roller",))))).size == 0


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Wears("swim_sped"), "ability 'swim_sped' does not exist; did you mean swim_speed_up"),
        (Wears("swim_speed_up", 13), "13 is not a rung of swim_speed_up: its rungs are 3, 6, 12"),
        (Wears("haunt", 10), "10 is not a rung of haunt: its rungs are worn or not"),
        (WeaponIs("colour", ("red",)), "attribute of weapons 'colour' does not exist"),
        (WeaponIs("class", ("brush",)), "class of weapons 'brush' does not exist"),
    ],
)
def test_a_rule_about_what_is_not_there_is_refused(rule: Rule, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SETS.holds(rule)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        [],
        "haunt",
        {"ability": 3},
        {"ability": "haunt", "at_least": "3"},
        {"ability": "haunt", "at_most": 3},
        {"ability": "haunt", "at_least": 2**64},
        {"weapon": "class", "is": []},
        {"weapon": "class", "is": [3]},
        {"weapon": "class"},
        {"all": []},
        {"all": [{"nothing": 1}]},
        {"not": [{"ability": "haunt"}]},
        {"any": [{"ability": "haunt"}], "all": [{"ability": "haunt"}]},
    ],
)
def test_json_that_is_no_rule_is_refused(raw: Any) -> None:
    with pytest.raises(InputError, match="is not a rule"):
        parse_rule(raw)
