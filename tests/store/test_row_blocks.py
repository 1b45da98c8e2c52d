"""Blocks of rows keep their content and order however they are cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.store.activations import SparseRows, joined, regrouped
from splat_assets.store.errors import CorruptStoreError
from tests.contracts.sources import sparse_random


def cut(dense: np.ndarray, sizes: list[int]) -> list[SparseRows]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [SparseRows.from_dense(dense[lo:hi]) for lo, hi in zip(ends, ends[1:], strict=False)]


@given(st.lists(st.integers(1, 9), max_size=6), st.randoms(use_true_random=False))
def test_any_regrouping_gives_the_same_rows(sizes: list[int], random: object) -> None:
    total = sum(sizes)
    dense = sparse_random(total, 5, 0.3)
    wanted = []
    while sum(wanted) < total:
        wanted.append(min(random.randint(1, 9), total - sum(wanted)))  # type: ignore[attr-defined]

    result = list(regrouped(cut(dense, sizes), wanted))

    assert [block.n_rows for block in result] == wanted
    for block, expected in zip(result, cut(dense, wanted), strict=True):
        block.validate(5, "a block")
        np.testing.assert_array_equal(block.to_dense(5), expected.to_dense(5))


def test_joined_blocks_are_one_valid_block() -> None:
    dense = sparse_random(9, 5, 0.3)

    whole = joined(cut(dense, [2, 4, 3]))

    np.testing.assert_array_equal(whole.to_dense(5), dense)


@pytest.mark.parametrize(("wanted", "message"), [([4, 6], "ended after 9 rows"), ([4, 4], "more rows than the 8")])
def test_rows_that_run_out_or_are_left_over_are_an_error(wanted: list[int], message: str) -> None:
    with pytest.raises(CorruptStoreError, match=message):
        list(regrouped(cut(sparse_random(9, 5, 0.3), [5, 4]), wanted))
