from collections import Counter

from splat_assets.domain.weapons import all_weapons, weapons_by_key, weapons_by_vocabulary_key


def test_there_are_173_weapons_with_distinct_keys_and_numbers() -> None:
    assert len(all_weapons()) == len(weapons_by_key()) == len(weapons_by_vocabulary_key()) == 173


def test_a_weapon_has_a_name_a_class_a_sub_and_a_special() -> None:
    weapon = weapons_by_vocabulary_key()["weapon_id_50"]

    assert (weapon.key, weapon.name) == ("52gal", ".52 Gal")
    assert weapon.attributes == {"class": "shooter", "sub": "Splash Wall", "special": "Killer Wail 5.1"}


def test_classes_are_the_eleven_of_the_game() -> None:
    classes = Counter(weapon.weapon_class for weapon in all_weapons())

    assert len(classes) == 11
    assert classes["shooter"] == 39
    assert {weapon.statink_type for weapon in all_weapons() if weapon.weapon_class == "dualies"} == {"maneuver"}


def test_no_fact_is_blank() -> None:
    assert all(weapon.name and weapon.sub and weapon.special for weapon in all_weapons())
