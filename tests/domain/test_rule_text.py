"""Rules as text: read, written, and pointed at where they cannot be read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splat_assets.domain.abilities import MAIN_ONLY, RUNGS, SHORT_NAMES, STACKABLE
from splat_assets.domain.concepts import NAME, All, AnyOf, Not, Rule, WeaponIs, Wears
from splat_assets.domain.rule_text import LONGEST_RULE, Names, RuleTextError, parse_rule_text, rule_as_text
from splat_assets.domain.tokens import parse_token
from splat_assets.domain.vocabulary import standard_vocabulary
from splat_assets.domain.weapons import all_weapons
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary

VOCABULARY = Vocabulary(
    tuple(Token(at, name, *parse_token(name)) for name, at in standard_vocabulary().items()), 139, 138
)
CONTEXTS = Contexts(
    tuple(Context(at, one.vocabulary_key, one.name, one.attributes) for at, one in enumerate(all_weapons()))
)
NAMES = Names(VOCABULARY, CONTEXTS)

wears = st.one_of(
    st.builds(Wears, st.sampled_from(STACKABLE), st.none() | st.sampled_from(RUNGS)),
    st.builds(Wears, st.sampled_from(sorted(MAIN_ONLY))),
)
weapons = st.sampled_from(("class", "sub", "special", NAME)).flatmap(
    lambda attribute: st.builds(
        WeaponIs,
        st.just(attribute),
        st.lists(st.sampled_from(sorted(set(NAMES.values[attribute].values()))), min_size=1, max_size=3).map(tuple),
    )
)
rules: st.SearchStrategy[Rule] = st.recursive(
    st.one_of(wears, weapons),
    lambda part: st.one_of(
        st.builds(Not, part),
        st.builds(All, st.lists(part, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(part, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


@given(rules)
@settings(max_examples=300, deadline=None)
def test_a_rule_written_as_text_is_read_as_the_same_rule(rule: Rule) -> None:
    assert parse_rule_text(rule_as_text(rule), NAMES) == rule


READ: dict[str, Rule] = {
    "ssu>=21 and ninja_squid": All((Wears("swim_speed_up", 21), Wears("ninja_squid"))),
    "SSU >= 21 AND Ninja Squid".replace("Ninja Squid", '"Ninja Squid"'): All(
        (Wears("swim_speed_up", 21), Wears("ninja_squid"))
    ),
    "ssu > 21": Wears("swim_speed_up", 29),
    "Swim Speed Up >= 21 and Ninja Squid": All((Wears("swim_speed_up", 21), Wears("ninja_squid"))),
    "not swim-speed-up or Last Ditch Effort": AnyOf((Not(Wears("swim_speed_up")), Wears("last_ditch_effort"))),
    "ssu<21": Not(Wears("swim_speed_up", 21)),
    "ssu<=21": Not(Wears("swim_speed_up", 29)),
    "ssu=57": Wears("swim_speed_up", 57),
    "ssu = 3": All((Wears("swim_speed_up", 3), Not(Wears("swim_speed_up", 6)))),
    "ssu!=3": Not(All((Wears("swim_speed_up", 3), Not(Wears("swim_speed_up", 6))))),
    "not cb or qr": AnyOf((Not(Wears("comeback")), Wears("quick_respawn"))),
    "not (cb or qr)": Not(AnyOf((Wears("comeback"), Wears("quick_respawn")))),
    "cb or qr and lde": AnyOf((Wears("comeback"), All((Wears("quick_respawn"), Wears("last_ditch_effort"))))),
    "class=roller": WeaponIs("class", ("roller",)),
    "class != roller": Not(WeaponIs("class", ("roller",))),
    "class in (roller, brush)": WeaponIs("class", ("roller", "brush")),
    "weapon=Splattershot Jr. and ssu": All((WeaponIs(NAME, ("Splattershot Jr.",)), Wears("swim_speed_up"))),
    'weapon="splattershot jr."': WeaponIs(NAME, ("Splattershot Jr.",)),
}


@pytest.mark.parametrize("text", READ)
def test_what_people_write_is_understood(text: str) -> None:
    assert parse_rule_text(text, NAMES) == READ[text]


REFUSED = {
    "": (0, "it is empty"),
    "ssu>=": (5, "expected a number of AP"),
    "ssu>=" + "9" * 1_900: (5, "is not a rung of swim_speed_up"),
    "ssu>=22": (5, "22 is not a rung of swim_speed_up; its rungs are 3, 6, 12"),
    "ssu>=21 nonja": (8, "expected `and`, `or` or the end"),
    "ssu and ninja_sqid": (8, "did you mean ninja_squid"),
    "ninja_squid>=3": (13, "ninja_squid is worn or not"),
    "(ssu or cb": (10, "expected `)`"),
    "ssu and": (7, "expected an ability"),
    "class=rollr": (6, "class of weapons 'rollr' does not exist; did you mean roller"),
    "class roller": (6, "expected `=` or `in` after class"),
    "class in roller": (9, "expected `(`"),
    "class in (roller": (16, "expected `,` or `)`"),
    "ssu > 57": (6, "57 is the highest rung"),
    "ssu ; cb": (4, "expected `and`"),
    "(" * 1_900 + "ssu": (32, "32 deep at most"),
    'weapon="Splat': (7, "is not understood here"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_rule_is_pointed_at(text: str) -> None:
    at, said = REFUSED[text]

    with pytest.raises(RuleTextError, match="not a rule") as found:
        parse_rule_text(text, NAMES)

    assert said in str(found.value)
    assert found.value.at == at
    assert str(found.value).splitlines()[1:] == [f"  {text}", f"  {' ' * at}^"]


def test_short_names_stand_for_abilities_that_there_are() -> None:
    assert set(SHORT_NAMES.values()) == {*STACKABLE, *MAIN_ONLY}


def test_a_rule_of_more_characters_than_are_read_is_refused_before_it_is_read() -> None:
    longest = "(" + " " * (LONGEST_RULE - len("(comeback)")) + "comeback)"
    assert parse_rule_text(longest, NAMES) == Wears("comeback")

    for text in (longest + " ", "comeback and " * 100_000, " " * 10**6):
        with pytest.raises(RuleTextError, match=f"{len(text):,} characters, and at most 2,000") as caught:
            parse_rule_text(text, NAMES)
        assert len(str(caught.value)) < 300
