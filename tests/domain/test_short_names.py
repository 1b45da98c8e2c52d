"""What people call abilities: in any spelling the same ability, and nothing else's name."""

import pytest

from splat_assets.domain.abilities import MAIN_ONLY, SHORT_NAMES, STACKABLE, ability_of
from splat_dash.abilities import CODES


@pytest.mark.parametrize(
    "spelled",
    ["swim_speed_up", "swim speed up", "Swim Speed Up", "SWIM-SPEED-UP", " swim  speed_up ", "ssu", "SSU", "Ssu"],
)
def test_an_ability_is_understood_in_any_spelling(spelled: str) -> None:
    assert ability_of(spelled) == "swim_speed_up"


@pytest.mark.parametrize(
    "spelled", ["swim_speed_up_21", "swim speed up 21", "SSU 21", "ssu21", "Swim-Speed-Up-21", "ssu_021"]
)
def test_a_token_is_understood_in_any_spelling(spelled: str) -> None:
    assert ability_of(spelled) == "swim_speed_up_21"


def test_every_ability_goes_by_its_name_its_words_and_its_badge() -> None:
    for ability in (*STACKABLE, *MAIN_ONLY):
        assert {ability_of(name) for name in (ability, ability.replace("_", " ").title(), CODES[ability])} == {ability}
    assert set(SHORT_NAMES.values()) == {*STACKABLE, *MAIN_ONLY}


@pytest.mark.parametrize(
    "name", ["<NULL>", "Layer-Norm 3", "", "  ", "21", "swim_speed", "swim speed up and", "x" * 10_000]
)
def test_what_is_no_ability_keeps_its_name(name: str) -> None:
    assert ability_of(name) == name
