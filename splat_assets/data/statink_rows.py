"""The rows of a stat.ink export, plain or packed: the cells of the requested columns, and which rows are damaged.

Columns are separated by commas, or by semicolons or tabs where a spreadsheet wrote them so. By stat.ink's schema a line that
begins with `#` is a comment, also between rows; the header is the first line that names the columns, and may be such a line.

A row is damaged when it does not have as many fields as the header, or its quotes do not close: which of its cells are
which cannot be known, so none is stated. A blank line is not a row. What the cells mean is in `statink` and `statink_cells`.
"""

import csv
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path

from splat_assets.data.packed_files import unpacked
from splat_assets.errors import InputError
from splat_assets.text.wording import counted

_COMMENT = "#"
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Rows:
    """What a file holds. cells: one tuple per row, in the requested order, empty texts where the row is damaged.

    damage: what is wrong with each damaged row, by its place in cells.
    """

    cells: list[tuple[str, ...]] = field(default_factory=list)
    damage: dict[int, str] = field(default_factory=dict)


def read_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a file. Raises InputError when it cannot be read or lacks a column."""
    try:
        with unpacked(path) as file, TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            return _rows_of(path, text, columns)
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read the stat.ink export {path}: it is not UTF-8 ({error.reason})") from error
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the stat.ink export {path}: {reason}") from error


class _Lines:
    """The lines of a text. comments are left out where a row begins; inside quotes they are part of a cell."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._text = text
        self.number = self.first = 0
        self.a_row_begins = True

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        while True:
            line = next(self._text)
            self.number += 1
            if self.a_row_begins and line.startswith(_COMMENT):
                continue
            if self.a_row_begins:
                self.first, self.a_row_begins = self.number, False
            return line


def _rows_of(path: Path, text: TextIOWrapper, columns: Sequence[str]) -> Rows:
    header, separator, n_lines = _header_of(text, columns)
    places = _places_of(path, header, columns)
    lines, rows = _Lines(text), Rows()
    lines.number = n_lines
    for fields, problem, where in _each_row(lines, separator):
        if len(fields) != len(header):
            problem = problem or f"{len(fields)} instead of {len(header)} fields"
            rows.damage[len(rows.cells)] = f"{problem} ({where})"
        rows.cells.append(("",) * len(columns) if problem else tuple(fields[place] for place in places))
    return rows


def _header_of(text: TextIOWrapper, columns: Sequence[str]) -> tuple[list[str], str, int]:
    """The names of the columns, what separates them, and the number of their line.

    Where no line names the requested ones: the names in the first line that is not a comment, or in the last comment.
    """
    names: list[str] = []
    number = 0
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        for separator in _SEPARATORS:
            names = _names_in(line, separator)
            if set(columns) <= set(names):
                return names, separator, number
        names = _names_in(line, _SEPARATORS[0])
        if not line.startswith(_COMMENT):
            break
    return names, _SEPARATORS[0], number


def _names_in(line: str, separator: str) -> list[str]:
    try:
        names = next(csv.reader([line.lstrip(f"{_COMMENT} ")], delimiter=separator))
    except (csv.Error, StopIteration):
        return []
    return [name.strip() for name in names]


def _each_row(lines: _Lines, separator: str) -> Iterator[tuple[list[str], str, str]]:
    """The fields of each row that is not blank, none where they are ambiguous; what is wrong then; and on which lines."""
    reader = csv.reader(lines, strict=True, delimiter=separator)
    while True:
        fields, problem, lines.a_row_begins = [], "", True
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = str(error)
        if problem or len(fields) > 1 or "".join(fields).strip():
            yield (
                fields,
                problem,
                f"line {lines.first}" if lines.first == lines.number else f"lines {lines.first} to {lines.number}",
            )


def _places_of(path: Path, header: list[str], columns: Sequence[str]) -> list[int]:
    missing = [name for name in columns if name not in header]
    if missing:
        shown = " ... ".join((", ".join(columns[:2]), columns[-1])) if len(columns) > 3 else ", ".join(columns)
        raise InputError(
            f"{path} is not a stat.ink battle export: it lacks {len(missing)} of the columns {shown} (the first: "
            f"{missing[0]}); "
            f"it has {counted(len(header), 'columns')}"
        )
    twice = next((name for name in columns if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has {header.count(twice)} columns {twice}, so it is ambiguous which one counts")
    return [header.index(name) for name in columns]
