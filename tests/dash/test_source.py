"""What the pages show is what the store says: rows, their order, and where a feature stands among them."""

from concurrent.futures import Executor
from typing import Any

import polars as pl
import pytest

from splat_assets.store.layout import DataRoot
from splat_dash.query import SORTS, ListQuery
from splat_dash.source import Source
from splat_serving.investigations.opening import open_subject


def test_the_list_is_the_table_of_the_store(source: Source) -> None:
    rows = source.rows(ListQuery())
    table = source.subject.database.features()

    assert rows["feature_id"].to_list() == table["feature_id"].to_list()
    assert rows["density"].to_list() == pytest.approx((table["n_active"] / table["n_samples"]).to_list())
    assert rows["max"].to_list() == table["max"].to_list()


@pytest.mark.parametrize("name", [name for name in SORTS if name != "best"])
def test_rows_are_in_the_order_of_the_query_and_missing_values_come_last(name: str, source: Source) -> None:
    for sort, descending in ((name, False), (f"-{name}", True)):
        rows = source.rows(ListQuery(sort=sort))
        known = rows[name].drop_nulls()

        assert known.is_sorted(descending=descending)
        assert rows[name].tail(rows[name].null_count()).null_count() == rows[name].null_count()
        assert rows.height == source.about.n_features


def test_every_word_of_a_search_must_be_there(source: Source) -> None:
    rules = source.subject.database.suggestions().filter(pl.col("text").is_not_null())
    word = rules["token"][0].partition(">")[0]

    matches = source.rows(ListQuery(q=f"{word.upper()} >"))

    assert 0 < matches.height < source.about.n_features
    for row in matches.iter_rows(named=True):
        text = f"{row['text']} {row['token']} {row['feature_id']}"
        assert word in text and ">" in text
    assert source.rows(ListQuery(q="no such thing anywhere")).is_empty()


def test_of_a_search_those_come_first_whose_best_token_has_the_word(source: Source) -> None:
    rules = source.subject.database.suggestions().filter(pl.col("text").is_not_null())
    word = rules["token"][0].partition(">")[0]

    matches = source.rows(ListQuery(q=word))

    has_it = matches["token"].str.contains(word, literal=True).fill_null(False)
    assert has_it.any() and has_it.is_sorted(descending=True)
    for part in (matches.filter(has_it), matches.filter(~has_it)):
        assert part["f1"].fill_null(0.0).is_sorted(descending=True)
    assert source.rows(ListQuery())["feature_id"].is_sorted()


def test_a_feature_has_its_place_in_the_list(source: Source) -> None:
    query = ListQuery(sort="-density")
    ids = source.rows(query)["feature_id"].to_list()

    first, inner, last = (source.place(ids[at], query) for at in (0, 5, -1))

    assert (first.number, first.before, first.after) == (1, None, ids[1])
    assert (inner.number, inner.before, inner.after) == (6, ids[4], ids[6])
    assert (last.number, last.before, last.after) == (len(ids), ids[-2], None)
    assert source.place(ids[0], ListQuery(q="no such thing anywhere")).number is None


def test_the_effect_is_the_mean_times_the_largest_influence(source: Source) -> None:
    rows = source.rows(ListQuery())
    for feature in (0, 5, 50):
        record = source.feature(feature)
        assert record.influences is not None
        values = [one["value"] for key in ("raised", "lowered") for one in record.influences[key] if one["in_data"]]
        expected = None if record.statistics["mean"] is None else record.statistics["mean"] * max(map(abs, values))
        assert rows["effect"][feature] == (None if expected is None else pytest.approx(expected, rel=1e-6))
    assert rows["effect"].drop_nulls().min() >= 0  # type: ignore[operator]


class Recorded(Executor):
    """Runs nothing, and keeps the arguments of what is submitted."""

    def __init__(self) -> None:
        self.arguments: list[Any] = []

    def submit(self, work: Any, /, *arguments: Any, **named: Any) -> Any:
        """Keep the arguments."""
        self.arguments += arguments


def test_the_next_feature_is_prefetched_in_the_background(source: Source) -> None:
    background = Recorded()
    ids = source.rows(ListQuery(sort="-density"))["feature_id"]

    Source(source.subject, background=background).prepare(int(ids[1]))

    assert background.arguments == [int(ids[1])]


def test_answers_with_names_are_made_again_after_a_label(own_root: DataRoot) -> None:
    with open_subject("small", root=own_root) as subject:
        own = Source(subject)
        before = own.features_for_rule("ssu>=6")
        assert own.features_for_rule("ssu>=6") is before
        assert own.feature(3) is own.feature(3)

        own.write_label(3, {"text": "swims"}, "ann", 0)

        assert own.features_for_rule("ssu>=6") is not before
