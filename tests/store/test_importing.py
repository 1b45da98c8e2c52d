"""Folders made elsewhere become raw activations: exact values, positions instead of their numbering, every fault reported."""

import json
import pickle
import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
import zarr

from splat_assets.errors import InputError
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError, LayoutError, StoreError
from splat_assets.store.files import files_below, locked, sha256_of_file
from splat_assets.store.guide.batches import write_batches
from splat_assets.store.guide.dense_arrays import DenseArray
from splat_assets.store.guide.neuron_acts import write_neuron_acts
from splat_assets.store.guide.transposed import write_transposed
from splat_assets.store.importing.importing import import_folder
from splat_assets.store.importing.report import ImportReport
from splat_assets.store.importing.sources import ImportOptions
from splat_assets.store.raw import RawActivations
from splat_assets.store.vocabulary import Context, Contexts
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table, sparse_random
from tests.store.test_guide_transposed import upstream_array
from tests.store.upstream_folders import (
    Dense,
    upstream_metadata,
    write_neuron_files,
    write_upstream_batch,
    write_upstream_tree,
)

DENSE = sparse_random(13, 6, 0.5)
SIZES = [5, 5, 3]
CONTEXTS = Contexts(tuple(Context(i, f"weapon_id_{i}", f"Weapon {i}") for i in range(3)))


def assert_imported(target: Path, dense: Dense = DENSE) -> pl.DataFrame:
    """The rows are those of dense; returns the sample table."""
    raw = RawActivations(target / "raw_activations")
    assert (raw.n_samples, raw.n_features) == dense.shape
    np.testing.assert_array_equal(next(raw.rows(1_000)).to_dense(dense.shape[1]), dense)
    assert raw.problems() == []
    return raw.samples()


def message(report: ImportReport) -> str:
    return "\n".join(report.lines())


class TestAnUpstreamBatchTree:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        return write_upstream_tree(DENSE, SIZES, tmp_path / "activations_efficient", null_rows=2)

    def test_rows_and_metadata_come_in_by_position(self, tree: Path, tmp_path: Path) -> None:
        import_folder(tree, tmp_path / "out", ImportOptions(shard_rows=4))

        samples = assert_imported(tmp_path / "out")
        expected = pl.concat([upstream_metadata(5, 0), upstream_metadata(5, 1), upstream_metadata(3, 2, null_rows=2)])
        assert samples["global_index"].to_list() == list(range(13))
        assert samples["tokens"].to_list() == expected["ability_tokens"].to_list()
        assert samples["weapon_id_token"].to_list() == expected["weapon_id_token"].to_list()
        assert samples["is_null"].to_list() == [False] * 11 + [True] * 2
        assert samples["kind"].to_list() == ["unknown"] * 11 + ["null"] * 2
        assert samples["source_row"].unique().to_list() == [-1]
        assert RawActivations(tmp_path / "out/raw_activations").n_shards == 4

    def test_the_overlapping_global_index_is_reported_and_renumbered(self, tree: Path, tmp_path: Path) -> None:
        report = import_folder(tree, tmp_path / "out")

        assert "batch_0002.parquet: global_index runs 6 to 8 where 10 to 12 belongs; renumbered by position" in message(
            report
        )
        assert "batch_0001.parquet: global_index" not in message(report)
        written = json.loads((tmp_path / "out/raw_activations/import_report.json").read_text())
        assert [finding["wrong"] for finding in written["findings"]] == [finding.wrong for finding in report.findings]

    def test_what_upstreams_metadata_does_not_say_is_reported(self, tree: Path, tmp_path: Path) -> None:
        report = message(import_folder(tree, tmp_path / "out"))

        assert "conversion_metadata.json: it does not say n_features; taken from the arrays: 6" in report
        assert "upstream's generator drops tokens at random" in report
        assert "embeddings: a store holds activations" in report

    def test_precomputed_tables_are_reported_as_not_read(self, tree: Path, tmp_path: Path) -> None:
        (tree / "precomputed").mkdir()

        assert "precomputed: there are tables; not read" in message(import_folder(tree, tmp_path / "out"))

    def test_names_come_from_the_weapon_vocabulary_when_it_is_passed(self, tree: Path, tmp_path: Path) -> None:
        import_folder(tree, tmp_path / "out", ImportOptions(vocabulary=VOCABULARY, contexts=CONTEXTS))

        samples = assert_imported(tmp_path / "out")
        assert samples["weapon_name"].to_list() == [f"Weapon {i}" for i in samples["weapon_id_token"].to_list()]

    def test_columns_that_the_second_script_leaves_out_are_marked_not_guessed(self, tree: Path, tmp_path: Path) -> None:
        for path in (tree / "metadata").iterdir():
            pl.read_parquet(path).drop("is_null_token", "weapon_name").write_parquet(path)

        without = import_folder(tree, tmp_path / "out")
        samples = assert_imported(tmp_path / "out")
        assert not samples["is_null"].any()
        assert set(samples["kind"]) == {"unknown"}
        assert "is_null_token is missing, and a vocabulary was not passed; no row is marked" in message(without)
        assert "weapon_name is missing" in message(without)

        with_vocabulary = import_folder(tree, tmp_path / "out", ImportOptions(vocabulary=VOCABULARY))
        assert assert_imported(tmp_path / "out")["is_null"].to_list() == [False] * 11 + [True] * 2
        assert "null rows are those whose only token is the null token" in message(with_vocabulary)

    def test_metadata_rows_out_of_order_are_put_back_by_sample_id(self, tree: Path, tmp_path: Path) -> None:
        path = tree / "metadata/batch_0001.parquet"
        pl.read_parquet(path).reverse().write_parquet(path)

        report = import_folder(tree, tmp_path / "out")

        assert (
            assert_imported(tmp_path / "out")["tokens"].to_list()[5:10]
            == upstream_metadata(5, 1)["ability_tokens"].to_list()
        )
        assert "rows are not in sample_id order; sorted by sample_id" in message(report)

    def test_a_missing_batch_is_refused(self, tree: Path, tmp_path: Path) -> None:
        (tree / "activations/batch_0001.zarr").rename(tmp_path / "elsewhere")

        with pytest.raises(LayoutError, match=r"not batch_0001\.zarr"):
            import_folder(tree, tmp_path / "out")
        assert not (tmp_path / "out/raw_activations").exists()

    def test_a_missing_last_batch_is_refused_by_the_conversion_metadata(self, tree: Path, tmp_path: Path) -> None:
        (tree / "activations/batch_0002.zarr").rename(tmp_path / "elsewhere")

        with pytest.raises(LayoutError, match="says n_batches = 3, but 2"):
            import_folder(tree, tmp_path / "out")

    def test_a_tree_without_conversion_metadata_is_taken_and_the_doubt_reported(
        self, tree: Path, tmp_path: Path
    ) -> None:
        (tree / "conversion_metadata.json").unlink()

        report = import_folder(tree, tmp_path / "out")

        assert "nothing says how many batches and samples there should be" in message(report)
        assert_imported(tmp_path / "out")

    @pytest.mark.parametrize("value", [np.nan, -1.5, np.inf])
    def test_a_bad_value_is_refused_by_batch_and_row(self, value: float, tree: Path, tmp_path: Path) -> None:
        zarr.open_array(str(tree / "activations/batch_0001.zarr"), mode="r+")[3, 2] = value

        with pytest.raises(InvalidActivationsError, match=r"batch_0001\.zarr: row 3, feature 2 holds"):
            import_folder(tree, tmp_path / "out")
        assert not (tmp_path / "out/raw_activations").exists()

    def test_batches_of_different_width_are_refused(self, tree: Path, tmp_path: Path) -> None:
        write_upstream_batch(sparse_random(4, 9, 0.5), 3, tree)

        with pytest.raises(LayoutError, match=r"batch_0003\.zarr has 9 features, batch_0000\.zarr has 6"):
            import_folder(tree, tmp_path / "out")

    @pytest.mark.parametrize("n_rows", [4, 6])
    def test_metadata_of_another_length_is_refused(self, n_rows: int, tree: Path, tmp_path: Path) -> None:
        upstream_metadata(n_rows, 1).write_parquet(tree / "metadata/batch_0001.parquet")

        with pytest.raises(LayoutError, match=rf"batch_0001\.parquet has {n_rows} rows, batch_0001\.zarr has 5"):
            import_folder(tree, tmp_path / "out")

    def test_a_missing_metadata_table_is_refused(self, tree: Path, tmp_path: Path) -> None:
        (tree / "metadata/batch_0001.parquet").unlink()

        with pytest.raises(LayoutError, match=r"the metadata table .*batch_0001\.parquet does not exist"):
            import_folder(tree, tmp_path / "out")

    def test_a_tree_without_any_metadata_has_samples_of_which_nothing_is_known(
        self, tree: Path, tmp_path: Path
    ) -> None:
        (tree / "metadata").rename(tmp_path / "elsewhere")

        report = import_folder(tree, tmp_path / "out")

        samples = assert_imported(tmp_path / "out")
        assert set(samples["kind"]) == {"unknown"}
        assert set(samples["weapon_id_token"]) == {-1}
        assert "sample metadata is missing" in message(report)

    def test_a_lost_chunk_is_refused_unless_zeros_are_requested(self, tmp_path: Path) -> None:
        dense = sparse_random(2_500, 3, 0.5)
        tree = write_upstream_tree(dense, [2_500], tmp_path / "tree")
        (tree / "activations/batch_0000.zarr/c/1/0").unlink()

        with pytest.raises(CorruptStoreError, match=r"lacks the file c/1/0: .*--missing-chunks-are-zero"):
            import_folder(tree, tmp_path / "out")
        report = import_folder(tree, tmp_path / "out", ImportOptions(missing_chunks_are_zero=True))

        dense[1_000:2_000] = 0
        np.testing.assert_array_equal(
            next(RawActivations(tmp_path / "out/raw_activations").rows(2_500)).to_dense(3), dense
        )
        assert "1 chunk file is not on disk; read as zeros, because of --missing-chunks-are-zero" in message(report)

    def test_chunks_that_are_declared_and_absent_are_refused_at_the_first(self, tree: Path, tmp_path: Path) -> None:
        described = tree / "activations/batch_0000.zarr/zarr.json"
        content = json.loads(described.read_text())
        content["shape"], content["attributes"] = [10**12, 6], {}
        described.write_text(json.dumps(content))
        (tree / "conversion_metadata.json").unlink()

        with pytest.raises(CorruptStoreError, match="lacks the file c/1/0: zarr would read its rows as zeros"):
            import_folder(tree, tmp_path / "out")

    def test_a_chunk_that_does_not_fit_into_memory_is_refused(self, tree: Path) -> None:
        described = tree / "activations/batch_0000.zarr/zarr.json"
        content = json.loads(described.read_text())
        content["shape"] = content["chunk_grid"]["configuration"]["chunk_shape"] = [10**9, 10**6]
        described.write_text(json.dumps(content))

        with pytest.raises(CorruptStoreError, match="columns 0 to 999999 do not fit into memory"):
            next(DenseArray(tree / "activations/batch_0000.zarr").row_blocks())

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("shape", None),
            ("shape", [None, 6]),
            ("shape", ["x", {}]),
            ("attributes", "x"),
            ("codecs", [1]),
            ("data_type", {}),
            ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [0, 6]}}),
        ],
    )
    def test_a_damaged_description_of_an_array_is_refused(
        self, key: str, value: object, tree: Path, tmp_path: Path
    ) -> None:
        described = tree / "activations/batch_0001.zarr/zarr.json"
        described.write_text(json.dumps({**json.loads(described.read_text()), key: value}))

        with pytest.raises(LayoutError, match=r"batch_0001\.zarr is not a Zarr array that can be opened"):
            import_folder(tree, tmp_path / "out")

    def test_a_damaged_chunk_is_refused(self, tree: Path, tmp_path: Path) -> None:
        chunk = tree / "activations/batch_0001.zarr/c/0/0"
        chunk.write_bytes(chunk.read_bytes()[:20])

        with pytest.raises(CorruptStoreError, match=r"batch_0001\.zarr: rows 0 to 4"):
            import_folder(tree, tmp_path / "out")

    def test_other_float_types_are_rounded_and_reported(self, tmp_path: Path) -> None:
        (tmp_path / "tree").mkdir()
        write_upstream_batch(DENSE.astype(np.float64) + np.where(DENSE > 0, 1e-12, 0), 0, tmp_path / "tree")

        report = import_folder(tmp_path / "tree", tmp_path / "out")

        assert_imported(tmp_path / "out")
        assert "batch_0000.zarr: values are float64; rounded to float32" in message(report)

    def test_values_below_the_range_of_float32_are_dropped_and_counted(self, tmp_path: Path) -> None:
        dense = np.array([[1e-60, 1.0], [2.0, 0.0], [1e-50, 1e-46]])
        (tmp_path / "tree").mkdir()
        write_upstream_batch(dense, 0, tmp_path / "tree")

        report = import_folder(tmp_path / "tree", tmp_path / "out")

        assert_imported(tmp_path / "out", dense.astype(np.float32))
        assert "batch_0000.zarr: 3 values are above 0 but below the range of float32; dropped" in message(report)

    def test_tokens_outside_the_vocabulary_are_refused(self, tree: Path, tmp_path: Path) -> None:
        path = tree / "metadata/batch_0000.parquet"
        pl.read_parquet(path).with_columns(pl.lit([99]).alias("ability_tokens")).write_parquet(path)

        with pytest.raises(LayoutError, match=r"batch_0000\.parquet names token 99; the vocabulary has tokens 0 to 4"):
            import_folder(tree, tmp_path / "out", ImportOptions(vocabulary=VOCABULARY))

    def test_a_table_without_tokens_is_refused_with_the_columns_it_has(self, tree: Path, tmp_path: Path) -> None:
        path = tree / "metadata/batch_0000.parquet"
        pl.read_parquet(path).drop("ability_tokens").write_parquet(path)

        with pytest.raises(LayoutError, match="has none of the columns ability_tokens, .*; it has batch_id, sample_id"):
            import_folder(tree, tmp_path / "out")

    def test_importing_again_gives_the_same_bytes(self, tree: Path, tmp_path: Path) -> None:
        import_folder(tree, tmp_path / "out")
        before = {path: sha256_of_file(path) for path in files_below(tmp_path / "out")}

        import_folder(tree, tmp_path / "out")

        assert {path: sha256_of_file(path) for path in files_below(tmp_path / "out")} == before

    def test_raw_activations_of_a_run_are_never_replaced(self, tree: Path, tmp_path: Path) -> None:
        import_folder(tree, tmp_path / "out")
        (tmp_path / "out/raw_activations/import_report.json").unlink()

        with pytest.raises(InputError, match="was not made by an import"):
            import_folder(tree, tmp_path / "out")

    def test_a_table_of_another_batch_is_refused(self, tree: Path, tmp_path: Path) -> None:
        upstream_metadata(5, 7).write_parquet(tree / "metadata/batch_0001.parquet")

        with pytest.raises(LayoutError, match=r"batch_0001\.parquet has rows of batch 7 \(batch_id\)"):
            import_folder(tree, tmp_path / "out")

    def test_a_table_without_a_batch_is_refused(self, tree: Path, tmp_path: Path) -> None:
        upstream_metadata(5, 3).write_parquet(tree / "metadata/batch_0003.parquet")

        with pytest.raises(LayoutError, match=r"batch_0003\.parquet lacks its batch of activations"):
            import_folder(tree, tmp_path / "out")

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("weapon_id_token", pl.lit(1.7), "weapon_id_token holds 1.7; ids are whole numbers"),
            ("ability_tokens", pl.lit([1.0, 2.2]), "ability_tokens holds 2.2; ids are whole numbers"),
            ("ability_tokens", pl.lit([-5]), "ability_tokens holds token -5; ids of tokens count from 0"),
            ("sample_id", pl.lit(0.5), "sample_id holds 0.5"),
            ("source_row", pl.lit("row 1"), "source_row is String and cannot be read as Int64"),
            ("token_position", pl.lit(2**40), "token_position is Int64 and cannot be read as Int32"),
            ("is_null_token", pl.lit("no"), "is_null_token is String and cannot be read as Boolean"),
            ("weapon_name", pl.lit(["a"]), r"weapon_name is List\(String\) and cannot be read as String"),
        ],
    )
    def test_a_column_that_holds_something_else_is_refused_by_name(
        self, column: str, value: pl.Expr, message: str, tree: Path, tmp_path: Path
    ) -> None:
        path = tree / "metadata/batch_0001.parquet"
        pl.read_parquet(path).with_columns(value.alias(column)).write_parquet(path)

        with pytest.raises(LayoutError, match=rf"batch_0001\.parquet: {message}"):
            import_folder(tree, tmp_path / "out")


class TestATransposedArray:
    def test_upstreams_array_is_imported_with_metadata_that_is_passed(self, tmp_path: Path) -> None:
        (tmp_path / "transposed").mkdir()
        folder = upstream_array(DENSE, tmp_path / "transposed")
        upstream_metadata(13, 0).write_ipc(tmp_path / "analysis_df_records.ipc")

        report = import_folder(folder, tmp_path / "out", ImportOptions(metadata=tmp_path / "analysis_df_records.ipc"))

        samples = assert_imported(tmp_path / "out")
        assert samples["tokens"].to_list() == upstream_metadata(13, 0)["ability_tokens"].to_list()
        assert report.layout == "transposed array"

    def test_chunks_that_were_left_out_are_taken_as_zeros_and_counted(self, tmp_path: Path) -> None:
        dense = DENSE.copy()
        dense[:, [1, 4]] = 0
        (tmp_path / "transposed").mkdir()

        report = import_folder(upstream_array(dense, tmp_path / "transposed"), tmp_path / "out")

        assert_imported(tmp_path / "out", dense)
        assert "2 chunk files are not on disk" in message(report)

    def test_values_below_the_range_of_float32_are_dropped_and_counted(self, tmp_path: Path) -> None:
        (tmp_path / "transposed").mkdir()
        dense = DENSE.astype(np.float64)
        dense[dense == 0] = 1e-60
        folder = upstream_array(dense, tmp_path / "transposed")

        report = import_folder(folder, tmp_path / "out")

        assert_imported(tmp_path / "out")
        assert f"{(DENSE == 0).sum()} values are above 0 but below the range of float32; dropped" in message(report)

    def test_metadata_that_says_other_numbers_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "transposed").mkdir()
        folder = upstream_array(DENSE, tmp_path / "transposed")
        (folder / "transposed_metadata.json").write_text(json.dumps({"n_features": 24_576, "n_samples": 13}))

        report = import_folder(folder, tmp_path / "out")

        assert "n_features is 24576, the array has 6; the array's number is used" in message(report)

    def test_metadata_of_another_length_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "transposed").mkdir()
        folder = upstream_array(DENSE, tmp_path / "transposed")
        upstream_metadata(12, 0).write_parquet(tmp_path / "batch_0000.parquet")

        with pytest.raises(LayoutError, match="has 12 rows for 13 samples"):
            import_folder(folder, tmp_path / "out", ImportOptions(metadata=tmp_path / "batch_0000.parquet"))

    def test_our_own_array_comes_in_too(self, tmp_path: Path) -> None:
        write_transposed(DenseSource(DENSE), tmp_path / "transposed")

        import_folder(tmp_path / "transposed", tmp_path / "out")

        assert_imported(tmp_path / "out")


class TestFilesPerFeature:
    def test_our_own_folder_comes_in_with_silent_samples_and_dead_features(self, tmp_path: Path) -> None:
        dense = DENSE.copy()
        dense[-1] = 0
        dense[:, -1] = 0
        write_neuron_acts(DenseSource(dense), tmp_path / "neuron_acts")

        report = import_folder(tmp_path / "neuron_acts", tmp_path / "out")

        assert_imported(tmp_path / "out", dense)
        assert [finding.wrong for finding in report.findings] == ["sample metadata is missing"]

    def test_a_folder_that_does_not_say_its_size_is_taken_with_the_doubt_reported(self, tmp_path: Path) -> None:
        folder = tmp_path / "neuron_acts"
        write_neuron_files(folder, 0, [0, 2], np.array([1, 2], np.float32))
        write_neuron_files(folder, 2, [1], np.array([3], np.float32))

        report = import_folder(folder, tmp_path / "out")

        assert_imported(tmp_path / "out", np.array([[1, 0, 0], [0, 0, 3], [2, 0, 0]], np.float32))
        assert "n_samples is taken as 3" in message(report)
        assert "n_features is taken as 3" in message(report)
        assert "neuron_0001 first) is taken as dead" in message(report)

    def test_sizes_that_are_passed_are_used(self, tmp_path: Path) -> None:
        folder = tmp_path / "neuron_acts"
        write_neuron_files(folder, 0, [0], np.array([1], np.float32))

        import_folder(folder, tmp_path / "out", ImportOptions(n_features=3, n_samples=2))

        assert_imported(tmp_path / "out", np.array([[1, 0, 0], [0, 0, 0]], np.float32))

    def test_metadata_tells_how_many_samples_there_are(self, tmp_path: Path) -> None:
        folder = tmp_path / "neuron_acts"
        write_neuron_files(folder, 0, [0], np.array([1], np.float32))
        upstream_metadata(4, 0).write_parquet(tmp_path / "batch_0000.parquet")

        import_folder(folder, tmp_path / "out", ImportOptions(metadata=tmp_path / "batch_0000.parquet"))

        assert_imported(tmp_path / "out", np.array([[1], [0], [0], [0]], np.float32))

    @pytest.mark.parametrize(
        ("numbers", "message"),
        [
            ([0, 2], r"has batches up to 0002 but not batch_0001\.parquet"),
            ([9_998, 9_999, 10_000], r"has batches up to 10000 but not batch_0000\.parquet"),
        ],
    )
    def test_metadata_with_a_gap_is_refused(self, numbers: list[int], message: str, tmp_path: Path) -> None:
        write_neuron_files(tmp_path / "neuron_acts", 0, [0], np.array([1], np.float32))
        (tmp_path / "metadata").mkdir()
        for number in numbers:
            upstream_metadata(2, number).write_parquet(tmp_path / f"metadata/batch_{number:04d}.parquet")

        with pytest.raises(LayoutError, match=message):
            import_folder(tmp_path / "neuron_acts", tmp_path / "out", ImportOptions(metadata=tmp_path / "metadata"))

    @pytest.mark.parametrize("name", ["batch_0.parquet", "batch_00001.parquet", "batch_0001_new.parquet"])
    def test_metadata_whose_number_is_written_otherwise_is_refused(self, name: str, tmp_path: Path) -> None:
        write_neuron_files(tmp_path / "neuron_acts", 0, [0], np.array([1], np.float32))
        upstream_metadata(2, 0).write_parquet(tmp_path / name)

        with pytest.raises(LayoutError, match=rf"{name} is not numbered like batch_0000\.parquet"):
            import_folder(tmp_path / "neuron_acts", tmp_path / "out", ImportOptions(metadata=tmp_path))

    def test_a_number_of_samples_other_than_the_folder_says_is_refused(self, tmp_path: Path) -> None:
        write_neuron_acts(DenseSource(DENSE), tmp_path / "neuron_acts")
        upstream_metadata(15, 0).write_parquet(tmp_path / "batch_0000.parquet")

        with pytest.raises(LayoutError, match="has 15 rows for 13 samples"):
            import_folder(
                tmp_path / "neuron_acts", tmp_path / "out", ImportOptions(metadata=tmp_path / "batch_0000.parquet")
            )
        with pytest.raises(LayoutError, match="says n_samples = 13, but 1000 was requested"):
            import_folder(tmp_path / "neuron_acts", tmp_path / "out", ImportOptions(n_samples=1_000))

    def test_zeros_disorder_and_doubles_precision_are_mended_and_counted(self, tmp_path: Path) -> None:
        folder = tmp_path / "neuron_acts"
        write_neuron_files(folder, 0, np.array([2, 0, 1], np.int32), np.array([1.0, 0.0, 2.0]))
        write_neuron_files(folder, 1, [0, 1], np.array([0.1, 0.2]))

        report = import_folder(folder, tmp_path / "out")

        assert_imported(tmp_path / "out", np.array([[0, 0.1], [2, 0.2], [1, 0]], np.float32))
        assert "1 feature, neuron_0000 first: values of 0 are among the activations; dropped" in message(report)
        assert "1 feature, neuron_0000 first: sample ids are not in order; put in order" in message(report)
        assert "1 feature, neuron_0001 first: values are float64; rounded to float32" in message(report)

    def test_values_below_the_range_of_float32_are_distinguished_from_zeros(self, tmp_path: Path) -> None:
        folder = tmp_path / "neuron_acts"
        write_neuron_files(folder, 0, [0, 1], np.array([1e-60, 1.0]))

        report = message(import_folder(folder, tmp_path / "out"))

        assert_imported(tmp_path / "out", np.array([[0], [1]], np.float32))
        assert "1 feature, neuron_0000 first: values are above 0 but below the range of float32; dropped" in report
        assert "values of 0 are among" not in report

    @pytest.mark.parametrize(
        ("ids", "values", "error"),
        [
            ([0, 0], [1.0, 2.0], "neuron_0001: sample 0 has more than one activation"),
            ([0, 1], [1.0, -2.0], "neuron_0001: entry 1 is -2.0 on sample 1"),
            ([0, 1], [np.nan, 2.0], "neuron_0001: entry 0 is nan on sample 0"),
            ([0, -1], [1.0, 2.0], "neuron_0001: entry 1 is 2.0 on sample -1"),
            ([0, 1], [1.0, 1e300], "neuron_0001: entry 1 is inf on sample 1"),
        ],
    )
    def test_what_cannot_be_mended_is_refused(
        self, ids: list[int], values: list[float], error: str, tmp_path: Path
    ) -> None:
        folder = tmp_path / "neuron_acts"
        write_neuron_files(folder, 0, [0, 1], np.array([1, 1], np.float32))
        write_neuron_files(folder, 1, ids, np.array(values))

        with pytest.raises(InvalidActivationsError, match=error):
            import_folder(folder, tmp_path / "out")

    def test_a_sample_beyond_the_metadata_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "neuron_acts"
        write_neuron_files(folder, 0, [0, 9], np.array([1, 1], np.float32))
        upstream_metadata(4, 0).write_parquet(tmp_path / "batch_0000.parquet")

        with pytest.raises(InvalidActivationsError, match="sample 9; .*samples within 0 to 3"):
            import_folder(folder, tmp_path / "out", ImportOptions(metadata=tmp_path / "batch_0000.parquet"))


class TestJoblibFiles:
    def test_they_are_not_opened_without_permission(self, tmp_path: Path) -> None:
        folder = tmp_path / "raw"
        folder.mkdir()

        class _Touches:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (tmp_path / "ran",))

        (folder / "batch_0000.joblib").write_bytes(pickle.dumps(_Touches()))

        with pytest.raises(InputError, match="joblib files .*are pickles.*--allow-pickle"):
            import_folder(folder, tmp_path / "out")
        assert not (tmp_path / "ran").exists()

    def test_without_joblib_the_refusal_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "joblib", None)
        folder = tmp_path / "raw"
        folder.mkdir()
        (folder / "batch_0000.joblib").write_bytes(b"")

        with pytest.raises(InputError, match="joblib, which is not installed: `pip install joblib pandas`"):
            import_folder(folder, tmp_path / "out", ImportOptions(allow_pickle=True))

    @pytest.mark.parametrize(
        ("content", "error"),
        [
            (b"", "batch_0000.joblib cannot be loaded: Ran out of input"),
            (pickle.dumps({"analysis_df_records": [], "all_sae_hidden_activations": []})[:20], "cannot be loaded"),
            (
                pickle.dumps({"analysis_df_records": [{}], "all_sae_hidden_activations": [["a"]]}),
                "holds activations that are not numbers",
            ),
            (
                pickle.dumps(
                    {"analysis_df_records": [{"ability_input_tokens": ["a"]}], "all_sae_hidden_activations": [[1]]}
                ),
                "records cannot be read as a table",
            ),
        ],
    )
    def test_a_damaged_file_is_refused_by_name(
        self, content: bytes, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain_pickles = ModuleType("joblib")
        plain_pickles.load = lambda path: pickle.loads(path.read_bytes())  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "joblib", plain_pickles)
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/batch_0000.joblib").write_bytes(content)

        with pytest.raises(StoreError, match=error):
            import_folder(tmp_path / "raw", tmp_path / "out", ImportOptions(allow_pickle=True))

    def test_trusted_files_come_in_with_their_records(self, tmp_path: Path) -> None:
        joblib = pytest.importorskip("joblib", reason="joblib is not installed")
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        folder = tmp_path / "raw"
        folder.mkdir()
        for i, (lo, hi) in enumerate(((0, 8), (8, 13))):
            tokens = upstream_metadata(hi - lo, i)["ability_tokens"].to_list()
            records = pandas.DataFrame(
                {"ability_input_tokens": tokens, "weapon_id_token": 1, "is_null_token": False, "weapon_name": None}
            )
            content = {"analysis_df_records": records, "all_sae_hidden_activations": DENSE[lo:hi], "metadata": {}}
            joblib.dump(content, folder / f"batch_{i:04d}.joblib")

        report = import_folder(folder, tmp_path / "out", ImportOptions(allow_pickle=True))

        samples = assert_imported(tmp_path / "out")
        assert samples["tokens"].to_list()[:8] == upstream_metadata(8, 0)["ability_tokens"].to_list()
        assert "loaded, because of --allow-pickle" in message(report)


def test_our_own_batch_tree_comes_in_without_loss(tmp_path: Path) -> None:
    samples = sample_table(13)
    write_batches(DenseSource(DENSE), samples, None, VOCABULARY, tmp_path / "tree", 5)

    report = import_folder(tmp_path / "tree", tmp_path / "out")

    imported = assert_imported(tmp_path / "out")
    assert imported.equals(samples)
    assert report.findings == ()


@pytest.mark.parametrize("made", ["nothing", "a file", "a store"])
def test_what_cannot_be_imported_says_what_is_there(made: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if made == "a file":
        (folder / "activations.h5").touch()
    if made == "a store":
        (folder / "CURRENT").touch()

    with pytest.raises(
        LayoutError, match={"nothing": "nothing", "a file": r"activations\.h5", "a store": "already"}[made]
    ):
        import_folder(folder, tmp_path / "out")


def test_an_import_waits_for_another_one_into_the_same_folder(tmp_path: Path) -> None:
    write_neuron_acts(DenseSource(DENSE), tmp_path / "neuron_acts")
    out = tmp_path / "out"
    second = threading.Thread(target=import_folder, args=(tmp_path / "neuron_acts", out), daemon=True)

    with locked(out / ".lock"):
        second.start()
        second.join(timeout=0.5)
        assert not (out / "raw_activations").exists()
    second.join(timeout=60)

    assert_imported(out)


def test_what_a_killed_import_left_is_gone_after_the_next_one(tmp_path: Path) -> None:
    write_neuron_acts(DenseSource(DENSE), tmp_path / "neuron_acts")
    left = tmp_path / "out/.import-scratch/bucket-000000"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(12))

    import_folder(tmp_path / "neuron_acts", tmp_path / "out")

    assert_imported(tmp_path / "out")
    assert not left.parent.exists()
