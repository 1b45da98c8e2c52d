"""The guide's transposed array: shape and geometry, arrays made elsewhere, and damage."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from splat_assets.store.activations import ActivationReader
from splat_assets.store.errors import CorruptStoreError, InvalidActivationsError, LayoutError
from splat_assets.store.files import files_below, sha256_of_file
from splat_assets.store.guide.transposed import TransposedReader, features_per_shard, write_transposed
from tests.contracts.reader import Dense, ReaderContract
from tests.contracts.sources import DenseSource, sparse_random


def written(dense: Dense, root: Path, features_in_a_shard: int = 4) -> Path:
    target = root / "activations_transposed"
    limit = 4 * max(1, len(dense)) * features_in_a_shard
    write_transposed(DenseSource(dense), target, memory_limit_bytes=limit)
    return target


class TestTransposedReader(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        return TransposedReader(written(dense, root))


def upstream_array(dense: Dense, path: Path) -> Path:
    """The array as upstream's tool writes it: chunks (1, 10000), blosc, all-zero chunks left out."""
    n_samples, n_features = dense.shape
    array = zarr.create_array(
        str(path / "transposed_activations.zarr"),
        shape=(n_features, n_samples),
        chunks=(1, 10_000),
        dtype=dense.dtype,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4),
        zarr_format=3,
    )
    array[:] = dense.T
    return path


class TestTransposedReaderOnUpstreamsArray(ReaderContract):
    def open(self, dense: Dense, root: Path) -> ActivationReader:
        return TransposedReader(upstream_array(dense, root))


def test_the_guides_one_liner_shows_features_by_samples(tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path)

    array = zarr.open_array(str(target / "transposed_activations.zarr"), mode="r")

    assert array.shape == (6, 13)
    assert (array.chunks, array.shards) == ((1, 13), (4, 13))
    described = json.loads((target / "transposed_metadata.json").read_text())
    assert (described["n_features"], described["n_samples"], described["shape"]) == (6, 13, [6, 13])
    assert {"source_batches", "format", "description"} <= described.keys()


def test_xarray_opens_it_with_named_dimensions(tmp_path: Path) -> None:
    dense = sparse_random(13, 6, 0.4)
    path = written(dense, tmp_path) / "transposed_activations.zarr"

    array = zarr.open_array(str(path), mode="r")

    assert array.metadata.dimension_names == ("feature", "sample")
    result = xr.DataArray(array[:], dims=array.metadata.dimension_names)
    np.testing.assert_array_equal(result.sel(feature=3).to_numpy(), dense[:, 3])


def test_a_shard_shrinks_when_samples_are_many() -> None:
    assert features_per_shard(24_576, 842_820) == 64
    assert features_per_shard(24_576, 10_000_000) == 6
    assert features_per_shard(24_576, 2**31) == 1
    assert features_per_shard(10, 100) == 10


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    dense = sparse_random(13, 6, 0.4)
    before = {path: sha256_of_file(path) for path in files_below(written(dense, tmp_path))}

    target = written(dense, tmp_path)

    assert {path: sha256_of_file(path) for path in files_below(target)} == before


def test_a_lost_shard_is_an_error_even_for_a_dead_feature(tmp_path: Path) -> None:
    target = written(np.zeros((13, 6), np.float32), tmp_path)
    reader = TransposedReader(target)

    (target / "transposed_activations.zarr/c/1/0").unlink()

    assert reader.read(3).n_active == 0
    with pytest.raises(CorruptStoreError, match="lost its file c/1/0"):
        reader.read(4)


def test_a_flipped_bit_is_an_error(tmp_path: Path) -> None:
    target = written(sparse_random(400, 6, 0.4), tmp_path)
    shard = target / "transposed_activations.zarr/c/0/0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 16
    shard.write_bytes(data)

    with pytest.raises(CorruptStoreError, match="row 0|rows 0 to 0"):
        TransposedReader(target).read(0)


@pytest.mark.parametrize("value", [np.nan, -0.5])
def test_a_value_that_is_no_activation_names_feature_and_sample(value: float, tmp_path: Path) -> None:
    target = written(sparse_random(13, 6, 0.4), tmp_path)
    zarr.open_array(str(target / "transposed_activations.zarr"), mode="r+")[3, 4] = value

    with pytest.raises(InvalidActivationsError, match="feature 3: sample 4 holds"):
        TransposedReader(target).read(3)


def test_a_folder_without_the_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="is not a Zarr array"):
        TransposedReader(tmp_path)
    with pytest.raises(LayoutError, match=r"holds no transposed_activations\.zarr"):
        TransposedReader(tmp_path / "nowhere")
