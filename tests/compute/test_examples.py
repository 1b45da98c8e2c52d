from pathlib import Path

import numpy as np
import polars as pl
import pytest

from splat_assets.compute.examples import EXAMPLES_SCHEMA, mismatched_examples, write_examples
from splat_assets.errors import InputError
from splat_assets.store.activations import Activations
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.tables import read_table
from tests.compute.planting import drop_row, rewrite, swap_rows
from tests.contracts.sources import DenseSource, sparse_random
from tests.store.making import DENSE, write_sparse


@pytest.fixture
def source() -> DenseSource:
    dense = sparse_random(400, 10, 0.3)
    dense[:, 3] = 0
    dense[:, 4] = 1
    return DenseSource(dense)


@pytest.fixture
def path(source: DenseSource, tmp_path: Path) -> Path:
    write_examples(source, tmp_path / "examples.parquet", n_top=5, n_per_band=3, n_random=4, seed=11)
    return tmp_path / "examples.parquet"


def test_every_example_is_an_activation_of_the_store(source: DenseSource, path: Path) -> None:
    table = read_table(path)

    assert table.schema == pl.Schema(EXAMPLES_SCHEMA)
    stored = source.dense[table["sample_id"].to_numpy(), table["feature_id"].to_numpy()]
    assert stored.tolist() == table["activation"].to_list()
    assert ((table["group"] == "random_inactive") == (table["activation"] == 0)).all()


def test_ranks_run_from_one_within_each_group(path: Path) -> None:
    for _, group in read_table(path).group_by("feature_id", "group", maintain_order=True):
        assert group["rank"].to_list() == list(range(1, group.height + 1))
        assert group["activation"].is_sorted(descending=True)


def test_the_top_group_equals_a_sort_of_the_dense_column(source: DenseSource, path: Path) -> None:
    for feature_id in (0, 4, 9):
        top = read_table(path).filter((pl.col("feature_id") == feature_id) & (pl.col("group") == "top"))
        expected = np.argsort(-source.dense[:, feature_id], kind="stable")[:5]
        assert top["sample_id"].to_list() == expected.tolist()


def test_dead_and_ever_active_features_have_what_they_can_have(path: Path) -> None:
    groups = read_table(path).group_by("feature_id").agg(pl.col("group").unique(maintain_order=True))
    by_feature = dict(groups.iter_rows())

    assert by_feature[3] == ["random_inactive"]
    assert by_feature[4] == ["top", "band_top", "random_active"]


class _Backwards(DenseSource):
    """Reads a feature only after all features behind it were read."""

    def read(self, feature_id: int) -> Activations:
        for later in range(self.n_features - 1, feature_id, -1):
            super().read(later)
        return super().read(feature_id)


def test_the_draw_of_a_feature_does_not_depend_on_the_others(source: DenseSource, path: Path, tmp_path: Path) -> None:
    changed = source.dense.copy()
    changed[:, :5] = sparse_random(400, 5, 0.5, seed=8)

    write_examples(_Backwards(changed), tmp_path / "other.parquet", 5, 3, 4, seed=11)

    later = pl.col("feature_id") >= 5
    assert read_table(tmp_path / "other.parquet").filter(later).equals(read_table(path).filter(later))


def test_the_seed_changes_the_random_groups_and_not_the_strongest(source: DenseSource, path: Path) -> None:
    again, other = path.parent / "again.parquet", path.parent / "other.parquet"
    write_examples(source, again, 5, 3, 4, seed=11)
    write_examples(source, other, 5, 3, 4, seed=12)

    top = pl.col("group") == "top"
    assert again.read_bytes() == path.read_bytes()
    assert read_table(other).filter(top).equals(read_table(path).filter(top))
    assert not read_table(other).equals(read_table(path))


def test_a_store_on_disk_passes_its_check(tmp_path: Path) -> None:
    reader = SparseReader(write_sparse(tmp_path / "activations.zarr", DENSE))

    written = write_examples(reader, tmp_path / "examples.parquet")

    assert written.n_features_with_top == 3
    assert mismatched_examples(reader, tmp_path / "examples.parquet", 4, 0) == []


def test_negative_numbers_are_refused(source: DenseSource, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be negative"):
        write_examples(source, tmp_path / "e.parquet", n_top=-1)
    with pytest.raises(InputError, match="cannot be negative"):
        write_examples(source, tmp_path / "e.parquet", seed=-1)


def test_the_check_finds_a_changed_value_a_lost_row_a_swapped_row_and_another_store(
    source: DenseSource, path: Path
) -> None:
    sound = path.read_bytes()
    first_of = {feature: row for row, feature in reversed(list(enumerate(read_table(path)["feature_id"])))}
    assert mismatched_examples(source, path, 10, 0) == []

    rewrite(path, first_of[6], activation=0.125)
    assert mismatched_examples(source, path, 10, 0) == [6]

    path.write_bytes(sound)
    drop_row(path, first_of[7])
    assert mismatched_examples(source, path, 10, 0) == [7]

    path.write_bytes(sound)
    swap_rows(path, first_of[1], first_of[1] + 1)
    assert mismatched_examples(source, path, 10, 0) == [1]

    path.write_bytes(sound)
    rewrite(path, first_of[9], feature_id=77)
    assert mismatched_examples(source, path, 10, 0) == [9, 77]

    path.write_bytes(sound)
    assert mismatched_examples(DenseSource(source.dense[:-1]), path, 10, 0) == list(range(10))
