"""What tables say of features, the guide's wide table among them."""

import polars as pl

from splat_serving.summary import influences_on

WIDE = pl.DataFrame(
    {
        "feature_id": [0, 1, 2],
        "+1_tok": ["a", None, None],
        "+1_val": [2.0, None, None],
        "+2_tok": ["b", None, None],
        "+2_val": [1.0, None, None],
        "-1_tok": ["c", None, "b"],
        "-1_val": [-1.0, None, -3.0],
    }
)


def test_a_wide_table_says_what_it_names_of_a_token_and_no_more() -> None:
    found = influences_on(WIDE, {}, "b")

    assert found.schema == {"feature_id": pl.UInt32, "influence": pl.Float32}
    assert found.rows() == [(0, 1.0), (1, None), (2, -3.0)]


def test_a_token_that_a_wide_table_never_names_is_not_known_to_be_moved() -> None:
    assert influences_on(WIDE, {}, "d")["influence"].to_list() == [None, None, None]
