import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.data.statink_cells import Cell, Fate, parse_abilities, read_cell
from splat_assets.domain.tokens import tokens_of_ap

FULL = '{"swim_speed_up":1.9,"ink_saver_main":1.8,"comeback":true,"haunt":true}'
MANY_SUBS = (
    '{"special_saver":0.9,"swim_speed_up":0.9,"run_speed_up":1.2,"comeback":true,"haunt":true,"stealth_jump":true}'
)
DOUBLED = '{"ability_doubler":true,"swim_speed_up":1.9,"run_speed_up":1.9,"ink_saver_main":1.8}'


@pytest.mark.parametrize(
    ("text", "fate"),
    [
        (FULL, Fate.KEPT_FULL),
        ('{"swim_speed_up":1.3,"comeback":true,"haunt":true}', Fate.KEPT_UNDER_57),
        (DOUBLED, Fate.KEPT_OVER_57),
        (MANY_SUBS, Fate.DROPPED_OVER_57),
        (DOUBLED.replace("ability_doubler", "haunt"), Fate.DROPPED_OVER_57),
        ('{"swim_speed_up":6.3,"ability_doubler":true}', Fate.DROPPED_OVER_57),
        ('{"comeback":true,"tenacity":true}', Fate.DROPPED_ILLEGAL),
        ('{"swim_speed_up":1.4}', Fate.DROPPED_ILLEGAL),
        ("", Fate.EMPTY),
        ("  ", Fate.EMPTY),
        ("{}", Fate.EMPTY),
        ('{"comeback":false,"swim_speed_up":0}', Fate.EMPTY),
        ("null", Fate.UNPARSEABLE),
        ("{", Fate.UNPARSEABLE),
    ],
)
def test_what_becomes_of_a_cell(text: str, fate: Fate) -> None:
    result = read_cell(text, min_ap=0)

    assert result.fate is fate
    assert bool(result.tokens) == fate.is_kept
    assert bool(result.problem) == (fate is Fate.UNPARSEABLE)


def test_a_kept_cell_becomes_its_tokens() -> None:
    assert read_cell(FULL, 0) == Cell(
        Fate.KEPT_FULL,
        tuple(tokens_of_ap({"swim_speed_up": 19, "ink_saver_main": 18, "comeback": 10, "haunt": 10})),
    )


def test_doubled_subs_must_come_in_pairs() -> None:
    """63 AP both times: ten for the doubler, two mains of run speed, eleven subs."""
    single = ["ink_saver_main", "ink_saver_sub", "special_saver", "quick_respawn", "sub_power_up", "special_charge_up"]
    single += ["ink_recovery_up", "ink_resistance_up"]
    worn = {"ability_doubler": True, "run_speed_up": 2.0}

    three_pairs = json.dumps(worn | {"swim_speed_up": 1.8} | dict.fromkeys(single[:5], 0.3))
    one_pair = json.dumps(worn | {"swim_speed_up": 0.9} | dict.fromkeys(single, 0.3))

    assert read_cell(three_pairs, 0).fate is Fate.KEPT_OVER_57
    assert read_cell(one_pair, 0).fate is Fate.DROPPED_OVER_57


@pytest.mark.parametrize(
    ("min_ap", "fate"), [(0, Fate.KEPT_UNDER_57), (33, Fate.KEPT_UNDER_57), (34, Fate.DROPPED_UNDER_57)]
)
def test_less_than_the_least_ap_is_left_out(min_ap: int, fate: Fate) -> None:
    assert read_cell('{"swim_speed_up":1.3,"comeback":true,"haunt":true}', min_ap).fate is fate


def test_full_and_doubled_builds_pass_any_least_ap() -> None:
    assert read_cell(FULL, 57).fate is Fate.KEPT_FULL
    assert read_cell(DOUBLED, 57).fate is Fate.KEPT_OVER_57


@given(st.integers(0, 66))
def test_gear_power_of_every_size_rounds_to_its_ap(ap: int) -> None:
    assert parse_abilities(f'{{"swim_speed_up": {ap / 10}}}') == ({"swim_speed_up": ap} if ap else {})
    assert parse_abilities(f'{{"swim_speed_up": {ap * 0.1}}}') == ({"swim_speed_up": ap} if ap else {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"swim_speed_up":"1.3"}', "swim_speed_up is '1.3', a stackable ability has a number"),
        ('{"swim_speed_up":true}', "swim_speed_up is True, a stackable ability has a number"),
        ('{"swim_speed_up":-1}', "swim_speed_up is -1"),
        ('{"swim_speed_up":NaN}', "swim_speed_up is nan"),
        ('{"swim_speed_up":1e999}', "swim_speed_up is inf"),
        ('{"swim_speed_up":1e308}', "swim_speed_up is 1e+308, a stackable ability has a number from 0 to 1,000"),
        ('{"swim_speed_up":1' + "0" * 400 + "}", "swim_speed_up is 1" + "0" * 39 + ", a stackable"),
        ('{"swim_speed_up":1' + "0" * 5_000 + "}", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"swim_speed_up":' * 100_000, "nested too deeply"),
        ('{"swim_speed_up":1.35}', "swim_speed_up is 1.35, which is not a whole number of AP"),
        ('{"comeback":1}', "comeback is 1, a main-only ability is true or false"),
        ('{"bomb_defense_up":0.3}', "unknown ability 'bomb_defense_up'"),
        ('{"swim_speed_up":1.3,"swim_speed_up":1.3}', "'swim_speed_up' stands twice"),
        ('{"comeback":false,"comeback":true}', "'comeback' stands twice"),
        ("[1]", "not a JSON object"),
        ("swim", "not JSON"),
    ],
)
def test_a_cell_that_is_no_record_says_why(text: str, message: str) -> None:
    result = read_cell(text, 0)

    assert result.fate is Fate.UNPARSEABLE
    assert message in result.problem
