"""Tokens, abilities and weapons as people name them, wherever they are named."""

import pytest

from splat_assets.domain.tokens import parse_token
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary
from splat_serving.database.errors import UnknownNameError
from splat_serving.database.sample_columns import token_id, weapon_id
from splat_serving.investigations.experiment import experiment, experiment_names, spec_of

_NAMES = ("swim_speed_up_3", "swim_speed_up_21", "ninja_squid", "Ninja Squid")
VOCABULARY = Vocabulary(tuple(Token(at, name, *parse_token(name)) for at, name in enumerate(_NAMES)), 9, None)
CONTEXTS = Contexts((Context(0, "weapon_id_40", "Splattershot"), Context(1, "weapon_id_50", "splattershot")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("swim_speed_up_21", 1), ("Swim Speed Up 21", 1), ("SSU 21", 1), ("ssu-3", 0), ("ninja-squid", 2), ("NS", 2),
        ("1", 1), ("Ninja Squid", 3),
    ],
)  # fmt: skip
def test_a_token_goes_by_any_spelling_and_its_own_comes_first(name: str, expected: int) -> None:
    assert token_id(name, VOCABULARY) == expected


def test_a_token_that_is_not_there_keeps_its_name_in_the_message() -> None:
    with pytest.raises(UnknownNameError, match="unknown token 'SSU 22'"):
        token_id("SSU 22", VOCABULARY)


def test_a_weapon_goes_by_its_name_in_any_case_and_its_own_comes_first() -> None:
    assert [weapon_id(name, CONTEXTS) for name in ("Splattershot", "splattershot", "SPLATTERSHOT")] == [0, 1, 0]


def test_every_experiment_takes_an_ability_in_any_spelling() -> None:
    named = {
        "family",
        "family_x",
        "family_y",
        "primary_family",
        "condition_family",
        "exclude_family",
        "given",
        "tokens",
    }
    checked = 0
    for name in experiment_names():
        fields = experiment(name).spec.model_fields
        for field in named & set(fields):
            several = "tuple" in str(fields[field].annotation)
            other = {"family_x": "haunt", "family_y": "comeback", "family": "haunt"}
            required = {one: other.get(one, 1) for one, info in fields.items() if info.is_required()}
            spelled = ["Swim Speed Up"] if several else "Swim Speed Up"
            spec = spec_of({**required, "experiment": name, field: spelled})
            assert getattr(spec, field) == (("swim_speed_up",) if several else "swim_speed_up"), (name, field)
            checked += 1
    assert checked >= 8
