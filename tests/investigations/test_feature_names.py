"""Wherever an answer names features, what they are called stands beside their numbers."""

from pathlib import Path

import polars as pl

from splat_assets.store.layout import DataRoot
from splat_dash.source import Source
from splat_serving.investigations.assistant.tools import READ_TOOLS
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.results.feature_names import feature_names
from splat_serving.investigations.results.result import ResultTable
from splat_serving.investigations.subject import Subject
from tests.contracts.sources import sparse_random
from tests.labels.test_carry import subject_of


def answers(subject: Subject, feature: int) -> list[ResultTable]:
    """Every table that lists features, as the tools and the commands give them."""
    tools = {tool.name: tool for tool in READ_TOOLS}
    asked = {
        "list_features": {"sort": "feature_id", "limit": 96, "least_active": 0},
        "find_builds": {"rule": "ssu>=6", "top_k": 50},
        "contrast_builds": {"left": "ssu>=6", "right": "iss>=6", "top_k": 50},
        "trace_build": {"build": "0: ssu 21, ninja_squid", "top_k": 50},
        "show_sample": {"sample_id": 5, "limit": 50},
    }
    results = [tools[name].answer(subject, tools[name].arguments(**asked[name])) for name in asked]
    similar = run(subject, spec_of({"experiment": "decoder-similar", "feature_id": feature}))
    names = ("features", "contributions", "similar")
    return [table for result in [*results, similar] for table in result.tables if table.name in names]


def test_each_feature_has_its_label_or_its_rule_beside_its_number(own_root: DataRoot, busy: int) -> None:
    with open_subject("small", root=own_root) as subject:
        rules = dict(subject.database.suggestions().filter("suggested").select("feature_id", "text").iter_rows())
        subject.labels.set(busy, {"text": "what people say"}, "ann")
        expected = rules | {busy: "what people say"}

        tables = answers(subject, busy)

    assert rules and len(tables) == 7
    for table in tables:
        assert [column.name for column in table.columns][1] == "label", table.name
        for row in table.rows:
            assert row[1] == expected.get(int(row[0] or 0), ""), table.name
    assert "what people say" in {row[1] for table in tables for row in table.rows}


def test_where_no_rules_were_computed_names_are_what_people_say_and_nothing_else(tmp_path: Path) -> None:
    subject = subject_of(tmp_path, sparse_random(20, 3, 0.5), "a")
    assert feature_names(subject) == {}

    subject.labels.set(1, {"text": "swims"}, "ann")

    assert feature_names(subject) == {1: "swims"}


def test_the_dashboard_shows_a_label_at_once_in_what_it_has_kept(own_root: DataRoot, busy: int) -> None:
    with open_subject("small", root=own_root) as subject:
        source = Source(subject)
        rule = "ssu>=6"
        feature = int(source.features_for_rule(rule).table("features").frame["feature_id"][0])

        source.write_label(feature, {"text": "just written"}, "ann", 0)

        assert source.features_for_rule(rule).table("features").frame.filter(pl.col("feature_id") == feature)[
            "label"
        ].item() == ("just written")
