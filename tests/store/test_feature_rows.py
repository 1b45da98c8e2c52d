"""Rows made from features are the rows, however samples fall into buckets."""

from pathlib import Path

import numpy as np
import pytest

from splat_assets.store.feature_rows import FeatureRows
from tests.contracts.reader import CASES
from tests.contracts.sources import DenseSource


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("bucket_rows", "block_nnz"), [(1, 1), (7, 20), (10_000, 10_000)])
def test_rows_from_features_are_the_rows(case: str, bucket_rows: int, block_nnz: int, tmp_path: Path) -> None:
    dense = CASES[case]

    rows = FeatureRows(DenseSource(dense), tmp_path, bucket_rows=bucket_rows, block_nnz=block_nnz)

    blocks = list(rows.rows(5))
    assert [block.n_rows for block in blocks] == [min(5, len(dense) - at) for at in range(0, len(dense), 5)]
    for i, block in enumerate(blocks):
        block.validate(dense.shape[1], "a block")
        np.testing.assert_array_equal(block.to_dense(dense.shape[1]), dense[5 * i : 5 * i + 5])


def test_rows_can_be_read_twice(tmp_path: Path) -> None:
    dense = CASES["random"]
    rows = FeatureRows(DenseSource(dense), tmp_path, bucket_rows=9)

    for _ in range(2):
        np.testing.assert_array_equal(next(rows.rows(1_000)).to_dense(dense.shape[1]), dense)
