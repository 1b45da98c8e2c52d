"""The table of suggested labels on a small planted store: concepts are recovered, permuted features not labelled, damage is."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.inference.intervals import benjamini_hochberg
from splat_assets.compute.suggested_labels import (
    SUGGESTED_SCHEMA,
    build_table_of,
    mismatched_suggestions,
    write_suggested_labels,
)
from splat_assets.data.planted import PLANTED
from splat_assets.domain.concepts import parse_rule
from splat_assets.store.tables import read_table
from splat_assets.store.vocabulary import Contexts, Vocabulary
from tests.analysis.demo_builds import demo_builds, nearly
from tests.compute.planting import rewrite
from tests.contracts.sources import DenseSource

N_DEAD = 1


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> BuildTable:
    return demo_builds(tmp_path_factory.mktemp("demo"), seed=2)


@pytest.fixture(scope="module")
def planted(builds: BuildTable) -> DenseSource:
    """A feature for each concept, which fires nearly where the rule holds; one is dead."""
    rng = np.random.default_rng(0)
    dense = np.zeros((builds.n_samples, len(PLANTED) + N_DEAD), dtype=np.float32)
    for at, concept in enumerate(PLANTED):
        fires = nearly(builds.holds(concept.rule), rng)
        dense[fires, at] = 1 + rng.random(fires.sum())
    return DenseSource(dense)


@pytest.fixture(scope="module")
def path(planted: DenseSource, builds: BuildTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = Path(tmp_path_factory.mktemp("table")) / "suggested_labels.parquet"
    write_suggested_labels(planted, builds, result, seed=3, n_draws=20)
    return result


def test_nine_in_ten_planted_concepts_are_recovered(path: Path, builds: BuildTable) -> None:
    table, recovered = read_table(path), 0
    for concept, row in zip(PLANTED, table.iter_rows(named=True), strict=False):
        holds = builds.holds(concept.rule)
        if row["rule"] is None:
            continue
        suggested = builds.holds(parse_rule(json.loads(row["rule"])))
        recovered += row["suggested"] and (suggested & holds).sum() >= 0.8 * (suggested | holds).sum()

    assert recovered >= 0.9 * len(PLANTED)


def test_rows_hold_what_a_count_on_the_other_half_gives(path: Path, planted: DenseSource, builds: BuildTable) -> None:
    table = read_table(path)
    row = table.row(0, named=True)

    assert table.schema == pl.Schema(SUGGESTED_SCHEMA)
    assert row["n_active"] == np.count_nonzero(planted.dense[:, 0])
    holds = builds.holds(parse_rule(json.loads(row["rule"])))
    assert row["n_rule"] < holds.sum() and row["n"] < builds.n_samples
    assert row["f1"] == pytest.approx(2 * row["n_both"] / (row["n_rule"] + row["n_active_held_out"]))
    assert (row["precision"], row["recall"]) == pytest.approx(
        (row["n_both"] / row["n_rule"], row["n_both"] / row["n_active_held_out"])
    )
    np.testing.assert_allclose(
        table["q"].fill_null(np.nan), benjamini_hochberg(table["p"].fill_null(np.nan).to_numpy()), equal_nan=True
    )


def test_a_dead_feature_has_no_rule(path: Path) -> None:
    row = read_table(path).row(-1, named=True)

    assert (row["n_active"], row["suggested"]) == (0, False)
    assert all(row[name] is None for name in SUGGESTED_SCHEMA if name not in ("feature_id", "n_active", "suggested"))


def test_a_store_of_permuted_activations_gets_no_labels(
    planted: DenseSource, builds: BuildTable, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    permuted = np.column_stack([rng.permutation(column) for column in np.tile(planted.dense[:, :-N_DEAD], 2).T])

    write_suggested_labels(DenseSource(permuted), builds, tmp_path / "permuted.parquet", seed=3, n_draws=20)

    table = read_table(tmp_path / "permuted.parquet")
    assert table.height == 2 * len(PLANTED)
    assert table["suggested"].sum() <= 0.05 * table.height
    assert (table["q"] > 0.05).all()


def test_a_second_search_gives_the_same_and_a_changed_row_is_detected(
    path: Path, planted: DenseSource, builds: BuildTable, tmp_path: Path
) -> None:
    again = tmp_path / "again.parquet"
    write_suggested_labels(planted, builds, again, seed=3, n_draws=20)
    assert again.read_bytes() == path.read_bytes()
    assert mismatched_suggestions(planted, builds, again, n_sampled=50, seed=0) == []

    rewrite(again, 4, rule=read_table(again)["rule"][5])
    assert mismatched_suggestions(planted, builds, again, n_sampled=50, seed=0) == [4]


def test_builds_of_a_sample_table_are_those_of_its_rows() -> None:
    samples = pl.DataFrame(
        {"tokens": [[3, 1], [2], [1]], "weapon_id_token": [5, 6, 5]},
        schema_overrides={"tokens": pl.List(pl.UInt16), "weapon_id_token": pl.Int32},
    )

    result = build_table_of(samples, Vocabulary((), -1, None), Contexts(()))

    assert (result.tokens.tolist(), result.offsets.tolist(), result.weapons.tolist()) == (
        [3, 1, 2, 1],
        [0, 2, 3, 4],
        [5, 6, 5],
    )
