import numpy as np
import pytest

from splat_assets.analysis.rounding import same_activations


@pytest.mark.parametrize(
    ("stored", "fresh", "scale", "threshold", "same"),
    [
        (2.0, 2.0, 1.0, 0.0, True),
        (2.0, 2.001, 1.0, 0.0, True),  # a thousandth of the value
        (2.0, 2.1, 1.0, 0.0, False),
        (0.001, 0.00105, 1.0, 0.0, False),
        (0.001, 0.00105, 10.0, 0.0, True),  # what was added up to it is ten thousand times as large
        (0.0, 0.0, 1.0, 0.5, True),
        (0.0, 0.5004, 1.0, 0.5, True),  # just above the threshold in one of the two
        (0.5004, 0.0, 1.0, 0.5, True),
        (0.0, 0.6, 1.0, 0.5, False),
        (0.0, 0.001, 1.0, 0.0, False),
        (0.0, np.nan, 1.0, 0.0, False),
    ],
)
def test_activations_are_the_same_where_rounding_explains_the_difference(
    stored: float, fresh: float, scale: float, threshold: float, same: bool
) -> None:
    assert same_activations([stored], [fresh], scale, threshold).tolist() == [same]
