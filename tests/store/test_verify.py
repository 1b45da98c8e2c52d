import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zarr

from splat_assets.store.checksums import crc32c_of_ranges
from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.published.publishing import open_store, publish
from splat_assets.store.published.verify import rows_that_differ, sparse_problems
from splat_assets.store.published.version import Store, version_problems
from splat_assets.store.sparse.reader import SparseReader
from tests.contracts.sources import DenseSource, sparse_random
from tests.store.making import DENSE, SAE, flip_byte, staged_parts, write_sparse


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A published version whose files are its own: faults planted here stay here."""
    parts = staged_parts(tmp_path / "staged", sparse_random(30, 6, 0.4))
    published = publish(tmp_path / "store", parts, SAE)
    shutil.rmtree(tmp_path / "staged")
    return tmp_path / "store" / "versions" / published


def _every_file(version: Path) -> list[Path]:
    return sorted(path for path in version.rglob("*") if path.is_file() and path.stat().st_size)


def test_a_flipped_byte_in_any_file_is_detected_and_the_file_named(version: Path) -> None:
    store = Store(version)
    for path in _every_file(version):
        sound = path.read_bytes()
        flip_byte(path, len(sound) // 2)

        problems = version_problems(version)

        assert problems, f"a flipped byte in {path} went unnoticed"
        assert str(path) in problems[0]
        path.write_bytes(sound)
    assert store.verify() == []


def test_any_missing_file_is_detected_and_named(version: Path) -> None:
    for path in _every_file(version):
        sound = path.read_bytes()
        path.unlink()

        problems = version_problems(version)

        assert str(path) in problems[0] or str(path.parent) in problems[0]
        path.write_bytes(sound)


def test_a_version_with_a_missing_shard_does_not_open(version: Path) -> None:
    (version / "activations.zarr" / "X" / "data" / "c" / "0").unlink()

    with pytest.raises(CorruptStoreError, match=r"X/data/c/0 is missing: the version is damaged"):
        open_store(version)


def test_a_file_that_does_not_belong_is_named(version: Path) -> None:
    (version / "extra.parquet").write_bytes(b"?")

    assert version_problems(version, deep=False) == [f"{version / 'extra.parquet'} is not in the manifest"]


def test_a_changed_manifest_is_detected(version: Path) -> None:
    text = (version / "manifest.json").read_text()
    (version / "manifest.json").write_text(text.replace("a" * 64, "b" * 64))

    (problem,) = version_problems(version)

    assert "manifest.json was changed" in problem


def _change(path: Path, name: str, at: int, value: float) -> None:
    zarr.open_array(path / name, mode="r+")[at] = value


def _seal_again(path: Path, half: str, axis: str) -> None:
    """Make the checksums fit what is there now, as a faulty writer would."""
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    ids, values, indptr = (np.asarray(group[f"{half}/{part}"][:]) for part in ("indices", "data", "indptr"))
    group[f"{axis}/crc32c"][:] = crc32c_of_ranges(indptr, ids, values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_a_value_that_is_not_above_zero_is_detected_even_with_a_right_checksum(bad: float, tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    _change(path, "X/data", 2, bad)
    _seal_again(path, "X", "var")

    (problem,) = sparse_problems(SparseReader(path))

    assert f"feature 2 of {path}/X holds id 0 with value {bad}" in problem


@pytest.mark.parametrize("sample_id", [-(2**31), -1, 0, 5, 99])
def test_an_id_out_of_order_or_range_is_detected_even_with_a_right_checksum(sample_id: int, tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    _change(path, "X/indices", 3, sample_id)
    _seal_again(path, "X", "var")

    (problem,) = sparse_problems(SparseReader(path))

    assert f"feature 2 of {path}/X holds id {sample_id}" in problem


def test_swapped_rows_are_detected_and_named_even_with_right_checksums(tmp_path: Path) -> None:
    dense = sparse_random(30, 6, 0.5)
    path = write_sparse(tmp_path / "a.zarr", dense)
    swapped = dense.copy()
    swapped[[7, 19]] = swapped[[19, 7]]
    shutil.rmtree(path / "layers" / "by_sample")
    shutil.rmtree(path / "obs")
    other = write_sparse(tmp_path / "b.zarr", swapped)
    shutil.move(other / "layers" / "by_sample", path / "layers" / "by_sample")
    shutil.move(other / "obs", path / "obs")

    (problem,) = sparse_problems(SparseReader(path))

    assert problem.endswith("hold different activations for sample 7, 19")


def test_a_value_that_differs_between_the_orientations_is_detected(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    _change(path, "layers/by_sample/data", 4, 3.0)
    _seal_again(path, "layers/by_sample", "obs")

    (problem,) = sparse_problems(SparseReader(path))

    assert problem.endswith("different activations for sample 3")


def test_damaged_features_and_samples_are_all_named(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    flip_byte(path / "X" / "data" / "c" / "0", 0)
    flip_byte(path / "X" / "data" / "c" / "0", 8 * 4)

    problems = sparse_problems(SparseReader(path))

    assert [problem.split(" of ")[0] for problem in problems if "crc32c" in problem] == ["feature 0", "feature 3"]


def test_a_missing_half_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "a.zarr", DENSE)
    shutil.rmtree(path / "layers" / "by_sample" / "data")

    (problem,) = sparse_problems(SparseReader(path))

    assert "layers/by_sample/data" in problem


def test_rows_are_compared_with_their_source_one_by_one(tmp_path: Path) -> None:
    dense = sparse_random(30, 6, 0.5)
    reader = SparseReader(write_sparse(tmp_path / "a.zarr", dense))
    other = dense.copy()
    other[[4, 21]] = other[[21, 4]]
    other[29, 0] += 1

    assert rows_that_differ(reader, DenseSource(dense), block_rows=7) == []
    assert rows_that_differ(reader, DenseSource(other), block_rows=7) == [4, 21, 29]
    assert rows_that_differ(reader, DenseSource(dense[:29]), block_rows=7) == [28]


def test_samples_that_were_swapped_are_detected(tmp_path: Path) -> None:
    parts = staged_parts(tmp_path / "staged", DENSE)
    samples = pl.read_parquet(parts["samples.parquet"])
    samples[[0, 2, 1, 3, 4]].write_parquet(parts["samples.parquet"])

    with pytest.raises(CorruptStoreError, match="row 1 has global_index 2 instead of 1"):
        publish(tmp_path / "store", parts, SAE)


_EXAMPLES = pl.DataFrame({"feature_id": [0, 3], "sample_id": [3, 4]})
_NEIGHBOURS = pl.DataFrame({"feature_id": [0, 3], "other_id": [2, 0]})
_FEATURES = pl.DataFrame({"feature_id": range(4), "n_active": [2, 0, 5, 2]})
_HISTOGRAMS = pl.DataFrame({"feature_id": range(4), "counts": [[1, 1], [0, 0], [5, 0], [2, 0]]})


def _published_with(root: Path, name: str, table: pl.DataFrame | bytes) -> Path:
    """The folder of a version with this table among its parts."""
    parts = {**staged_parts(root / "staged", DENSE), f"{name}.parquet": root / f"{name}.parquet"}
    if isinstance(table, bytes):
        parts[f"{name}.parquet"].write_bytes(table)
    else:
        table.write_parquet(parts[f"{name}.parquet"])
    return root / "store" / "versions" / publish(root / "store", parts, SAE)


@pytest.mark.parametrize(
    ("name", "table"),
    [("examples", _EXAMPLES), ("neighbours", _NEIGHBOURS), ("features", _FEATURES), ("histograms", _HISTOGRAMS)],
)
def test_tables_that_fit_the_activations_are_published(name: str, table: pl.DataFrame, tmp_path: Path) -> None:
    assert version_problems(_published_with(tmp_path, name, table)) == []


@pytest.mark.parametrize(
    ("name", "table", "complaint"),
    [
        ("examples", _EXAMPLES.with_columns(sample_id=5), "sample_id 5 is outside the 5 samples"),
        ("examples", _EXAMPLES.with_columns(sample_id=-1), "sample_id -1 is outside the 5 samples"),
        ("examples", _EXAMPLES.with_columns(feature_id=4), "feature_id 4 is outside the 4 features"),
        (
            "examples",
            _EXAMPLES.with_columns(sample_id=pl.lit("a")),
            "sample_id holds String values instead of whole numbers",
        ),
        ("examples", _EXAMPLES.drop("sample_id"), "it lacks the column sample_id"),
        ("neighbours", _NEIGHBOURS.with_columns(other_id=4), "other_id 4 is outside the 4 features"),
        ("neighbours", _NEIGHBOURS.with_columns(other_id=pl.lit(None, pl.UInt32)), "other_id holds missing values"),
        ("idf", b"not a table at all", "cannot be read as a table"),
        ("features", b"PAR1" + b"\xff" * 60 + b"PAR1", "cannot be read as a table"),
        (
            "features",
            _FEATURES.with_columns(n_active=pl.lit("a")),
            "n_active holds String values instead of whole numbers",
        ),
        ("features", _FEATURES.with_columns(n_active=pl.lit(None, pl.Int64)), "n_active holds missing values"),
        ("features", _FEATURES.with_columns(feature_id=pl.lit("a")), "its rows are not features 0 to 3"),
        ("histograms", _HISTOGRAMS.with_columns(counts=pl.lit("a")), "counts holds String values"),
        ("histograms", _HISTOGRAMS.with_columns(counts=pl.lit(["a"])), "counts holds List.String. values"),
    ],
)
def test_tables_that_contradict_the_activations_are_refused(
    name: str, table: pl.DataFrame | bytes, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(CorruptStoreError, match=rf"{name}\.parquet.*{complaint}"):
        _published_with(tmp_path, name, table)
