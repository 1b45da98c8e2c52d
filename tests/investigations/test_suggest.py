"""Suggested labels of a run: made by the pipeline, the same from a store and a server, searched for where there are none."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from splat_assets.assets.opened import contexts_of, raw_of, sparse_of, vocabulary_of
from splat_assets.compute.suggested_labels import build_table_of, mismatched_suggestions
from splat_assets.domain.concepts import parse_rule
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot
from splat_serving.commands.label import suggest as command
from splat_serving.database.errors import NotComputedError
from splat_serving.database.local import LocalDatabase
from splat_serving.investigations.subject import Subject
from splat_serving.investigations.suggest import Suggest, SuggestAll, suggest, suggest_all


def test_every_feature_has_a_row_and_servers_give_the_same(local: Subject, remote: Subject) -> None:
    here, there = local.database.suggestions(), remote.database.suggestions()

    assert here["feature_id"].to_list() == list(range(local.n_features))
    assert here.equals(there)
    with_rule = here.filter(pl.col("rule").is_not_null())
    assert with_rule.height > 0
    for row in with_rule.head(10).iter_rows(named=True):
        holds = local.builds.holds(parse_rule(json.loads(row["rule"])))
        assert 0 < holds.sum() < local.n_samples


def test_the_page_of_a_feature_has_its_suggestion(local: Subject, remote: Subject) -> None:
    feature = int(local.database.suggestions().filter(pl.col("rule").is_not_null())["feature_id"][0])

    here, there = (subject.database.feature(feature).suggestion for subject in (local, remote))

    assert here is not None and here == there
    assert here["feature_id"] == feature


def test_without_a_table_one_feature_is_searched_for_now(
    local: Subject, finished_root: DataRoot, tmp_path: Path
) -> None:
    feature = int(local.database.suggestions().filter(pl.col("rule").is_not_null())["feature_id"][0])
    version = shutil.copytree(finished_root.run("small").efficient, tmp_path / "efficient")
    alone = Subject(LocalDatabase.open(version), "efficient")

    stated, searched = (suggest(subject, Suggest(feature_id=feature)) for subject in (local, alone))

    assert searched.facts == stated.facts
    for name in ("text", "f1", "f1_low", "f1_high", "auroc", "threshold", "token", "token_f1"):
        assert searched.table("suggestions").frame[name][0] == pytest.approx(stated.table("suggestions").frame[name][0])
    with pytest.raises(NotComputedError, match="searches for one feature now"):
        suggest_all(alone, SuggestAll())


def test_a_changed_row_or_null_is_noticed(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    path = run.layout.staged / "suggested_labels.parquet"
    builds = build_table_of(raw_of(run).samples(), vocabulary_of(run), contexts_of(run))
    assert mismatched_suggestions(sparse_of(run), builds, path, 96, seed=0) == []

    from splat_assets.store.tables import table_facts, write_table

    facts, table = table_facts(path), pl.read_parquet(path)
    feature = int(table.filter(pl.col("f1").is_not_null())["feature_id"][0])
    changed = table.with_columns(
        pl.when(pl.col("feature_id") == feature).then(0.99).otherwise(pl.col("f1")).alias("f1")
    )
    write_table(path, changed, facts)
    assert mismatched_suggestions(sparse_of(run), builds, path, 96, seed=0) == [feature]
    write_table(path, table, {**facts, "null": {size: [0.0] for size in facts["null"]}})
    assert len(mismatched_suggestions(sparse_of(run), builds, path, 96, seed=0)) == 96


def test_the_command_suggests_one_or_all(finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch, busy: int) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))

    one = CliRunner().invoke(command, [str(busy), "--format", "json"])
    every = CliRunner().invoke(command, ["--all", "--weak", "--format", "json"])
    neither = CliRunner().invoke(command, [])

    assert (one.exit_code, every.exit_code) == (0, 0), one.output + every.output
    assert json.loads(one.stdout)["kind"] == "suggest"
    assert json.loads(every.stdout)["facts"]["n_features"] == 96
    assert "specify one feature" in str(neither.exception)
