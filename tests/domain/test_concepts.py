from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from splat_assets.domain.concepts import All, AnyOf, Not, Rule, WeaponIs, Wears, concept_holds, leaves, parse_rule
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


@dataclass
class Sets:
    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    weapons: npt.NDArray[np.int32]


SETS = Sets(
    tokens=np.array([0, 1, 2, 4, 0, 1, 3, 5, 2], dtype=np.int32),
    offsets=np.array([0, 4, 7, 8, 9]),  # swim 12 + haunt | swim 6 + run 3 | null | swim 12 without lower rungs
    weapons=np.array([0, 1, 2, 1], dtype=np.int32),
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
        (WeaponIs("class", ("brush",)), [0, 0, 0, 0]),
        (Not(Wears("haunt")), [0, 1, 1, 1]),
        (All((WeaponIs("class", ("roller",)), Wears("swim_speed_up", 12))), [0, 0, 0, 1]),
        (AnyOf((Wears("haunt"), Wears("run_speed_up"))), [1, 1, 0, 0]),
    ],
)
def test_a_rule_holds_where_it_says(rule: Rule, expected: list[int]) -> None:
    assert concept_holds(rule, SETS, VOCABULARY, CONTEXTS).tolist() == [bool(flag) for flag in expected]
    assert concept_holds(rule.as_json(), SETS, VOCABULARY, CONTEXTS).tolist() == [bool(flag) for flag in expected]


def test_a_rule_reads_back_from_its_json() -> None:
    rule = All((WeaponIs("sub", ("Ink Mine",)), AnyOf((Wears("haunt"), Not(Wears("swim_speed_up", 12))))))

    assert parse_rule(rule.as_json()) == rule
    assert leaves(rule) == [WeaponIs("sub", ("Ink Mine",)), Wears("haunt"), Wears("swim_speed_up", 12)]


def test_no_builds_give_no_answers() -> None:
    nothing = Sets(np.zeros(0, dtype=np.int32), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32))

    assert concept_holds(All((Wears("haunt"), WeaponIs("class", ("roller",)))), nothing, VOCABULARY, CONTEXTS).size == 0


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Wears("swim_sped"), "the vocabulary has no ability 'swim_sped'; it has haunt, run_speed_up, swim_speed_up"),
        (Wears("swim_speed_up", 13), r"swim_speed_up has no rung 13 in the vocabulary; its rungs are \[3, 6, 12\]"),
        (Wears("haunt", 10), "haunt has no rung 10"),
        (WeaponIs("colour", ("red",)), "no weapon of the vocabulary has the attribute 'colour'"),
    ],
)
def test_a_rule_about_what_is_not_there_is_refused(rule: Rule, said: str) -> None:
    with pytest.raises(InputError, match=said):
        concept_holds(rule, SETS, VOCABULARY, CONTEXTS)


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
