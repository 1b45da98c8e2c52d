import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.analysis.idf import document_frequency, inverse_document_frequency

documents = st.lists(st.lists(st.integers(0, 6), max_size=8), max_size=20)


@given(documents, st.integers(1, 40))
def test_a_token_counts_once_per_document_however_documents_are_cut(rows: list[list[int]], cells: int) -> None:
    tokens = np.array([token for row in rows for token in row], dtype=np.int64)
    offsets = np.cumsum([0] + [len(row) for row in rows])

    found = document_frequency(tokens, offsets, 7, cells_at_once=cells)

    assert found.tolist() == [sum(token in row for row in rows) for token in range(7)]


def test_a_token_of_every_document_weighs_nothing_and_one_of_none_most() -> None:
    weights = inverse_document_frequency(np.array([9, 4, 0]), 9)

    assert weights.tolist() == pytest.approx([0.0, math.log(10) - math.log(5), math.log(10)])
