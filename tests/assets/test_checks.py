"""Running a check: whatever it raises, its outcome is recorded, and the outcomes of the other checks stay."""

import pytest

from splat_assets.assets import asset_named
from splat_assets.assets.asset import Check, Outcome, recorded_outcomes, run_check
from splat_assets.errors import SplatError
from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot
from tests.assets.faults.planting import change_recipe

IDF = asset_named("idf")
INTACT = IDF.checks[0]


@pytest.fixture
def own_run(own_root: DataRoot) -> Run:
    """A finished run that a test may break."""
    return open_run(own_root, "small")


def raising(error: Exception) -> Check:
    def test(run: Run) -> Outcome:
        raise error

    return Check("idf_is_exact", "A promise.", test)


def test_what_a_sentence_explains_is_the_outcome(own_run: Run) -> None:
    outcome = run_check(IDF, raising(SplatError("the table has no rows; make it again")), own_run)

    assert outcome == Outcome(False, {"error": "the table has no rows; make it again"})
    assert recorded_outcomes(IDF, own_run) == {"idf_is_exact": outcome}


def test_a_check_that_breaks_is_recorded_as_broken_and_the_others_stay(own_run: Run) -> None:
    run_check(IDF, INTACT, own_run)

    outcome = run_check(IDF, raising(ZeroDivisionError("division by zero\nin the second line")), own_run)

    assert outcome == Outcome(False, {"broken": "ZeroDivisionError: division by zero"})
    recorded = recorded_outcomes(IDF, own_run)
    assert recorded["idf_is_exact"] == outcome
    assert recorded[INTACT.name].passed


def test_what_was_checked_against_other_limits_does_not_count(own_run: Run) -> None:
    run_check(IDF, INTACT, own_run)

    change_recipe(own_run, "max_fvu = 0.5", "max_fvu = 0.0001")
    assert recorded_outcomes(IDF, open_run(own_run.root, "small")) == {}

    change_recipe(own_run, "max_fvu = 0.0001", "max_fvu = 0.5")
    assert recorded_outcomes(IDF, open_run(own_run.root, "small"))[INTACT.name].passed


def test_a_figure_that_is_not_a_number_is_recorded_as_a_word(own_run: Run) -> None:
    check = Check("idf_is_exact", "A promise.", lambda run: Outcome(False, {"fvu": float("nan"), "limit": 0.5}))

    assert run_check(IDF, check, own_run) == Outcome(False, {"fvu": "nan", "limit": 0.5})
