import tracemalloc

import google_crc32c
import numpy as np

from splat_assets.store.checksums import crc32c_of, crc32c_of_bytes, crc32c_of_ranges


def test_a_checksum_covers_the_bytes_of_ids_then_values() -> None:
    ids, values = np.array([1, 5], np.int32), np.array([0.5, 2.0], np.float32)

    assert crc32c_of(ids, values) == google_crc32c.value(ids.tobytes() + values.tobytes())


def test_every_range_has_its_own_checksum_and_an_empty_one_is_zero() -> None:
    ids, values = np.array([1, 5, 2], np.uint16), np.array([0.5, 2.0, 1.0], np.float32)

    result = crc32c_of_ranges(np.array([0, 2, 2, 3]), ids, values)

    assert result.dtype == np.uint32
    assert result.tolist() == [crc32c_of(ids[:2], values[:2]), 0, crc32c_of(ids[2:], values[2:])]


def test_parts_are_checked_as_one() -> None:
    assert crc32c_of_bytes(np.frombuffer(b"ab", np.uint8), np.frombuffer(b"c", np.uint8)) == google_crc32c.value(b"abc")


def test_checksums_of_many_ranges_take_little_memory() -> None:
    n = 300_000
    ids, values, indptr = np.zeros(n, np.uint16), np.ones(n, np.float32), np.arange(n + 1)

    tracemalloc.start()
    result = crc32c_of_ranges(indptr, ids, values)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (result == crc32c_of(ids[:1], values[:1])).all()
    assert peak_bytes < 60 * n
