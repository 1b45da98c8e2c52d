"""Tokens, settings and builds by their names in the game."""

import pytest

from splat_serving.investigations.build_text import as_sentence, build_in_words, setting_in_words, token_in_words


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("swim_speed_up_21", "Swim Speed Up 21"),
        ("swim_speed_up", "Swim Speed Up"),
        ("ninja_squid", "Ninja Squid"),
        ("alpha_3", "alpha_3"),
        ("Splattershot", "Splattershot"),
    ],
)
def test_a_token_has_its_name_in_the_game_and_keeps_its_own_where_it_has_none(token: str, words: str) -> None:
    assert token_in_words(token) == words


@pytest.mark.parametrize(
    ("ability", "rung", "words"),
    [
        ("swim_speed_up", "12", "setting Swim Speed Up to 12 AP"),
        ("swim_speed_up", "absent", "removing Swim Speed Up"),
        ("ninja_squid", "absent", "removing Ninja Squid"),
        ("ninja_squid", "worn", "adding Ninja Squid"),
    ],
)
def test_a_setting_says_what_was_done(ability: str, rung: str, words: str) -> None:
    assert setting_in_words(ability, rung) == words


def test_a_build_has_each_ability_once_with_its_highest_rung() -> None:
    tokens = ["swim_speed_up_3", "swim_speed_up_6", "swim_speed_up_12", "ninja_squid"]

    assert build_in_words(tokens) == "Swim Speed Up 12, Ninja Squid"
    assert build_in_words([]) == "no abilities"


def test_a_sentence_ends_with_one_full_stop() -> None:
    assert [as_sentence(name) for name in ("Splattershot", "Splattershot Jr.")] == ["Splattershot.", "Splattershot Jr."]
