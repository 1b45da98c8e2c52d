"""Values as people read them: three significant digits, and no more places than that."""

import pytest

from splat_serving.investigations.results.rendering import evidence_in_words, shown
from splat_serving.investigations.results.result import Scalar


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (True, "yes"),
        (12_345, "12,345"),
        (0.0, "0"),
        (8.8912, "8.89"),
        (0.065812, "0.0658"),
        (999.4, "999"),
        (999.6, "1,000"),
        (-12_345.6, "-12,346"),
        (0.0000465123, "4.65e-05"),
    ],
)
def test_a_value_has_three_significant_digits(value: Scalar, text: str) -> None:
    assert shown(value) == text


def test_what_people_wrote_is_called_labels() -> None:
    assert [evidence_in_words(kind) for kind in ("observed", "people")] == ["observed", "labels"]
