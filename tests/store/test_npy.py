from pathlib import Path

import numpy as np
import pytest

from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.npy import NpyFile


@pytest.mark.parametrize("shape", [(7,), (7, 3), (0,), (0, 3)])
def test_any_range_of_rows_reads_as_numpy_does(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.save(tmp_path / "a.npy", array)

    result = NpyFile(tmp_path / "a.npy")

    assert result.n_rows == shape[0]
    np.testing.assert_array_equal(result.read_all(), array)
    for start in range(shape[0]):
        np.testing.assert_array_equal(result.read(start, shape[0] - 1), array[start : shape[0] - 1])


def test_a_file_cut_short_is_refused_with_both_sizes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(10, np.int32))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-3])

    with pytest.raises(CorruptStoreError, match="has 165 bytes where its header says 168"):
        NpyFile(tmp_path / "a.npy")


def test_a_file_cut_short_after_it_was_opened_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(10, np.int32))
    result = NpyFile(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-3])

    with pytest.raises(CorruptStoreError, match="cut short"):
        result.read(0, 10)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)

    with pytest.raises(CorruptStoreError, match="plain"):
        NpyFile(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x07\x00"])
def test_what_is_no_npy_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)

    with pytest.raises(CorruptStoreError, match=r"a\.npy cannot be read as a \.npy file"):
        NpyFile(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(10**13,), (10**30,), (2, 10**30), (-1,), (-1, -1)])
def test_a_shape_that_the_bytes_cannot_fill_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as handle:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(handle, header)
        handle.write(bytes(4))

    with pytest.raises(CorruptStoreError, match="a.npy"):
        NpyFile(tmp_path / "a.npy")


def test_a_header_that_is_no_header_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(10, np.int32))
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[10:40] = b"(" * 30
    (tmp_path / "a.npy").write_bytes(content)

    with pytest.raises(CorruptStoreError, match=r"a\.npy cannot be read as a \.npy file"):
        NpyFile(tmp_path / "a.npy")
