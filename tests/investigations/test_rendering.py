"""Values as people read them: three significant digits, and no more places than that."""

import polars as pl
import pytest
from rich.console import Console

from splat_serving.investigations.results.rendering import evidence_in_words, print_result, shown
from splat_serving.investigations.results.result import Provenance, Result, ResultTable, Scalar


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


def test_a_narrow_terminal_hides_the_least_useful_columns_and_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    described = dict.fromkeys(("token", "n", "std", "lift", "lift_low", "lift_high", "mean_without", "q"), "A column.")
    rows = [("ink_saver_main_12", 12_345, 0.123456, 3.14159, 2.71828, 3.5, 0.0001234, 4.567e-20)]
    made = Provenance(source="demo", run="demo", store_version="1a", fingerprints={}, splat_version="1", command="",
                      made_at="2026-01-31T12:00:00+00:00", seconds=0.1)  # fmt: skip
    table = ResultTable.of("tokens", "Tokens", "observed", rows, described)
    result = Result(kind="x", title="Feature 1", spec={}, provenance=made, tables=[table])

    print_result(Console(width=60), result)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert any(line.split() == ["ink_saver_main_12", "12,345", "3.14", "[2.72,", "3.5]", "4.57e-20"] for line in lines)
    assert any("2 columns hidden at 60 columns: std, mean_without" in line for line in lines)


def test_an_interval_in_a_frame_is_described_with_its_value() -> None:
    frame = pl.DataFrame({"lift_low": [1.0], "lift": [2.0], "lift_high": [3.0], "rest": [0.0]})
    table = ResultTable.of("x", "X", "observed", frame, {"lift": "The lift."})

    assert [column.name for column in table.columns] == ["lift", "lift_low", "lift_high"]
    assert table.rows == [[2.0, 1.0, 3.0]]
