"""Running a check: whatever it raises, its outcome is recorded, and the outcomes of the other checks stay."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from splat_assets.assets import asset_named
from splat_assets.assets.asset import Check, Outcome, bring_up_to_date, recorded_outcomes, run_check
from splat_assets.errors import SplatError
from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot
from splat_assets.text.progress import SilentProgress
from tests.assets.faults.planting import as_if_written, change_recipe

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


def test_outcomes_recorded_at_the_same_time_are_all_kept(own_run: Run) -> None:
    checks = [Check(f"check_{i}", "A promise.", lambda run: Outcome(True)) for i in range(32)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda check: run_check(IDF, check, own_run), checks))

    assert recorded_outcomes(IDF, own_run).keys() == {check.name for check in checks}


def test_an_artifact_can_be_made_while_others_are_checked(own_run: Run) -> None:
    """What a killed writer left is swept before something is made, but not what a check is just writing."""
    passed = Check("idf_is_exact", "A promise.", lambda run: Outcome(True))
    with ThreadPoolExecutor(1) as thread:
        checking = thread.submit(lambda: [run_check(IDF, passed, own_run) for _ in range(200)])
        while not checking.done():
            (own_run.layout.staged / "examples.parquet").unlink()
            bring_up_to_date(asset_named("examples"), own_run, SilentProgress())

    assert len(checking.result()) == 200


def test_the_outcome_on_an_artifact_that_was_made_anew_meanwhile_is_not_recorded(own_run: Run) -> None:
    def test(run: Run) -> Outcome:
        as_if_written(run, "idf", code_version="0")
        run_check(IDF, Check("on_the_new", "A promise.", lambda run: Outcome(True)), run)
        return Outcome(True)

    run_check(IDF, Check("on_the_old", "A promise.", test), own_run)

    assert recorded_outcomes(IDF, own_run).keys() == {"on_the_new"}


@pytest.mark.parametrize(
    "change", [lambda text: text[:-40], lambda text: "", lambda text: "[]", lambda text: '"spoilt"']
)
def test_outcomes_that_cannot_be_read_are_none(change: Callable[[str], str], own_run: Run) -> None:
    run_check(IDF, INTACT, own_run)
    path = own_run.layout.receipts / "idf.checks.json"

    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert recorded_outcomes(IDF, own_run) == {}
    run_check(IDF, INTACT, own_run)
    assert recorded_outcomes(IDF, own_run).keys() == {INTACT.name}


def test_a_figure_that_is_not_a_number_is_recorded_as_a_word(own_run: Run) -> None:
    check = Check("idf_is_exact", "A promise.", lambda run: Outcome(False, {"fvu": float("nan"), "limit": 0.5}))

    assert run_check(IDF, check, own_run) == Outcome(False, {"fvu": "nan", "limit": 0.5})
