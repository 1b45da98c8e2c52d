"""Text for a terminal: its console, and tables that hide columns rather than cut a word or a number."""

import os
import re
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from splat_assets.text.wording import counted

_PIPE = 160
_NARROWEST = 12
"""A column of sentences is at least this wide: narrower, a row would be longer than a page."""
_PIECES = re.compile(r"\s+|[^\s/]*/|[^\s/]+")
"""Where a line may be broken: between words, and after the slashes of a path."""


def console(markup: bool = False) -> Console:
    """The console of standard output; when it is not a terminal, as wide as COLUMNS says, or 160.

    markup: whether `[bold]` in a text is a style. Without it, paths and texts are shown as they are.
    """
    out = Console(highlight=False, markup=markup)
    if out.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return out
    return Console(highlight=False, markup=markup, width=_PIPE)


class FittedTable(Table):
    """A table that fits its console without a cut word or number; hidden columns are named in a line below it.

    Columns of numbers are those that are justified to the right: their cells are never wrapped, nor are those of `no_wrap`.
    Others are wrapped between words and after slashes. A word longer than the console is still cut.

    Args:
        headings: Columns, as for `rich.table.Table`; `add_column` adds more.
        hide: Headings of the columns that may be hidden, the least useful first; all but the first, from the right, if None.
        instead: Where hidden columns can be had, for the line below: `--format json`.
        settings: The settings of `rich.table.Table`.

    Examples:
        >>> table = FittedTable("feature", Column("n", justify="right"), "rule")
        >>> table.add_row("12", "2,080", "weapon=Dark-Tetra-Dualies")
        >>> Console(width=60).print(table)
        ┏━━━━━━━━━┳━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
        ┃ feature ┃     n ┃ rule                      ┃
        ┡━━━━━━━━━╇━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
        │ 12      │ 2,080 │ weapon=Dark-Tetra-Dualies │
        └─────────┴───────┴───────────────────────────┘
        >>> Console(width=45).print(table)
        ┏━━━━━━━━━┳━━━━━━━┓
        ┃ feature ┃     n ┃
        ┡━━━━━━━━━╇━━━━━━━┩
        │ 12      │ 2,080 │
        └─────────┴───────┘
        1 column hidden at 45 columns: rule;...
    """

    def __init__(
        self, *headings: Column | str, hide: Sequence[str] | None = None, instead: str = "", **settings: Any
    ) -> None:
        super().__init__(*headings, **settings)
        self._hide = hide
        self._instead = instead

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The columns that fit, each as wide as it may be, and the line about the others."""
        headings = [_text(column.header, console).plain for column in self.columns]
        shown, hidden = copy(self), set[str]()
        for heading in ("", *(headings[:0:-1] if self._hide is None else self._hide)):
            hidden |= {heading} & {*headings} - {""}
            shown.columns = [c for c, name in zip(self.columns, headings, strict=True) if name not in hidden]
            widths, least = map(list, zip(*(_widths(column, console) for column in shown.columns), strict=True))
            everything = Measurement.get(console, options.update(width=sum(widths) + 1_000), shown).maximum
            room = options.max_width - (everything - sum(widths))
            if sum(least) <= room:
                break
        while sum(widths) > max(room, len(widths)):
            wide = [at for at, width in enumerate(widths) if width > least[at]]
            wide = wide or [
                at for at, column in enumerate(shown.columns) if not column.no_wrap and widths[at] > _NARROWEST
            ]
            wide = wide or [*range(len(widths))]
            widths[max(wide, key=widths.__getitem__)] -= 1
        shown.columns = [
            replace(column, width=width, no_wrap=False, overflow="fold",
                    _cells=[_broken(_text(cell, console), width) for cell in column.cells])
            for column, width in zip(shown.columns, widths, strict=True)
        ]  # fmt: skip
        yield from Table.__rich_console__(shown, console, options)
        if hidden:
            more = "widen the terminal" if console.is_terminal else "set COLUMNS to more"
            names = ", ".join(name for name in headings if name in hidden)
            yield Text(
                f"{counted(len(hidden), 'columns')} hidden at {counted(options.max_width, 'columns')}: {names}; "
                f"{more}{f' or use {self._instead}' if self._instead else ''}",
                style="dim",
            )


def _text(cell: RenderableType, console: Console) -> Text:
    """A cell or heading of text, as the console has it."""
    return console.render_str(cell) if isinstance(cell, str) else cell if isinstance(cell, Text) else Text(str(cell))


def _widths(column: Column, console: Console) -> tuple[int, int]:
    """The width of a column that wraps nothing, and the least in which no word or number is cut."""
    heading = _text(column.header, console).plain
    lines = [line for cell in column.cells for line in _text(cell, console).plain.splitlines()]
    widest = max(map(cell_len, lines), default=0)
    if column.no_wrap or column.justify == "right":
        least = widest
    else:
        words = max((cell_len(piece) for line in lines for piece in _PIECES.findall(line)), default=0)
        least = max(words, min(widest, _NARROWEST))
    return max(widest, cell_len(heading), 1), max(least, 1, *map(cell_len, heading.split()))


def _broken(text: Text, width: int) -> Text:
    """The text with line breaks after slashes where a path is wider than a line."""
    breaks, start = [], 0
    for piece in _PIECES.finditer(text.plain):
        if piece[0].isspace():
            start = piece.end()
        elif cell_len(text.plain[start : piece.end()]) > width and piece.start() > start:
            start = piece.start()
            breaks.append(start)
    return Text("\n").join(text.divide(breaks)) if breaks else text
