import io
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from splat_assets.text.progress import (
    LogProgress,
    Progress,
    SilentProgress,
    TerminalProgress,
    progress_for,
    step,
    watched_progress,
    watching,
)


def work(progress: Progress, n: int = 10) -> None:
    with progress.task("count", n, "rows") as task:
        for i in range(n):
            task.advance(1, f"at {i}")


def test_silent_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    work(SilentProgress())

    assert capsys.readouterr() == ("", "")


def paced(said: list[str], seconds: list[float], n_each: int, total: int, unit: str = "rows", before: int = 0) -> None:
    """A task that advances by n_each after each of the given seconds, and says all of it."""
    now = 0.0
    progress = LogProgress(said.append, every_seconds=10.0, clock=lambda: now)
    with progress.task("count", total, unit, before) as task:
        for taken in seconds:
            now += taken
            task.advance(n_each, f"at {now:.0f} s")


def test_lines_hold_how_far_how_fast_how_long_and_what_stands_out() -> None:
    said: list[str] = []

    paced(said, [10, 10, 10], 1_000, 3_000)

    assert said[1] == "count: 2,000 of 3,000 rows, 100 rows/s, 10 s left, at 20 s"
    assert said[-1] == "count: 3,000 rows in 30.0 s, 100 rows/s"


def test_the_time_left_is_shown_once_two_intervals_agree_at_the_last_rate() -> None:
    said: list[str] = []

    paced(said, [100, 10, 10], 1_000, 11_000)

    assert said[:3] == [
        "count: 1,000 of 11,000 rows, 10 rows/s, at 100 s",
        "count: 2,000 of 11,000 rows, 100 rows/s, at 110 s",
        "count: 3,000 of 11,000 rows, 100 rows/s, 80 s left, at 120 s",
    ]


def test_what_an_earlier_call_did_counts_for_neither_rate_nor_time() -> None:
    said: list[str] = []

    paced(said, [2], 1_000, 1_000_000, before=999_000)

    assert said == ["count: resumed at row 999,000 of 1,000,000", "count: 1,000 rows in 2.0 s, 500 rows/s"]


@pytest.mark.parametrize(
    ("seconds", "n", "unit", "said_of_it"),
    [
        (0.01, 512, "features", "count: 512 features"),
        (1.8, 1, "files", "count: 1 file in 1.8 s"),
        (0.5, 512, "features", "count: 512 features in 0.5 s"),
        (20, 50, "checks", "count: 50 checks in 20.0 s"),
    ],
)
def test_a_rate_that_says_nothing_is_left_out(seconds: float, n: int, unit: str, said_of_it: str) -> None:
    said: list[str] = []

    paced(said, [seconds], n, n, unit)

    assert said[-1] == said_of_it


def test_a_step_is_logged_unless_quick_and_again_when_it_takes_long() -> None:
    said: list[str] = []
    progress = LogProgress(said.append, every_seconds=0.2)

    with progress.step("making quick"):
        pass
    with progress.step("making slow"):
        time.sleep(1.0)

    assert said[0] == "making slow"
    assert said[1:] and set(said[1:]) <= {"making slow: 0 s so far", "making slow: 1 s so far"}


def test_a_step_that_breaks_says_no_more() -> None:
    said: list[str] = []

    with pytest.raises(RuntimeError), LogProgress(said.append, every_seconds=0.1).step("making"):
        raise RuntimeError
    time.sleep(0.3)

    assert said == []


def test_lines_are_sparse() -> None:
    said: list[str] = []

    work(LogProgress(said.append, every_seconds=3600.0), 1000)

    assert [line.split(" in ")[0] for line in said] == ["count: 1,000 rows"]


def test_an_interrupted_task_is_not_reported_as_finished() -> None:
    said: list[str] = []

    with pytest.raises(RuntimeError), LogProgress(said.append).task("count", 2, "rows") as task:
        task.advance(1)
        raise RuntimeError

    assert said == []


def test_nothing_to_do_is_no_division_by_zero() -> None:
    said: list[str] = []

    work(LogProgress(said.append, every_seconds=0.0), 0)

    assert said[-1] == "count: 0 rows"


def test_a_terminal_gets_a_bar_and_a_file_gets_lines() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    file = Console(file=io.StringIO(), force_terminal=False, width=120)

    for console in (terminal, file):
        work(progress_for(console))

    assert isinstance(progress_for(terminal), TerminalProgress)
    drawn, written = (console.file.getvalue() for console in (terminal, file))  # type: ignore[attr-defined]
    assert "10/10" in drawn and "\x1b" in drawn
    assert written.startswith("count: 10 rows\n") and "\x1b" not in written


def test_brackets_in_names_are_not_taken_for_markup() -> None:
    file = Console(file=io.StringIO(), force_terminal=False, width=120)

    with progress_for(file).task("[features, samples]", 1, "rows"):
        pass

    assert file.file.getvalue().startswith("[features, samples]: ")  # type: ignore[attr-defined]


def test_who_watches_is_known_only_inside() -> None:
    mine = SilentProgress()
    assert watched_progress() is None

    with watching(mine):
        assert watched_progress() is mine
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(watched_progress).result() is None

    assert watched_progress() is None


def test_a_step_is_shown_by_the_watching_progress() -> None:
    said: list[str] = []

    with step("nobody is there"):
        pass
    with watching(LogProgress(said.append, every_seconds=0.2)), step("making slow"):
        time.sleep(0.3)

    assert said[0] == "making slow"


def test_a_bar_goes_on_where_the_earlier_call_stopped() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)

    with TerminalProgress(terminal).task("count", 10, "rows", done_before=9) as task:
        task.advance(1)

    drawn = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "count: resumed at row 9 of 10" in drawn and "10/10" in drawn
