from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splat_assets.compute.coactivation import co_activation
from splat_assets.compute.neighbours import KINDS, NEIGHBOURS_SCHEMA, mismatched_neighbours, write_neighbours
from splat_assets.errors import InputError
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.tables import read_table
from tests.compute.planting import drop_row, rewrite, swap_rows
from tests.contracts.sources import DenseSource, sparse_random
from tests.store.making import write_sparse

Dense = npt.NDArray[np.float32]
NOTHING = np.empty((0, 2), dtype=np.int32)


def decoder_of(n_features: int, width: int = 8, seed: int = 0) -> Dense:
    return np.random.default_rng(seed).normal(size=(n_features, width)).astype(np.float32)


@pytest.fixture
def source() -> DenseSource:
    dense = sparse_random(300, 20, 0.2, seed=1)
    dense[:, 3] = 0  # dead
    dense[:, 4] = 0.1  # always the same
    dense[:, 5] = dense[:, 6]  # twins
    dense[:, 7] = np.where(dense[:, 8] > 0, 3, 0)  # the same samples as 8
    return DenseSource(dense)


@pytest.fixture
def decoder() -> Dense:
    result = decoder_of(20)
    result[9] = 0
    result[11] = 2 * result[10]
    return result


@pytest.fixture
def path(source: DenseSource, decoder: Dense, tmp_path: Path) -> Path:
    write_neighbours(source, decoder, tmp_path / "neighbours.parquet", 4)
    return tmp_path / "neighbours.parquet"


def dense_scores(dense: Dense, decoder: Dense) -> dict[str, npt.NDArray[np.float64]]:
    """All scores between all features, computed the plain way; 0 on the diagonal and where nothing is defined."""
    fires = (dense > 0).astype(np.float64)
    both = fires.T @ fires
    n = np.diag(both)
    wide = dense.astype(np.float64)
    wide[:, wide.max(axis=0) == wide.min(axis=0)] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = {
            "decoder_cosine": decoder @ decoder.T / np.outer(*2 * [np.linalg.norm(decoder, axis=1)]),
            "jaccard": both / (n[:, None] + n - both),
            "pearson": np.corrcoef(wide.T),
        }
    for result in scores.values():
        np.fill_diagonal(result, 0)
    return {kind: np.nan_to_num(result.astype(np.float64)) for kind, result in scores.items()}


def assert_equal_to_dense(table: pl.DataFrame, dense: Dense, decoder: Dense, n: int) -> None:
    for kind, scores in dense_scores(dense, decoder).items():
        for feature_id in range(dense.shape[1]):
            rows = table.filter((pl.col("feature_id") == feature_id) & (pl.col("kind") == kind))
            best = np.sort(scores[feature_id])[::-1][:n]
            others = rows["other_id"].to_numpy()
            np.testing.assert_allclose(rows["score"].to_numpy(), best[best > 1e-9], rtol=1e-5)
            np.testing.assert_allclose(rows["score"].to_numpy(), scores[feature_id, others], rtol=1e-5)
            both = ((dense[:, [feature_id]] > 0) & (dense[:, others] > 0)).sum(axis=0)
            assert rows["n_both"].to_list() == both.tolist()
            assert rows["rank"].to_list() == list(range(1, rows.height + 1))


def test_neighbours_equal_the_plain_computation_on_the_dense_array(
    source: DenseSource, decoder: Dense, path: Path
) -> None:
    table = read_table(path)

    assert table.schema == pl.Schema(NEIGHBOURS_SCHEMA)
    assert_equal_to_dense(table, source.dense, decoder, 4)


def test_twins_are_each_others_nearest_by_every_measure_of_firing(path: Path) -> None:
    first = read_table(path).filter(pl.col("rank") == 1)

    for kind in ("jaccard", "pearson"):
        for feature_id, twin in ((5, 6), (6, 5)):
            row = first.filter((pl.col("feature_id") == feature_id) & (pl.col("kind") == kind)).row(0, named=True)
            assert (row["other_id"], row["score"]) == (twin, 1.0)


def test_a_decoder_row_is_nearest_to_its_multiple(path: Path) -> None:
    row = (
        read_table(path).filter((pl.col("feature_id") == 10) & (pl.col("kind") == "decoder_cosine")).row(0, named=True)
    )

    assert row["other_id"] == 11
    assert row["score"] == pytest.approx(1.0)


def test_a_dead_feature_a_constant_and_a_zero_direction_have_no_neighbours_and_are_none(path: Path) -> None:
    table = read_table(path)

    for feature_id, kinds in ((3, ("jaccard", "pearson")), (4, ("pearson",)), (9, ("decoder_cosine",))):
        of_kind = table.filter(pl.col("kind").is_in(kinds))
        assert feature_id not in of_kind["feature_id"]
        assert feature_id not in of_kind["other_id"]
    assert table.filter(pl.col("feature_id") == pl.col("other_id")).is_empty()


def test_equal_scores_go_to_the_smaller_id(tmp_path: Path) -> None:
    source = DenseSource(np.repeat(np.array([[1], [0], [2]], dtype=np.float32), 6, axis=1))

    write_neighbours(source, np.ones((6, 2), dtype=np.float32), tmp_path / "n.parquet", 3)

    table = read_table(tmp_path / "n.parquet")
    for kind in KINDS:
        ids = table.filter(pl.col("kind") == kind).group_by("feature_id", maintain_order=True).agg("other_id")
        assert ids["other_id"].to_list() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]], kind


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**16), st.integers(1, 600))
def test_the_result_does_not_depend_on_memory_or_threads(
    n_samples: int, n_features: int, density: float, seed: int, memory: int
) -> None:
    dense = sparse_random(n_samples, n_features, density, seed)
    pairs = np.array([(a, b) for a in range(n_features) for b in range(n_features) if a != b], dtype=np.int32)
    pairs = pairs.reshape(-1, 2)

    whole = co_activation(DenseSource(dense), 3, pairs, n_threads=2)
    cut = co_activation(DenseSource(dense), 3, pairs, memory_limit_bytes=memory, n_threads=1)

    for a, b in zip((*whole.jaccard, *whole.pearson), (*cut.jaccard, *cut.pearson), strict=True):
        np.testing.assert_array_equal(a, b)
    fires = dense > 0
    expected = (fires[:, pairs[:, 0]] & fires[:, pairs[:, 1]]).sum(axis=0)
    np.testing.assert_array_equal(whole.pairs_n_both, expected)
    np.testing.assert_array_equal(cut.pairs_n_both, expected)


def test_many_blocks_of_rows_and_features_equal_the_plain_computation(tmp_path: Path) -> None:
    dense, decoder = sparse_random(9000, 70, 0.1, seed=5), decoder_of(70, seed=5)

    write_neighbours(DenseSource(dense), decoder, tmp_path / "n.parquet", 6, memory_limit_bytes=30_000)

    assert_equal_to_dense(read_table(tmp_path / "n.parquet"), dense, decoder, 6)


def test_a_store_on_disk_passes_its_check_and_gives_the_same_bytes_again(
    source: DenseSource, decoder: Dense, path: Path, tmp_path: Path
) -> None:
    reader = SparseReader(write_sparse(tmp_path / "activations.zarr", source.dense))

    write_neighbours(reader, decoder, tmp_path / "again.parquet", 4)

    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()
    assert mismatched_neighbours(reader, decoder, path, 20, 0) == []


def test_one_feature_and_two_samples_have_no_neighbours(tmp_path: Path) -> None:
    source = DenseSource(np.array([[0], [3]], dtype=np.float32))

    written = write_neighbours(source, decoder_of(1), tmp_path / "n.parquet")

    assert written.n_rows == 0
    assert mismatched_neighbours(source, decoder_of(1), tmp_path / "n.parquet", 1, 0) == []


def test_what_does_not_fit_is_refused(source: DenseSource, decoder: Dense, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="decoder has 19 features, the store 20"):
        write_neighbours(source, decoder[:-1], tmp_path / "n.parquet")
    with pytest.raises(InputError, match="must be at least 1, not 0"):
        write_neighbours(source, decoder, tmp_path / "n.parquet", 0)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_finds_a_changed_score_id_count_or_a_lost_row_of_each_kind(
    kind: str, source: DenseSource, decoder: Dense, path: Path
) -> None:
    sound = path.read_bytes()
    table = read_table(path).with_row_index("row")
    last = table.filter((pl.col("feature_id") == 12) & (pl.col("kind") == kind)).row(-1, named=True)
    row = last["row"]
    strangers = set(range(20)) - {12} - set(table.filter(pl.col("feature_id") == 12)["other_id"])

    faults = (
        lambda: rewrite(path, row, score=last["score"] * 0.999),
        lambda: rewrite(path, row, other_id=min(strangers)),
        lambda: rewrite(path, row, n_both=last["n_both"] + 1),
        lambda: swap_rows(path, row, row - 1),
        lambda: drop_row(path, row),
        lambda: rewrite(path, row, kind="hearsay"),
    )
    for fault in faults:
        path.write_bytes(sound)
        fault()
        assert mismatched_neighbours(source, decoder, path, 20, 0) == [12]


def test_the_check_finds_a_table_of_another_store_or_decoder(source: DenseSource, decoder: Dense, path: Path) -> None:
    other = DenseSource(sparse_random(300, 20, 0.2, seed=2))

    assert len(mismatched_neighbours(other, decoder, path, 20, 0)) == 20
    assert len(mismatched_neighbours(source, decoder_of(20, seed=3), path, 20, 0)) == 20
    assert len(mismatched_neighbours(DenseSource(source.dense[:-1]), decoder, path, 5, 0)) == 5
