from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from splat_assets.store.sparse.layout import ArrayWriter, PlainShardWriter, ZarrShardWriter
from tests.store.making import bytes_below


def _array(path: Path, n_elements: int, dtype: str, inner: int, shard: int) -> zarr.Array:  # type: ignore[type-arg]
    return zarr.create_array(
        path, shape=(n_elements,), dtype=dtype, chunks=(inner,), shards=(shard,), compressors=None, filters=None,
        fill_value=0, config={"write_empty_chunks": True},
    )  # fmt: skip


def _append_in_pieces(writer: ArrayWriter, values: npt.NDArray[np.generic], piece: int) -> None:
    for start in range(0, values.size, piece):
        writer.append(values[start : start + piece])
    writer.close()


@settings(max_examples=12, deadline=None)
@given(n=st.integers(0, 70), inner=st.integers(1, 8), chunks=st.integers(1, 4), piece=st.integers(1, 40))
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "int64"])
def test_streamed_shards_are_byte_for_byte_those_of_zarr(
    dtype: str, n: int, inner: int, chunks: int, piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("shards")
    values = np.arange(1, n + 1).astype(dtype)
    shapes = (n, dtype, inner, inner * chunks)

    _append_in_pieces(PlainShardWriter(_array(root / "ours", *shapes), root / "ours"), values, piece)
    _append_in_pieces(ZarrShardWriter(_array(root / "zarr", *shapes)), values, piece)

    assert bytes_below(root / "ours") == bytes_below(root / "zarr")
    np.testing.assert_array_equal(zarr.open_array(root / "ours", mode="r")[:], values)


def test_an_array_that_was_not_filled_is_noticed(tmp_path: Path) -> None:
    writer = PlainShardWriter(_array(tmp_path / "a", 10, "int32", 4, 8), tmp_path / "a")
    writer.append(np.ones(9, np.int32))

    with pytest.raises(ValueError, match="9 of 10 elements"):
        writer.close()
