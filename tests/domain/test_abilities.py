from splat_assets.domain.abilities import ABILITY_NAMES, FULL_AP, FULL_AP_DOUBLED, MAIN_ONLY, RUNGS, SLOTS, STACKABLE


def test_there_are_14_stackable_and_12_main_only_abilities_with_names() -> None:
    assert len(STACKABLE) == 14
    assert len(MAIN_ONLY) == 12
    assert set(ABILITY_NAMES) == {*STACKABLE, *MAIN_ONLY}
    assert ABILITY_NAMES["last_ditch_effort"] == "Last-Ditch Effort"


def test_main_only_abilities_are_bound_to_their_piece_of_gear() -> None:
    by_slot = {slot: {ability for ability in MAIN_ONLY if MAIN_ONLY[ability] == slot} for slot in SLOTS}

    assert by_slot == {
        "head": {"comeback", "last_ditch_effort", "opening_gambit", "tenacity"},
        "clothes": {"ability_doubler", "haunt", "ninja_squid", "respawn_punisher", "thermal_ink"},
        "shoes": {"drop_roller", "object_shredder", "stealth_jump"},
    }


def test_a_full_build_has_57_ap_or_66_with_doubled_subs() -> None:
    assert (FULL_AP, FULL_AP_DOUBLED) == (57, 66)
    assert RUNGS[-1] == FULL_AP
