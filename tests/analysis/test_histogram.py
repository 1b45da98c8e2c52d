import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from splat_assets.analysis.histogram import bin_edges, histogram_of

positive = npst.arrays(np.float32, st.integers(1, 200), elements=st.floats(2.0**-100, 2.0**100, width=32))


@given(positive, st.integers(1, 120))
def test_each_value_is_counted_in_the_one_bin_whose_edges_hold_it(values: npt.NDArray[np.float32], n_bins: int) -> None:
    found = histogram_of(values, n_bins)

    edges, wide = found.edges, values.astype(np.float64)
    expected = [((lo <= wide) & (wide < hi)).sum() for lo, hi in zip(edges[:-1], edges[1:], strict=True)]
    expected[-1] += (wide == edges[-1]).sum()
    assert found.counts.tolist() == expected
    assert found.counts.sum() == values.size
    assert (found.lower, found.upper) == (0.0, float(values.max()))


def test_a_value_on_an_inner_edge_belongs_to_the_bin_above_and_the_largest_to_the_last() -> None:
    found = histogram_of(np.array([1.0, 2.0, 4.0], dtype=np.float32), n_bins=4)

    assert found.edges.tolist() == [0, 1, 2, 3, 4]
    assert found.counts.tolist() == [0, 1, 1, 1]


def test_a_feature_that_never_fires_has_no_edges_and_zero_counts() -> None:
    found = histogram_of(np.empty(0, dtype=np.float32), n_bins=3)

    assert (found.lower, found.upper) == (None, None)
    assert found.edges.size == 0
    assert found.counts.tolist() == [0, 0, 0]


def test_the_outer_edges_are_exactly_the_range() -> None:
    upper = float(np.float32(0.1))

    edges = bin_edges(0.0, upper, 7)

    assert edges[0] == 0.0 and edges[-1] == upper and edges.size == 8
