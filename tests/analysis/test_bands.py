import numpy as np

from splat_assets.analysis.statistics import BANDS, band_numbers


def test_bands_follow_each_other_from_zero_without_a_gap() -> None:
    assert [band.above for band in BANDS] == [0.0, *(band.up_to for band in BANDS[:-1])]
    assert BANDS[-1].up_to == float("inf")


def test_a_share_on_an_edge_belongs_to_the_band_below_it() -> None:
    values = np.array([0.5, 1.0, 1.5, 10.0, 25.0, 26.0, 75.0, 90.0, 91.0, 100.0, 500.0])

    names = [BANDS[number].name for number in band_numbers(values, effective_max=100.0)]

    assert names == [
        "floor", "floor", "low", "low", "below_core", "core", "core", "high", "top", "top", "top",
    ]  # fmt: skip
