"""CSV cells that no spreadsheet evaluates: what begins like a formula gets an apostrophe, which reading removes.

Spreadsheets run a text that begins with `=`, `+`, `-`, `@`, a tab or a line end (OWASP, CSV Injection). Columns of numbers
stay as they are.
"""

import json
import re

import polars as pl

_FORMULA = r"^'*[=+\-@\t\r\n＝＋－＠]"
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
_BEGINS_LIKE_ONE = re.compile(_FORMULA)


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula; `as_written` undoes it."""
    return f"'{text}" if _BEGINS_LIKE_ONE.match(text) else text


def as_written(cell: str) -> str:
    """The text that `harmless` made a cell of."""
    return cell[1:] if cell.startswith("'") and _BEGINS_LIKE_ONE.match(cell) else cell


def harmless_json(text: str) -> str:
    """JSON in one line without a comma inside of its texts: where a spreadsheet cuts it, no cell begins within a text."""
    return (
        json.dumps(json.loads(text), ensure_ascii=False, separators=("\0", ":"))
        .replace(",", "\\u002c")
        .replace("\0", ",")
    )


def harmless_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame whose texts are `harmless`; all other columns stay."""
    texts = [name for name, kind in frame.schema.items() if isinstance(kind, _TEXTS)]
    frame = frame.with_columns(pl.col(texts).cast(pl.String))
    return frame.with_columns(
        pl.when(pl.col(name).str.contains(_FORMULA)).then("'" + pl.col(name)).otherwise(pl.col(name)).alias(name)
        for name in texts
    )
