import io

import pytest
from rich import box
from rich.console import Console

from splat_assets.text.terminal import FittedTable, console

PATH = "/data/runs/demo/store/versions/0123456789abcdef/activations.zarr"


def printed(table: FittedTable, width: int, terminal: bool = False) -> list[str]:
    out = Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True, color_system=None)
    out.print(table)
    lines: list[str] = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def results(hide: list[str] | None = None, instead: str = "") -> FittedTable:
    table = FittedTable("feature", hide=hide, instead=instead, box=box.SIMPLE_HEAD)
    for name in ("n_active", "precision", "recall"):
        table.add_column(name, justify="right")
    table.add_column("rule", overflow="fold")
    table.add_row("286", "1,234,567", "0.98765 [0.9, 1]", "0.5", "weapon is one of six charged weapons")
    return table


def test_a_table_that_fits_is_left_as_it_is() -> None:
    lines = printed(results(), 120)

    assert lines[1].split() == ["feature", "n_active", "precision", "recall", "rule"]
    assert "hidden" not in " ".join(lines)


def test_sentences_are_wrapped_before_a_column_is_hidden() -> None:
    lines = printed(results(), 80)

    assert "hidden" not in " ".join(lines)
    assert lines[3].split()[:3] == ["286", "1,234,567", "0.98765"] and "0.98765 [0.9, 1]" in lines[3]


def test_columns_are_hidden_from_the_right_and_named() -> None:
    text = " ".join(printed(results(instead="--format json"), 42, terminal=True))
    assert "2 columns hidden at 42 columns: recall, rule; widen the terminal or use --format json" in " ".join(
        text.split()
    )


def test_the_named_columns_are_hidden_first() -> None:
    lines = printed(results(hide=["recall", "n_active"]), 64)

    assert lines[1].split() == ["feature", "n_active", "precision", "rule"]
    assert "1 column hidden at 64 columns: recall;" in " ".join(lines)


def test_a_column_that_may_not_be_hidden_is_kept() -> None:
    lines = printed(results(hide=[]), 30)

    assert "hidden" not in " ".join(lines)


@pytest.mark.parametrize("width", [48, 32])
def test_a_path_is_broken_after_slashes(width: int) -> None:
    table = FittedTable("artifact", "path", hide=[], box=None)
    table.add_row("activations", PATH)

    pieces = [line.replace("activations ", "", 1).strip() for line in printed(table, width)[1:]]

    assert "".join(pieces) == PATH
    assert len(pieces) > 1 and all(piece.endswith("/") for piece in pieces[:-1])


def test_markup_is_measured_as_the_console_has_it() -> None:
    table = FittedTable("feature", "state", box=None)
    table.add_row("286", "[bold]fine[/bold]")

    assert printed(table, 20)[-1].split() == ["286", "fine"]


def test_a_pipe_is_160_wide_unless_columns_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == 160

    monkeypatch.setenv("COLUMNS", "300")
    assert console().width == 300
