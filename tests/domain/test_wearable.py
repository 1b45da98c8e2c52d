"""Whether rungs can be worn, asked quickly: the same answer as looking for the gear."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splat_assets.domain.abilities import DOUBLER, MAIN_AP, MAIN_ONLY, RUNGS, STACKABLE
from splat_assets.domain.builds import is_wearable, wearable_ap
from splat_assets.errors import InputError

stacked = st.dictionaries(st.sampled_from(STACKABLE), st.sampled_from((0, *RUNGS)), max_size=9)
alone = st.sets(st.sampled_from(sorted(set(MAIN_ONLY) - {DOUBLER})), max_size=3)


@given(stacked, alone, st.integers(0, 9))
@settings(max_examples=400, deadline=None)
def test_it_is_wearable_when_there_is_gear(rungs: dict[str, int], mains: set[str], doubler: int) -> None:
    asked = rungs | dict.fromkeys(mains, MAIN_AP) | ({DOUBLER: MAIN_AP} if doubler == 0 else {})
    try:
        wearable_ap({ability: rung for ability, rung in asked.items() if rung})
        there = True
    except InputError:
        there = False

    assert is_wearable(asked) is there


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="7 is not a rung of swim_speed_up"):
        is_wearable({"swim_speed_up": 7})
    with pytest.raises(InputError, match="6 is not a rung of ninja_squid"):
        is_wearable({"ninja_squid": 6})
