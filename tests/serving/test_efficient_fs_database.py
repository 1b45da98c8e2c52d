"""The guide's Python database: every method against brute force over the dense arrays, over every layout."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import zarr
from polars.testing import assert_frame_equal

from splat_assets.errors import InputError
from splat_assets.store.errors import CorruptStoreError, FeatureNotFoundError, LayoutError, SampleNotFoundError
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.guide.transposed import write_transposed
from splat_assets.store.layout import DataRoot, RunLayout
from splat_assets.store.published.publishing import publish
from splat_assets.store.samples import write_samples
from splat_serving.database.errors import NotComputedError, ParameterError, UnknownNameError
from splat_serving.database.local import LocalDatabase
from splat_serving.database.selection import Selection
from splat_serving.guide.efficient_fs_database import EfficientFSDatabase
from splat_serving.guide.storage_config import StorageConfig
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random
from tests.serving.test_storage_backends import Held
from tests.store.making import DENSE, staged_parts
from tests.store.upstream_folders import write_upstream_tree


@dataclass(frozen=True)
class Truth:
    """What the small run is, read with zarr and polars alone. dense: float32, shape (n_samples, n_features)."""

    dense: npt.NDArray[np.float32]
    samples: pl.DataFrame

    def active(self, feature_id: int) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self.dense[:, feature_id])

    def strongest(self, feature_id: int) -> npt.NDArray[np.intp]:
        """Active samples, strongest first, equal ones by id."""
        ids = self.active(feature_id)
        return ids[np.argsort(-self.dense[ids, feature_id], kind="stable")]


def dense_of(efficient: Path) -> npt.NDArray[np.float32]:
    parts = [zarr.open_array(str(path), mode="r")[:] for path in sorted((efficient / "activations").glob("*.zarr"))]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def run(finished_root: DataRoot) -> RunLayout:
    return finished_root.run("small")


@pytest.fixture(scope="module")
def truth(run: RunLayout) -> Truth:
    tables = [pl.read_parquet(path) for path in sorted((run.efficient / "metadata").glob("*.parquet"))]
    return Truth(dense_of(run.efficient), pl.concat(tables))


OPENED: dict[str, Callable[[RunLayout], EfficientFSDatabase]] = {
    "run": lambda run: EfficientFSDatabase(run.root),
    "store": lambda run: EfficientFSDatabase(data_dir=str(run.store)),
    "batches": lambda run: EfficientFSDatabase(run.efficient),
    "batches and transposed": lambda run: EfficientFSDatabase(run.efficient, transposed_dir=run.transposed),
    "batches and neuron_acts": lambda run: EfficientFSDatabase(run.efficient, neuron_acts_dir=run.neuron_acts),
    "own backend": lambda run: EfficientFSDatabase(
        config=StorageConfig("mine", run.efficient, loaders=[Held(dense_of(run.efficient))])
    ),
}
FASTEST = {
    "run": "published store",
    "store": "published store",
    "batches": "batch tree",
    "batches and transposed": "transposed array",
    "batches and neuron_acts": "files per feature (neuron_acts)",
    "own backend": "Held",
}


@pytest.fixture(scope="module", params=OPENED)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def db(layout: str, run: RunLayout) -> EfficientFSDatabase:
    return OPENED[layout](run)


@pytest.fixture(scope="module")
def published(run: RunLayout) -> EfficientFSDatabase:
    return EfficientFSDatabase(run.root)


def tree(folder: Path, dense: npt.NDArray[np.float32] = DENSE, batch_rows: int = 2) -> Path:
    """A batch tree of a dense array, with samples of one to three tokens."""
    write_batches(DenseSource(dense), sample_table(len(dense)), None, VOCABULARY, folder, batch_rows)
    return folder


def test_the_fastest_backend_comes_first(db: EfficientFSDatabase, layout: str) -> None:
    assert db.loaders[0] == FASTEST[layout]


def test_every_feature_is_listed_whether_or_not_it_fires(db: EfficientFSDatabase, truth: Truth) -> None:
    assert db.get_all_feature_ids() == list(range(truth.dense.shape[1]))
    assert (db.n_samples, db.n_features) == truth.dense.shape


def test_all_activations_come_in_data_order_with_their_samples(db: EfficientFSDatabase, truth: Truth) -> None:
    for feature_id in db.get_all_feature_ids():
        ids = truth.active(feature_id)

        rows = db.get_all_feature_activations_for_pagerank(feature_id)

        assert rows.columns == ["activation", "weapon_id", "ability_input_tokens", "global_index"]
        assert rows.dtypes[:2] == [pl.Float32, pl.Int64]
        np.testing.assert_array_equal(rows["global_index"], ids)
        np.testing.assert_array_equal(rows["activation"], truth.dense[ids, feature_id])
        np.testing.assert_array_equal(rows["weapon_id"], truth.samples["weapon_id_token"].to_numpy()[ids])
        assert rows["ability_input_tokens"].to_list() == truth.samples["ability_tokens"].gather(ids).to_list()


def test_a_limit_keeps_the_first_rows_and_abilities_can_be_left_out(db: EfficientFSDatabase, feature_id: int) -> None:
    whole = db.get_all_feature_activations_for_pagerank(feature_id)

    some = db.get_all_feature_activations_for_pagerank(feature_id, limit=5, include_abilities=False)

    assert_frame_equal(some, whole.drop("ability_input_tokens").head(5))


def test_negative_activations_are_there_or_not_alike(db: EfficientFSDatabase, feature_id: int) -> None:
    with_them = db.get_all_feature_activations_for_pagerank(feature_id, include_negative=True)

    without = db.get_all_feature_activations_for_pagerank(feature_id, include_negative=False)

    assert_frame_equal(with_them, without)


def test_a_draw_is_a_share_of_the_rows_that_its_seed_decides(db: EfficientFSDatabase, feature_id: int) -> None:
    whole = db.get_all_feature_activations_for_pagerank(feature_id)

    drawn, again, other = (
        db.get_all_feature_activations_for_pagerank(feature_id, sample_frac=0.5, seed=seed) for seed in (1, 1, 2)
    )

    assert drawn.height == round(whole.height / 2)
    assert_frame_equal(drawn, whole.filter(pl.col("global_index").is_in(drawn["global_index"].implode())))
    assert_frame_equal(drawn, again)
    assert not drawn.equals(other)


def test_top_activations_are_the_strongest_with_upstreams_columns(db: EfficientFSDatabase, truth: Truth) -> None:
    for feature_id in db.get_all_feature_ids():
        ids = truth.strongest(feature_id)[:7]

        rows = db.get_feature_activations(feature_id, 7)

        assert rows.columns == [
            "index",
            "activation",
            "ability_input_tokens",
            "weapon_id_token",
            "weapon_id",
            "batch_id",
            "sample_id",
            "is_null",
        ]
        known = truth.samples[ids.tolist()]
        np.testing.assert_array_equal(rows["index"], ids)
        np.testing.assert_array_equal(rows["activation"], truth.dense[ids, feature_id])
        assert rows["ability_input_tokens"].to_list() == known["ability_tokens"].to_list()
        assert rows["weapon_id"].to_list() == rows["weapon_id_token"].to_list() == known["weapon_id_token"].to_list()
        assert rows["is_null"].to_list() == known["is_null_token"].to_list()


def test_without_a_limit_every_active_sample_is_there(db: EfficientFSDatabase, truth: Truth, feature_id: int) -> None:
    np.testing.assert_array_equal(db.get_feature_activations(feature_id)["index"], truth.strongest(feature_id))


@pytest.mark.parametrize("folder", ["batches", "batches and transposed", "batches and neuron_acts", "own backend"])
def test_batches_and_rows_are_those_of_the_metadata(folder: str, run: RunLayout, truth: Truth, feature_id: int) -> None:
    rows = OPENED[folder](run).get_feature_activations(feature_id)

    known = truth.samples[rows["index"].to_list()]
    assert rows["batch_id"].to_list() == known["batch_id"].to_list()
    assert rows["sample_id"].to_list() == known["sample_id"].to_list()


def test_batches_of_a_published_store_are_the_shards_it_was_made_in(
    published: EfficientFSDatabase, feature_id: int
) -> None:
    rows = published.get_feature_activations(feature_id)

    assert (rows["batch_id"] * 256 + rows["sample_id"]).to_list() == rows["index"].to_list()


@pytest.mark.parametrize(
    ("ask", "n_tokens"),
    [
        (EfficientFSDatabase.get_single_token_examples, 1),
        (EfficientFSDatabase.get_pair_examples, 2),
        (EfficientFSDatabase.get_triple_examples, 3),
        (EfficientFSDatabase.get_top_examples, None),
    ],
)
def test_examples_are_the_strongest_samples_of_so_many_tokens(
    ask: Callable[..., pl.DataFrame], n_tokens: int | None, db: EfficientFSDatabase, truth: Truth
) -> None:
    lengths = truth.samples["ability_tokens"].list.len().to_numpy()
    for feature_id in db.get_all_feature_ids():
        ids = truth.strongest(feature_id)
        wanted = ids if n_tokens is None else ids[lengths[ids] == n_tokens]

        np.testing.assert_array_equal(ask(db, feature_id)["index"], wanted[:50])
        np.testing.assert_array_equal(ask(db, feature_id, limit=2)["index"], wanted[:2])


def test_examples_are_separated_by_their_number_of_tokens(tmp_path: Path) -> None:
    dense = sparse_random(60, 3, 0.7)
    db = EfficientFSDatabase(tree(tmp_path / "efficient", dense))

    found = [db.get_single_token_examples(0), db.get_pair_examples(0), db.get_triple_examples(0)]

    assert [set(rows["ability_input_tokens"].list.len()) for rows in found] == [{1}, {2}, {3}]
    assert sum(rows.height for rows in found) == np.count_nonzero(dense[:, 0])


@pytest.mark.parametrize("num_bins", [1, 20, 33])
def test_a_histogram_counts_every_value_once_highest_bin_first(num_bins: int, run: RunLayout, truth: Truth) -> None:
    db = EfficientFSDatabase(run.efficient, num_bins=num_bins, neuron_acts_dir=run.neuron_acts)
    for feature_id in db.get_all_feature_ids():
        values = truth.dense[truth.active(feature_id), feature_id].astype(np.float64)
        if not values.size:
            continue
        edges = np.linspace(0, values.max(), num_bins + 1)

        rows = db.get_feature_histogram(feature_id)

        assert rows.columns == ["bin_idx", "lower_bound", "upper_bound", "count"]
        assert rows["bin_idx"].to_list() == list(range(num_bins))[::-1]
        np.testing.assert_array_equal(rows["count"], np.histogram(values, edges)[0][::-1])
        np.testing.assert_array_equal(rows["lower_bound"], edges[:-1][::-1])
        np.testing.assert_array_equal(rows["upper_bound"], edges[1:][::-1])


@pytest.mark.parametrize("with_zeros", [False, True])
def test_statistics_are_those_of_numpy(with_zeros: bool, db: EfficientFSDatabase, truth: Truth) -> None:
    for feature_id in db.get_all_feature_ids():
        column = truth.dense[:, feature_id].astype(np.float64)
        values = column if with_zeros else column[column > 0]

        stats: dict[str, Any] = {**db.get_feature_stats(feature_id, with_zeros)}

        assert stats["n_zeros"] == np.count_nonzero(column == 0)
        assert stats["n_total"] == column.size
        assert stats["sparsity"] == pytest.approx(np.mean(column == 0))
        if values.size:
            expected = {
                "min": values.min(),
                "max": values.max(),
                "mean": values.mean(),
                "median": np.median(values),
                "std": values.std(),
                "q25": np.quantile(values, 0.25),
                "q75": np.quantile(values, 0.75),
            }
            assert {name: stats[name] for name in expected} == pytest.approx(expected)


def test_a_feature_that_never_fires_has_no_statistics_and_true_counts(tmp_path: Path) -> None:
    db = EfficientFSDatabase(tree(tmp_path / "efficient"))

    stats = db.get_feature_stats(1)

    nothing = dict.fromkeys(("min", "max", "mean", "median", "std", "q25", "q75"))
    assert stats == nothing | {"n_zeros": 5, "n_total": 5, "sparsity": 1.0}
    assert db.get_feature_stats(1, with_zeros=True)["median"] == 0
    assert db.get_feature_histogram(1).height == 0
    assert db.get_feature_activations(1).height == 0
    assert db.get_all_feature_activations_for_pagerank(1).height == 0
    assert db.get_feature_summary(1)["n_examples"] == 0
    assert db.get_feature_summary(1)["top_weapons"] == []


def test_a_sample_has_its_strongest_features_first(db: EfficientFSDatabase, truth: Truth) -> None:
    for global_idx in (0, 1, 499, 500, truth.dense.shape[0] - 1):
        row = truth.dense[global_idx]
        order = np.argsort(-row, kind="stable")
        expected = [(int(i), float(row[i])) for i in order if row[i] > 0]

        assert db.get_example_activations(global_idx, top_k=3) == expected[:3]
        assert db.get_example_activations(global_idx, top_k=None) == expected


def test_the_batch_and_row_of_an_activation_lead_back_to_its_sample(db: EfficientFSDatabase, feature_id: int) -> None:
    for row in db.get_feature_activations(feature_id, 20).iter_rows(named=True):
        found = db.get_example_activations_by_batch(row["batch_id"], row["sample_id"], top_k=None)

        assert dict(found)[feature_id] == row["activation"]
        assert found == db.get_example_activations(row["index"], top_k=None)


def test_batches_of_unequal_sizes_are_addressed_by_position_not_by_index(tmp_path: Path) -> None:
    dense = sparse_random(13, 6, 0.6)
    db = EfficientFSDatabase(write_upstream_tree(dense, [5, 2, 6], tmp_path / "efficient"))
    first = 0

    for batch_id, n_rows in enumerate([5, 2, 6]):
        for row in range(n_rows):
            expected = {int(i): float(dense[first + row, i]) for i in np.flatnonzero(dense[first + row])}
            assert dict(db.get_example_activations_by_batch(batch_id, row)) == expected
        first += n_rows
    for feature_id in range(6):
        ids = np.flatnonzero(dense[:, feature_id])
        assert db.get_all_feature_activations_for_pagerank(feature_id)["global_index"].to_list() == ids.tolist()


def test_a_batch_or_row_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    db = EfficientFSDatabase(tree(tmp_path / "efficient"))

    with pytest.raises(ParameterError, match="batch 3 does not exist; batches are 0 to 2"):
        db.get_example_activations_by_batch(3, 0)
    with pytest.raises(ParameterError, match="row 1 of batch 2 does not exist; rows are 0 to 0"):
        db.get_example_activations_by_batch(2, 1)
    with pytest.raises(SampleNotFoundError, match="samples 0 to 4"):
        db.get_example_activations(5)


@pytest.mark.parametrize("rows", [[1, 2, 3, 4, 5], [0, 1, 0, 2, 3]])
def test_inconsistent_row_numbers_of_batches_are_refused(rows: list[int], tmp_path: Path) -> None:
    parts = staged_parts(tmp_path / "parts", DENSE)
    write_samples(sample_table(5).with_columns(sample_id=pl.Series(rows, dtype=pl.Int64)), tmp_path / "parts")
    publish(tmp_path / "store", parts, {})

    with pytest.raises(CorruptStoreError, match="sample_id does not number the rows of batches"):
        EfficientFSDatabase(tmp_path / "store").get_example_activations_by_batch(0, 0)


def test_features_of_a_weapon_are_counted_over_all_samples(db: EfficientFSDatabase, truth: Truth) -> None:
    weapons = truth.samples["weapon_id_token"].to_numpy()
    weapon = int(np.bincount(weapons).argmax())
    active = truth.dense > 0

    rows = db.search_features_by_weapon(weapon, limit=None)

    n_both = active[weapons == weapon].sum(axis=0)
    assert sorted(rows["feature_id"]) == np.flatnonzero(n_both).tolist()
    for row in rows.iter_rows(named=True):
        assert row["n_both"] == n_both[row["feature_id"]]
        assert row["n_active"] == active[:, row["feature_id"]].sum()
        indicators = np.corrcoef(active[:, row["feature_id"]], weapons == weapon)
        assert row["phi"] == pytest.approx(indicators[0, 1])
    assert rows["phi"].is_sorted(descending=True)
    assert_frame_equal(db.search_features_by_weapon(str(weapon), limit=2), rows.head(2))


def test_features_of_a_weapon_are_counted_over_more_samples_than_are_read_at_once(tmp_path: Path) -> None:
    dense = sparse_random(20_000, 3, 0.1)
    weapons = sample_table(len(dense))["weapon_id_token"].to_numpy()

    rows = EfficientFSDatabase(tree(tmp_path / "efficient", dense, batch_rows=7_000)).search_features_by_weapon(2)

    counted = rows.sort("feature_id").select("n_both", "n_active").to_numpy().T.tolist()
    assert counted == [(dense[weapons == 2] > 0).sum(axis=0).tolist(), (dense > 0).sum(axis=0).tolist()]


def test_a_weapon_has_a_name_where_the_names_are_recorded(published: EfficientFSDatabase) -> None:
    by_name = published.search_features_by_weapon("Sploosh-o-matic")

    assert_frame_equal(by_name, published.search_features_by_weapon(0))
    with pytest.raises(UnknownNameError, match="unknown weapon 'Spoon'"):
        published.search_features_by_weapon("Spoon")


def test_a_summary_counts_weapons_over_all_active_samples(db: EfficientFSDatabase, truth: Truth) -> None:
    for feature_id in db.get_all_feature_ids():
        ids = truth.active(feature_id)
        weapons = truth.samples["weapon_id_token"].to_numpy()[ids]
        values = truth.dense[ids, feature_id].astype(np.float64)

        summary = db.get_feature_summary(feature_id, n_weapons=1000)

        assert summary["n_examples"] == ids.size
        top = summary["top_weapons"]
        assert top is not None
        assert sum(one["n"] for one in top) == ids.size
        assert top == sorted(top, key=lambda one: (-one["n"], one["weapon_id"]))
        for one in top:
            assert one["n"] == np.count_nonzero(weapons == one["weapon_id"])
            assert one["mean_activation"] == pytest.approx(values[weapons == one["weapon_id"]].mean())
        assert {**summary} == {**summary, **db.get_feature_stats(feature_id)}
        assert db.get_feature_summary(feature_id, n_weapons=2)["top_weapons"] == top[:2]


def test_every_layout_gives_the_answers_of_the_published_store(
    db: EfficientFSDatabase, published: EfficientFSDatabase
) -> None:
    of_layout = ["batch_id", "sample_id"]
    for feature_id in published.get_all_feature_ids():
        for with_zeros in (False, True):
            assert db.get_feature_stats(feature_id, with_zeros) == published.get_feature_stats(feature_id, with_zeros)
        assert_frame_equal(db.get_feature_histogram(feature_id), published.get_feature_histogram(feature_id))
        assert_frame_equal(
            db.get_feature_activations(feature_id).drop(of_layout),
            published.get_feature_activations(feature_id).drop(of_layout),
        )
        assert db.get_feature_summary(feature_id) == published.get_feature_summary(feature_id)
        assert_frame_equal(
            db.get_all_feature_activations_for_pagerank(feature_id, sample_frac=0.3),
            published.get_all_feature_activations_for_pagerank(feature_id, sample_frac=0.3),
        )
    for weapon in (0, 5):
        assert_frame_equal(db.search_features_by_weapon(weapon), published.search_features_by_weapon(weapon))


def test_the_answers_are_those_of_the_local_database(db: EfficientFSDatabase, run: RunLayout, feature_id: int) -> None:
    local = LocalDatabase.open(run.root)

    strongest = local.activations(feature_id, Selection(order="activation", limit=9), ["global_index", "activation"])
    found = db.get_feature_activations(feature_id, 9)
    stats: dict[str, Any] = {**db.get_feature_stats(feature_id)}

    assert_frame_equal(
        db.get_all_feature_activations_for_pagerank(feature_id), local.activations(feature_id).to_polars()
    )
    np.testing.assert_array_equal(found["index"], strongest.sample_ids)
    np.testing.assert_array_equal(found["activation"], strongest.values)
    recorded = local.feature(feature_id).statistics
    for name in ("min", "max", "mean", "median", "std", "q25", "q75", "sparsity"):
        assert stats[name] == recorded[name]
    assert dict(db.get_example_activations(3, None)) == dict(
        zip(
            *(part.tolist() for part in (local.sample(3).features.feature_ids, local.sample(3).features.values)),
            strict=True,
        )
    )


def test_no_method_touches_the_global_random_state(db: EfficientFSDatabase, feature_id: int) -> None:
    np.random.seed(7)
    random.seed(7)
    numpy_before, python_before = str(np.random.get_state()), random.getstate()

    db.get_feature_stats(feature_id)
    db.get_feature_histogram(feature_id)
    db.get_feature_summary(feature_id)
    db.get_top_examples(feature_id)
    db.get_example_activations(0)
    db.search_features_by_weapon(0)
    db.get_all_feature_activations_for_pagerank(feature_id, sample_frac=0.5)

    assert str(np.random.get_state()) == numpy_before
    assert random.getstate() == python_before


def test_an_unknown_feature_names_the_valid_range(db: EfficientFSDatabase) -> None:
    asks: list[Callable[[int], Any]] = [
        db.get_feature_histogram,
        db.get_feature_activations,
        db.get_feature_stats,
        db.get_feature_summary,
        db.get_top_examples,
        db.get_all_feature_activations_for_pagerank,
    ]
    for ask in asks:
        for feature_id in (-1, db.n_features, 24_575):
            with pytest.raises(FeatureNotFoundError, match=f"feature {feature_id} .*features 0 to {db.n_features - 1}"):
                ask(feature_id)


def test_limits_below_zero_mean_nothing(db: EfficientFSDatabase) -> None:
    asks: list[Callable[[], Any]] = [
        lambda: db.get_feature_activations(0, -1),
        lambda: db.get_top_examples(0, -1),
        lambda: db.get_example_activations(0, -1),
        lambda: db.search_features_by_weapon(0, -1),
        lambda: db.get_feature_summary(0, -1),
        lambda: db.get_all_feature_activations_for_pagerank(0, limit=-1),
    ]
    for ask in asks:
        with pytest.raises(ParameterError, match="limit: must be 0 or more"):
            ask()


def test_statistics_come_from_the_table_that_was_computed_for_a_folder(own_root: DataRoot) -> None:
    run = own_root.run("small")
    run.precomputed.mkdir(exist_ok=True)
    table = LocalDatabase.open(run.root).features()
    table.with_columns(median=pl.lit(123.0)).write_parquet(run.precomputed / "features.parquet")

    stats = EfficientFSDatabase(run.efficient).get_feature_stats(3)

    assert stats["median"] == 123.0


def test_a_table_of_other_activations_is_refused(own_root: DataRoot) -> None:
    run = own_root.run("small")
    run.precomputed.mkdir(exist_ok=True)
    table = LocalDatabase.open(run.root).features()
    table.head(50).write_parquet(run.precomputed / "features.parquet")

    with pytest.raises(LayoutError, match=r"features.parquet .*recompute"):
        EfficientFSDatabase(run.efficient).get_feature_stats(3)


def test_folders_of_two_runs_are_refused(run: RunLayout, tmp_path: Path) -> None:
    write_transposed(DenseSource(DENSE), tmp_path)

    for data_dir in (run.root, run.efficient):
        with pytest.raises(LayoutError, match="come from different runs"):
            EfficientFSDatabase(data_dir, transposed_dir=tmp_path)


def test_a_store_is_preferred_to_the_formats_beside_it(run: RunLayout, feature_id: int) -> None:
    db = EfficientFSDatabase(run.root, transposed_dir=run.transposed, neuron_acts_dir=run.neuron_acts)

    assert db.loaders == ("published store",)
    assert db.get_feature_activations(feature_id, 1).height == 1


def test_folders_cannot_be_passed_twice(run: RunLayout) -> None:
    with pytest.raises(InputError, match="passed twice"):
        EfficientFSDatabase(run.root, config=StorageConfig("small", run.root))
    with pytest.raises(InputError, match="nothing to open"):
        EfficientFSDatabase()
    with pytest.raises(ParameterError, match="num_bins: must be 1 or more"):
        EfficientFSDatabase(run.root, num_bins=0)


def test_a_folder_without_activations_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no activations; expected published store"):
        EfficientFSDatabase(tmp_path)


def test_without_sample_metadata_activations_are_counted_and_samples_are_not_made_up(tmp_path: Path) -> None:
    efficient = tree(tmp_path / "efficient")
    shutil.rmtree(efficient / "metadata")

    db = EfficientFSDatabase(efficient)

    assert db.get_feature_stats(0)["n_zeros"] == 3
    assert db.get_feature_histogram(0)["count"].sum() == 2
    assert db.get_feature_summary(0)["top_weapons"] is None
    for ask in (db.get_feature_activations, db.get_all_feature_activations_for_pagerank, db.get_pair_examples):
        with pytest.raises(NotComputedError, match="lacks sample metadata"):
            ask(0)


def test_a_transposed_array_alone_finds_weapons_and_refuses_rows(tmp_path: Path) -> None:
    dense = sparse_random(40, 6, 0.4)
    efficient = tree(tmp_path / "efficient", dense, batch_rows=15)
    expected = EfficientFSDatabase(efficient).search_features_by_weapon(2)
    batches = EfficientFSDatabase(efficient).get_feature_activations(4)
    shutil.rmtree(efficient / "activations")
    write_transposed(DenseSource(dense), tmp_path / "transposed")

    db = EfficientFSDatabase(efficient, transposed_dir=tmp_path / "transposed")

    assert_frame_equal(db.search_features_by_weapon(2), expected)
    assert_frame_equal(db.get_feature_activations(4), batches)
    with pytest.raises(NotComputedError, match="no layout here is indexed by sample"):
        db.get_example_activations(0)


def test_the_seal_of_upstreams_converter_need_not_name_the_number_of_features(tmp_path: Path) -> None:
    dense = sparse_random(13, 7, 0.6)
    folder = write_upstream_tree(dense, [5, 8], tmp_path / "efficient")
    assert "n_features" not in json.loads((folder / "conversion_metadata.json").read_text())

    db = EfficientFSDatabase(folder)

    assert db.get_all_feature_ids() == list(range(7))
    assert db.get_feature_stats(6)["n_zeros"] == np.count_nonzero(dense[:, 6] == 0)
