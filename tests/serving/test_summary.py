"""What tables say of features, the guide's wide table among them."""

import polars as pl

from splat_serving.database.summary import influences_of, influences_on, largest_influences

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


LISTED = pl.DataFrame(
    {"feature_id": [0], "influence": pl.Series([[1.0, 9.0, -1.0, -8.0, 2.0]], dtype=pl.Array(pl.Float32, 5))}
)
FACTS = {"token_ids": [0, 1, 2, 3, 4], "token_names": ["a", "never", "b", "nor_this", "c"]}
IN_DATA = {"a": True, "never": False, "b": True, "nor_this": False, "c": True}


def test_outputs_that_never_occur_in_the_data_are_marked_and_last() -> None:
    found = influences_of(LISTED, FACTS, 0, IN_DATA)

    shown = {key: [(one["token"], one["value"], one["in_data"]) for one in rows] for key, rows in found.items()}
    assert shown == {
        "raised": [("c", 2.0, True), ("a", 1.0, True), ("never", 9.0, False)],
        "lowered": [("b", -1.0, True), ("nor_this", -8.0, False)],
    }
    wide = influences_of(WIDE, {}, 0, {"a": False, "b": True, "c": True})
    assert [one["token"] for one in wide["raised"]] == ["b", "a"]


def test_the_largest_influence_is_one_on_an_output_that_occurs() -> None:
    assert largest_influences(LISTED, FACTS, IN_DATA).tolist() == [2.0]
    assert largest_influences(LISTED, FACTS).tolist() == [9.0]
