"""The list in a URL: the same both ways, and strict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.errors import InputError
from splat_dash.pages.examples import interval
from splat_dash.query import EVERYTHING, SORTS, STATES, ListQuery, MapQuery

QUERIES = st.builds(
    ListQuery,
    q=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    state=st.sampled_from(["", *STATES]),
    sort=st.sampled_from([*SORTS, *(f"-{name}" for name in SORTS)]),
)


@given(query=QUERIES)
def test_what_is_written_is_read_back(query: ListQuery) -> None:
    assert ListQuery.from_text(query.as_text()) == query


def test_the_default_is_written_as_nothing() -> None:
    assert EVERYTHING.as_text() == ""
    assert ListQuery(sort="feature_id").as_text() == "sort=feature_id"
    assert ListQuery(sort="-density").as_text() == "sort=-density"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sort": "beauty"}, "sort: unknown column 'beauty'"),
        ({"state": "alive"}, "state: unknown value 'alive'"),
        ({"q": "x" * 201}, "q: at most 200 characters"),
        ({"q": ["a", "b"]}, "q: repeated in the address"),
    ],
)
def test_an_invalid_parameter_is_named(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ListQuery.parse(parameters)


def test_parameters_of_others_are_left_to_them() -> None:
    assert ListQuery.parse({"tab": "tokens", "fid": "3"}) == EVERYTHING


@pytest.mark.parametrize("number", ["1_0", "+1", " 1", "\N{ARABIC-INDIC DIGIT ONE}", "nan", "inf", "true"])
def test_a_number_of_an_address_is_one(number: str) -> None:
    with pytest.raises(InputError, match="write four numbers"):
        MapQuery.parse({"box": f"0,{number},0,1"})
    with pytest.raises(InputError, match="min and max must be numbers"):
        interval({"min": number})


def test_numbers_of_an_address_are_read() -> None:
    assert MapQuery.parse({"box": "-1.5,1e1,.5,0"}).corners == (-1.5, 10.0, 0.0, 0.5)
    assert interval({"min": "0.5", "max": "1"}) == (0.5, 1.0)
