"""Rows made from features are the rows, however samples fall into buckets."""

from pathlib import Path

import numpy as np
import pytest

from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.importing.feature_rows import feature_rows
from tests.contracts.reader import CASES
from tests.contracts.sources import DenseSource


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("bucket_rows", "block_nnz"), [(1, 1), (7, 20), (10_000, 10_000)])
def test_rows_from_features_are_the_rows(case: str, bucket_rows: int, block_nnz: int, tmp_path: Path) -> None:
    dense = CASES[case]

    rows = feature_rows(DenseSource(dense), tmp_path, bucket_rows=bucket_rows, block_nnz=block_nnz)

    blocks = list(rows.rows(5))
    assert [block.n_rows for block in blocks] == [min(5, len(dense) - at) for at in range(0, len(dense), 5)]
    for i, block in enumerate(blocks):
        block.validate(dense.shape[1], "a block")
        np.testing.assert_array_equal(block.to_dense(dense.shape[1]), dense[5 * i : 5 * i + 5])


def test_rows_can_be_read_twice(tmp_path: Path) -> None:
    dense = CASES["random"]
    rows = feature_rows(DenseSource(dense), tmp_path, bucket_rows=9)

    for _ in range(2):
        np.testing.assert_array_equal(next(rows.rows(1_000)).to_dense(dense.shape[1]), dense)


@pytest.mark.parametrize("fault", ["gone", "cut", "grown"])
def test_a_scratch_file_that_changed_is_refused_and_never_read_as_no_activations(fault: str, tmp_path: Path) -> None:
    rows = feature_rows(DenseSource(np.ones((20, 3), np.float32)), tmp_path, bucket_rows=8)
    bucket = tmp_path / "bucket-000001"
    content = bucket.read_bytes()
    bucket.unlink()
    if fault != "gone":
        bucket.write_bytes(content[:67] if fault == "cut" else content + content)

    with pytest.raises(CorruptStoreError, match="bucket-000001 has .* bytes where 288 were written"):
        list(rows.rows(20))


class _ManySamples(DenseSource):
    @property
    def n_samples(self) -> int:
        return 2**31


def test_more_samples_than_an_entry_can_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="2,147,483,648 samples x 3 features are too many"):
        feature_rows(_ManySamples(np.ones((1, 3), np.float32)), tmp_path)
