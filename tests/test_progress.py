import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from splat_assets.progress import (
    LogProgress,
    Progress,
    SilentProgress,
    TerminalProgress,
    progress_for,
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


def test_lines_hold_how_far_how_fast_how_long_and_what_stands_out() -> None:
    said: list[str] = []

    work(LogProgress(said.append, every_seconds=0.0), 4)

    assert len(said) == 5
    assert said[1].startswith("count: 2 of 4 rows, ") and said[1].endswith(" s left, at 1")
    assert "rows/s" in said[1]
    assert said[-1].startswith("count: 4 rows in ")


def test_lines_are_sparse() -> None:
    said: list[str] = []

    work(LogProgress(said.append, every_seconds=3600.0), 1000)

    assert [line.split(" in ")[0] for line in said] == ["count: 1,000 rows"]


def test_what_was_cut_short_is_not_said_to_be_done() -> None:
    said: list[str] = []

    with pytest.raises(RuntimeError), LogProgress(said.append).task("count", 2, "rows") as task:
        task.advance(1)
        raise RuntimeError

    assert said == []


def test_nothing_to_do_is_no_division_by_zero() -> None:
    said: list[str] = []

    work(LogProgress(said.append, every_seconds=0.0), 0)

    assert said[-1].startswith("count: 0 rows in ")


def test_a_terminal_gets_a_bar_and_a_file_gets_lines() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    file = Console(file=io.StringIO(), force_terminal=False, width=120)

    for console in (terminal, file):
        work(progress_for(console))

    assert isinstance(progress_for(terminal), TerminalProgress)
    drawn, written = (console.file.getvalue() for console in (terminal, file))  # type: ignore[attr-defined]
    assert "10/10" in drawn and "\x1b" in drawn
    assert written.startswith("count: 10 rows in ") and "\x1b" not in written


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
