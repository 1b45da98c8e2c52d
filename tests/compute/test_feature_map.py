from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from splat_assets.compute.feature_map import (
    clusters_of,
    mismatched_feature_map,
    n_near,
    neighbour_graph,
    neighbours_kept,
    write_feature_map,
)
from splat_assets.compute.neighbours import write_neighbours
from splat_assets.errors import InputError
from splat_assets.store.tables import read_table, table_facts, write_table
from tests.contracts.sources import DenseSource, sparse_random

N_GROUPS, N_EACH = 5, 24


@pytest.fixture(scope="module")
def decoder() -> npt.NDArray[np.float32]:
    """Five groups of 24 features that point roughly the same way."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(N_GROUPS, 16))
    return (np.repeat(centres, N_EACH, axis=0) + 0.2 * random.normal(size=(N_GROUPS * N_EACH, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def neighbours(decoder: npt.NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    dense = sparse_random(400, N_GROUPS * N_EACH, 0.1, seed=1)
    dense[:, 7] = 0  # dead
    path = Path(tmp_path_factory.mktemp("map")) / "neighbours.parquet"
    write_neighbours(DenseSource(dense), decoder, path, 10)
    return path


@pytest.fixture(scope="module")
def written(neighbours: Path, decoder: npt.NDArray[np.float32]) -> Path:
    path = neighbours.parent / "feature_map.parquet"
    write_feature_map(neighbours, decoder, path, seed=3)
    return path


def test_groups_of_alike_features_are_the_clusters_and_lie_together(written: Path) -> None:
    table = read_table(written)
    group = np.repeat(np.arange(N_GROUPS), N_EACH)

    clusters = table["decoder_cluster"].to_numpy()
    assert [set(clusters[group == one].tolist()) for one in range(N_GROUPS)] == [{0}, {1}, {2}, {3}, {4}]
    places = table.select("decoder_x", "decoder_y").to_numpy()
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(axis=1)] == group).all()


def test_who_has_no_neighbour_has_no_place(written: Path) -> None:
    row = read_table(written).row(7, named=True)

    assert (row["coactivation_x"], row["coactivation_y"], row["coactivation_cluster"]) == (None, None, None)
    assert row["decoder_x"] is not None


def test_the_same_again_is_the_same_bytes_and_another_seed_is_not(
    written: Path, neighbours: Path, decoder: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    write_feature_map(neighbours, decoder, tmp_path / "again.parquet", seed=3)
    write_feature_map(neighbours, decoder, tmp_path / "other.parquet", seed=4)

    assert (tmp_path / "again.parquet").read_bytes() == written.read_bytes()
    assert not read_table(tmp_path / "other.parquet").equals(read_table(written))


def test_weights_are_shares_of_the_best_score_united_over_both_directions() -> None:
    rows = [(0, 1, 0.8), (0, 2, 0.4), (1, 0, 0.8), (2, 1, 0.5), (2, 0, 0.4)]
    table = pl.DataFrame(
        rows, schema={"feature_id": pl.UInt32, "other_id": pl.UInt32, "score": pl.Float32}, orient="row"
    )
    table = table.with_columns(kind=pl.lit("pearson"))

    graph = neighbour_graph(table, "pearson", 4).toarray()

    half, most = 0.4 / 0.8, 0.4 / 0.5
    np.testing.assert_allclose(
        graph,
        [[0, 1, half + most - half * most, 0], [1, 0, 1, 0], [half + most - half * most, 1, 0, 0], [0] * 4],
        atol=1e-6,
    )


def test_the_share_of_neighbours_that_are_near_is_counted_over_all_features(
    written: Path, neighbours: Path, decoder: npt.NDArray[np.float32]
) -> None:
    graph = neighbour_graph(read_table(neighbours), "decoder_cosine", len(decoder))
    places = read_table(written).select("decoder_x", "decoder_y").to_numpy()
    near, weights = n_near(len(places)), graph.toarray()
    shares = []
    for feature_id, place in enumerate(places):
        by_distance = np.argsort(np.linalg.norm(places - place, axis=1), kind="stable")[1 : near + 1]
        alike = np.argsort(-weights[feature_id], kind="stable")[:10]
        shares.append(np.isin(alike, by_distance).mean())

    assert read_table(written)["decoder_kept"].to_list() == pytest.approx(shares)
    assert table_facts(written, "nearest_kept")["nearest_kept"]["decoder"] == pytest.approx(np.mean(shares))
    assert np.mean(shares) > 0.9
    shuffled = np.random.default_rng(0).permutation(places)
    by_chance = neighbours_kept(graph, np.arange(len(places)), shuffled)
    assert by_chance.mean() == pytest.approx(near / len(places), abs=0.05)


@pytest.mark.parametrize("n_features", [1, 2, 5, 12])
def test_few_features_have_a_map_all_the_same(n_features: int, tmp_path: Path) -> None:
    dense = sparse_random(30, n_features, 0.5, seed=2)
    decoder = np.random.default_rng(1).normal(size=(n_features, 4)).astype(np.float32)
    write_neighbours(DenseSource(dense), decoder, tmp_path / "neighbours.parquet", 3)

    write_feature_map(tmp_path / "neighbours.parquet", decoder, tmp_path / "map.parquet", seed=0)

    assert mismatched_feature_map(tmp_path / "neighbours.parquet", tmp_path / "map.parquet", seed=0) == []
    assert read_table(tmp_path / "map.parquet").height == n_features


def test_a_sound_map_passes_and_a_shuffled_one_that_says_so_does_not(
    written: Path, neighbours: Path, tmp_path: Path
) -> None:
    assert mismatched_feature_map(neighbours, written, seed=3) == []

    table, facts = read_table(written), table_facts(written)
    places = table.select("decoder_x", "decoder_y").to_numpy()
    order = np.random.default_rng(0).permutation(len(places))
    graph = neighbour_graph(read_table(neighbours), "decoder_cosine", len(places))
    kept = neighbours_kept(graph, np.arange(len(places)), places[order])
    facts["nearest_kept"]["decoder"] = float(kept.astype(np.float64).mean())
    shuffled = table.with_columns(
        decoder_x=pl.Series(places[order, 0]), decoder_y=pl.Series(places[order, 1]), decoder_kept=pl.Series(kept)
    )
    write_table(tmp_path / "shuffled.parquet", shuffled, facts)

    assert "hardly nearer" in mismatched_feature_map(neighbours, tmp_path / "shuffled.parquet", seed=3)[0]


def test_clusters_are_numbered_by_size() -> None:
    blocks = np.zeros((12, 12))
    for start, size in ((0, 3), (3, 5), (8, 4)):
        blocks[start : start + size, start : start + size] = 1 - np.eye(size)

    from scipy.sparse import csr_array

    assert clusters_of(csr_array(blocks), seed=0).tolist() == [2] * 3 + [0] * 5 + [1] * 4


def test_another_decoder_is_refused(neighbours: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 features"):
        write_feature_map(neighbours, np.ones((3, 4), np.float32), tmp_path / "map.parquet", seed=0)
    assert not (tmp_path / "map.parquet").exists()
