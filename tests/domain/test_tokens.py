import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.domain.abilities import MAIN_ONLY, RUNGS, STACKABLE
from splat_assets.domain.tokens import ABILITY_TOKENS, NULL, PAD, ap_of_token, parse_token, tokens_of_ap
from splat_assets.errors import InputError
from tests.domain.ap import ap_of_tokens

AMOUNTS = st.dictionaries(st.sampled_from(STACKABLE), st.integers(0, 66))


def test_ap_becomes_a_token_for_every_rung_reached() -> None:
    assert tokens_of_ap({"swim_speed_up": 13, "comeback": 10}) == [
        "swim_speed_up_3",
        "swim_speed_up_6",
        "swim_speed_up_12",
        "comeback",
    ]


def test_the_order_of_abilities_does_not_matter() -> None:
    forth = tokens_of_ap({"comeback": 10, "swim_speed_up": 3, "ink_saver_main": 3})
    back = tokens_of_ap({"ink_saver_main": 3, "swim_speed_up": 3, "comeback": 10})

    assert forth == back


def test_a_build_without_abilities_is_the_null_token() -> None:
    assert tokens_of_ap({}) == [NULL]
    assert tokens_of_ap({"swim_speed_up": 0, "comeback": 0}) == [NULL]
    assert ap_of_tokens([NULL]) == {}


def test_the_ap_of_a_token_set_is_the_highest_rung_whatever_is_below() -> None:
    assert ap_of_tokens(["swim_speed_up_12", "swim_speed_up_29", "haunt", PAD]) == {"swim_speed_up": 29, "haunt": 10}


@given(AMOUNTS)
def test_tokens_keep_the_highest_rung_of_every_amount(ap: dict[str, int]) -> None:
    reached = {ability: max(rung for rung in RUNGS if rung <= amount) for ability, amount in ap.items() if amount >= 3}

    assert ap_of_tokens(tokens_of_ap(ap)) == reached


def test_all_138_token_names_parse_to_their_group_and_level() -> None:
    assert len(set(ABILITY_TOKENS)) == 14 * 9 + 12
    assert parse_token("swim_speed_up_57") == ("swim_speed_up", 57)
    assert parse_token("stealth_jump") == ("stealth_jump", None)


@pytest.mark.parametrize("name", ["swim_speed_up_7", "swim_speed_up", "haunt_3", "<MASK>", ""])
def test_any_other_name_is_a_group_of_its_own_without_a_level(name: str) -> None:
    assert parse_token(name) == (name, None)


def test_what_a_single_token_stands_for() -> None:
    assert [ap_of_token(name) for name in ("run_speed_up_38", "tenacity", NULL, "something")] == [38, 10, 0, 0]


def test_an_unknown_ability_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="'swim_sped' is not an ability; the 26 known: ink_saver_main"):
        tokens_of_ap({"swim_sped": 3})


def test_negative_ap_are_refused() -> None:
    with pytest.raises(InputError, match="run_speed_up has -3 AP"):
        tokens_of_ap({"run_speed_up": -3})


def test_every_main_only_ability_is_its_own_token() -> None:
    assert tokens_of_ap(dict.fromkeys(MAIN_ONLY, 10)) == list(MAIN_ONLY)
