"""Cells that no spreadsheet runs, and the texts that they were made of."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.store.spreadsheet import as_written, harmless, harmless_frame, harmless_json

_TEXTS = st.text("'=+-@\t\r\n 1.e＝a,\"", max_size=8) | st.text(max_size=8)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-", "-1", "'=1", "''@a"]
)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "swims", "it's", "'tis", "1.5", " =1", "a=1"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


@given(_TEXTS)
def test_reading_undoes_it(text: str) -> None:
    assert as_written(harmless(text)) == text


@given(st.dictionaries(_TEXTS, _TEXTS | st.integers(0)))
def test_json_before_a_table_is_the_same_and_has_no_comma_within_a_text(held: dict[str, object]) -> None:
    line = harmless_json(json.dumps(held))

    assert json.loads(line) == held
    assert "\n" not in line
    assert line.count(",") == max(len(held) - 1, 0)


@given(st.lists(_TEXTS | st.none(), max_size=8))
def test_a_frame_is_treated_as_its_texts_are(texts: list[str | None]) -> None:
    frame = pl.DataFrame({"text": texts, "n": [-1.5] * len(texts)}, {"text": pl.String, "n": pl.Float64})

    result = harmless_frame(frame)

    assert result["text"].to_list() == [None if text is None else harmless(text) for text in texts]
    kinds = frame.select(pl.col("text").cast(pl.Categorical), "n")
    assert harmless_frame(kinds)["text"].to_list() == result["text"].to_list()
    assert result["n"].to_list() == [-1.5] * len(texts)
