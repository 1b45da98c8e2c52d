import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splat_assets.sae.products import FeatureLists, by_row, collect_above, subtract_decoded
from splat_assets.sae.training.selection import select_largest
from splat_assets.sae.training.step import largest_positive


def dense(lists: FeatureLists, n_rows: int) -> np.ndarray:
    out = np.zeros((n_rows, lists.indptr.size - 1), dtype=np.float32)
    features = np.repeat(np.arange(lists.indptr.size - 1), np.diff(lists.indptr))
    out[lists.rows, features] = lists.values
    return out


def whole_numbers(n_rows: int, n_features: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, encoder and bias whose products are small whole numbers, so that many are equal and none is rounded."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.integers(-2, 3, (n_rows, 5)).astype(np.float32))
    encoder = torch.from_numpy(rng.integers(-2, 3, (n_features, 5)).astype(np.float32))
    return x, encoder, torch.from_numpy(rng.integers(-1, 2, n_features).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    n_rows=st.integers(1, 150),
    n_features=st.integers(1, 200),
    share=st.floats(0.001, 1),
    seed=st.integers(0, 1000),
    hint=st.sampled_from([None, 0.0, 0.5, 3.0, 1e9]),
)
def test_the_largest_are_selected_exactly_whatever_the_hint(
    n_rows: int, n_features: int, share: float, seed: int, hint: float | None
) -> None:
    x, encoder, bias = whole_numbers(n_rows, n_features, seed)
    n = max(1, int(share * n_rows * n_features))
    pre = x @ encoder.T + bias

    selected = select_largest(x, encoder, bias, n, hint)

    expected = pre * largest_positive(pre, n)
    np.testing.assert_array_equal(dense(selected.lists, n_rows), expected.numpy())
    assert selected.lists.nnz == min(n, int((pre > 0).sum()))
    if selected.lists.nnz:
        assert selected.smallest == expected[expected > 0].min()


def test_equal_values_go_to_the_lower_feature_and_then_to_the_lower_row() -> None:
    selected = select_largest(torch.ones(3, 1), torch.ones(2, 1), torch.zeros(2), 4)

    assert selected.lists.indptr.tolist() == [0, 3, 4]
    assert selected.lists.rows.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("lower", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize(("n_rows", "n_features"), [(1, 1), (63, 700), (64, 65), (130, 64), (5000, 3)])
def test_what_exceeds_a_bound_is_collected_feature_by_feature(n_rows: int, n_features: int, lower: float) -> None:
    x, encoder, bias = whole_numbers(n_rows, n_features, seed=3)
    pre = (x @ encoder.T + bias).numpy()

    found = collect_above(x, encoder, bias, np.full(n_features, lower, dtype=np.float32))

    for feature in range(n_features):
        rows = found.rows[found.indptr[feature] : found.indptr[feature + 1]]
        np.testing.assert_array_equal(rows, np.flatnonzero(pre[:, feature] > lower))
        values = found.values[found.indptr[feature] : found.indptr[feature + 1]]
        np.testing.assert_array_equal(values, pre[rows, feature])


def test_feature_lists_turn_to_row_lists_and_decode() -> None:
    x, encoder, bias = whole_numbers(40, 90, seed=4)
    found = collect_above(x, encoder, bias, np.zeros(90, dtype=np.float32))

    indptr, features, positions = by_row(found.indptr, found.rows, 40)
    decoded = torch.zeros(40, 5)
    subtract_decoded(decoded, found, encoder)

    pre = (x @ encoder.T + bias).clamp(min=0).numpy()
    for row in range(40):
        of_row = slice(indptr[row], indptr[row + 1])
        np.testing.assert_array_equal(features[of_row], np.flatnonzero(pre[row] > 0))
        np.testing.assert_array_equal(found.values[positions[of_row]], pre[row][pre[row] > 0])
    np.testing.assert_array_equal(-decoded.numpy(), pre @ encoder.numpy())
