"""Outputs that never occur in the data: marked wherever outputs are listed, and never first."""

import polars as pl
import pytest

from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.compare import Compare, compare
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.overview import Overview, overview
from splat_serving.investigations.results.outputs import marked, never_in_data
from splat_serving.investigations.subject import Subject
from splat_serving.investigations.token_effects import features_by_effect_on
from splat_serving.investigations.trace import Trace, trace
from splat_serving.investigations.what_if import what_if
from splat_serving.model.runner import TokenSet


@pytest.fixture
def never(local: Subject) -> set[str]:
    """The tokens that no build of the small run has."""
    return never_in_data(local.database.tokens()) - {"<PAD>", "<NULL>"}


def refuse_leading(frame: pl.DataFrame, never: set[str]) -> None:
    assert frame["in_data"].to_list() == [token not in never for token in frame["token"]]
    assert frame["in_data"].to_list() == sorted(frame["in_data"].to_list(), reverse=True), (
        "those that never occur are last"
    )


def test_they_are_marked_and_last_in_every_table_of_outputs(local: Subject, busy: int, never: set[str]) -> None:
    decoder = run(local, spec_of({"experiment": "decoder-influence", "feature_id": busy, "top_k": 1_000}))
    page = overview(local, Overview(feature_id=busy, top_k=1_000))
    beside = compare(local, Compare(left=busy, right=(busy + 1) % 96, top_k=1_000))
    removed = run(
        local, spec_of({"experiment": "ablation", "feature_id": busy, "n_builds": 4, "top_k": 1_000, "n_random": 20})
    )
    causal = run(local, spec_of({"experiment": "causal-effect", "feature_id": busy, "n_builds": 4, "top_k": 1_000}))

    frames = [one.table(key).frame for one in (decoder, page) for key in ("raised", "lowered")]
    for frame in (
        *frames,
        beside.table("influences").frame,
        causal.table("outputs").frame,
        removed.table("outputs").frame,
    ):
        refuse_leading(frame, never)
    assert never, "the small run has such tokens"
    assert any(never & set(frame["token"]) for frame in frames)


def test_no_sentence_and_no_bar_names_one_as_if_it_were_any_other(local: Subject, never: set[str]) -> None:
    for feature_id in range(0, 96, 12):
        answer = run(local, spec_of({"experiment": "decoder-influence", "feature_id": feature_id, "top_k": 1_000}))

        names = [name for token in never for name in (token, token_in_words(token))]
        assert not any(f" {name} " in text for text in answer.findings for name in names)
        bars = answer.figures[0].series[0].x
        assert {str(name).split()[0] for name in bars if "never in the data" in str(name)} <= never
        assert not never & set(map(str, bars))


def test_the_page_of_one_says_that_it_never_occurs(local: Subject, busy: int, never: set[str]) -> None:
    token = sorted(never)[0]

    assert all("never occurs in the data" in (table.note or "") for table in features_by_effect_on(local, token, 5))
    assert not any("never occurs" in (table.note or "") for table in features_by_effect_on(local, "comeback", 5))
    assert marked(token, False) == f"{token} (never in the data)" and marked(token, None) == token


def test_predictions_for_a_build_that_somebody_types_end_with_them(local: Subject, never: set[str]) -> None:
    traced = trace(local, Trace(sample_id=0, predictions=1_000)).table("predictions").frame
    changed = what_if(local, TokenSet(0, (3,)), TokenSet(0, (3, 17)), top_k=1_000).tables[1].frame

    for frame in (traced, changed):
        refuse_leading(frame, never)
        assert never & set(frame["token"])
