"""The rows of a stat.ink export, plain or gzip: the cells of the columns that are asked for, and which rows are damaged.

A row is damaged when it does not have as many fields as the header, or its quotes do not close: which of its cells are which
cannot be told, so none is given. A blank line is no row. What the cells mean is in `statink` and `statink_cells`.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path

from splat_assets.counting import counted
from splat_assets.errors import InputError

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Rows:
    """What a file holds. cells: one tuple per row, in the order asked for, empty texts where the row is damaged.

    damage: what is wrong with each damaged row, by its place in cells.
    """

    cells: list[tuple[str, ...]] = field(default_factory=list)
    damage: dict[int, str] = field(default_factory=dict)


def read_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a file. Raises InputError when it cannot be read or lacks a column."""
    try:
        with _opened(path) as text:
            return _rows_of(path, text, columns)
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read the stat.ink export {path}: it is not UTF-8 ({error.reason})") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the stat.ink export {path}: {reason}") from error


@contextmanager
def _opened(path: Path) -> Iterator[TextIOWrapper]:
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        yield TextIOWrapper(gzip.open(file) if is_gzip else file, encoding="utf-8-sig", newline="")


def _rows_of(path: Path, text: TextIOWrapper, columns: Sequence[str]) -> Rows:
    rows = _each_row(text)
    header, _, _ = next(rows, ([], "", ""))
    places = _places_of(path, header, columns)
    found = Rows()
    for fields, problem, lines in rows:
        if len(fields) != len(header):
            problem = problem or f"{len(fields)} instead of {len(header)} fields"
            found.damage[len(found.cells)] = f"{problem} ({lines})"
        found.cells.append(("",) * len(columns) if problem else tuple(fields[place] for place in places))
    return found


def _each_row(text: TextIOWrapper) -> Iterator[tuple[list[str], str, str]]:
    """The fields of each row that is not blank, none where they cannot be told apart; what is wrong then; and on which lines."""
    reader = csv.reader(text, strict=True)
    while True:
        first, fields, problem = reader.line_num + 1, [], ""
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = str(error)
        if problem or len(fields) > 1 or "".join(fields).strip():
            last = reader.line_num
            yield fields, problem, f"line {first}" if first == last else f"lines {first} to {last}"


def _places_of(path: Path, header: list[str], columns: Sequence[str]) -> list[int]:
    missing = [name for name in columns if name not in header]
    if missing:
        shown = " ... ".join((", ".join(columns[:2]), columns[-1])) if len(columns) > 3 else ", ".join(columns)
        raise InputError(
            f"{path} is no stat.ink battle export: it lacks {len(missing)} of the columns {shown} (the first: {missing[0]}); "
            f"it has {counted(len(header), 'columns')}"
        )
    twice = next((name for name in columns if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has {header.count(twice)} columns {twice}, and which of them counts cannot be told")
    return [header.index(name) for name in columns]
