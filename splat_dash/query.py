"""Queries of the list and the map as URL parameters: parsed strictly, written without defaults, lossless both ways."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, Field

from splat_assets.errors import InputError
from splat_assets.text.numerals import is_number
from splat_serving.investigations.feature_map import MAPS

SORTS = ("best", "feature_id", "density", "max", "mean", "effect", "f1", "label", "queue")
STATES = ("labelled", "unlabelled", "suggested", "queued", "dead")


@dataclass(frozen=True, slots=True)
class _Query:
    """Fields with defaults, which are texts, as parameters of a URL."""

    @classmethod
    def parse(cls, parameters: Mapping[str, Any]) -> Self:
        """From the parameters of a URL; foreign ones are ignored. InputError names the invalid or repeated one."""
        own = {field.name: parameters[field.name] for field in fields(cls) if parameters.get(field.name) is not None}
        for name, value in own.items():
            if not isinstance(value, str):
                raise InputError(f"{name}: repeated in the address; write it once")
        return cls(**own)

    def as_text(self, **changed: str) -> str:
        """`q=swim&sort=-density`: what differs from the default, after some change."""
        values = {field: changed.get(field.name, getattr(self, field.name)) for field in fields(self)}
        return urlencode({field.name: value for field, value in values.items() if value != field.default})


@dataclass(frozen=True, slots=True)
class ListQuery(_Query):
    """q: words that label, rule or token must hold. state: one of STATES, or all. sort: one of SORTS, with - largest first.

    best: those whose label has the words, then those whose best single token has them, then others, each by the F1 of their rule;
    by number without words.
    """

    q: str = ""
    state: str = ""
    sort: str = "best"

    def __post_init__(self) -> None:
        if len(self.q) > 200:
            raise InputError(f"q: at most 200 characters, not {len(self.q):,}")
        if self.state not in ("", *STATES):
            raise InputError(f"state: unknown value {self.state[:40]!r}; choose from {', '.join(STATES)}")
        if self.sort.removeprefix("-") not in SORTS:
            raise InputError(f"sort: unknown column {self.sort[:40]!r}; choose from {', '.join(SORTS)}")

    @classmethod
    def from_text(cls, text: str) -> "ListQuery":
        """From what `as_text` wrote."""
        return cls.parse(dict(parse_qsl(text)))


EVERYTHING = ListQuery()


class ShownExamples(BaseModel):
    """The examples on the page of a feature: those of a group, else those with an activation from min to max."""

    feature: int = Field(ge=0, lt=2**31)
    group: str | None = None
    min: float = Field(0.0, allow_inf_nan=False)
    max: float = Field(0.0, allow_inf_nan=False)


class SortedBy(BaseModel):
    """A column that a grid sorts by."""

    colId: str  # noqa: N815
    sort: str


class RowsRequest(BaseModel):
    """A request for rows, with the member names of AG Grid."""

    startRow: int = Field(ge=0, lt=2**31)  # noqa: N815
    endRow: int = Field(ge=0, lt=2**31)  # noqa: N815
    sortModel: list[SortedBy] | None = None  # noqa: N815

    def sort(self, otherwise: str | None) -> str:
        """The sort order of the grid, else that of the URL."""
        if not self.sortModel:
            return otherwise or EVERYTHING.sort
        first = self.sortModel[0]
        return f"{'-' if first.sort == 'desc' else ''}{first.colId}"


COLORS = ("density", "label", "cluster")


@dataclass(frozen=True, slots=True)
class MapQuery(_Query):
    """by: one of MAPS. color: one of COLORS. Selection of features: q: words as in a list; cluster: its number;
    box: `x0,x1,y0,y1` on the map. With none of the three, nothing is selected."""

    by: str = "decoder"
    color: str = "density"
    q: str = ""
    cluster: str = ""
    box: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (("by", self.by, MAPS), ("color", self.color, COLORS)):
            if value not in known:
                raise InputError(f"{name}: unknown value {value[:40]!r}; choose from {', '.join(known)}")
        ListQuery(self.q)
        if self.cluster and not (self.cluster.isascii() and self.cluster.isdigit() and len(self.cluster) < 10):
            raise InputError(f"cluster: {self.cluster[:40]!r} is not the number of a cluster")
        if self.box:
            _corners(self.box)

    @property
    def corners(self) -> tuple[float, float, float, float] | None:
        """The box as left, right, bottom, top; None without one."""
        return _corners(self.box) if self.box else None

    @property
    def chooses(self) -> bool:
        """Whether it selects any features."""
        return bool(self.q or self.cluster or self.box)


def _corners(text: str) -> tuple[float, float, float, float]:
    parts = text.split(",")
    if len(parts) != 4 or not all(map(is_number, parts)):
        raise InputError(f"box: {text[:60]!r} is not a box: write four numbers with commas, x0,x1,y0,y1")
    x0, x1, y0, y1 = map(float, parts)
    if not all(map(math.isfinite, (x0, x1, y0, y1))):
        raise InputError(f"box: {text[:60]!r} is not four finite numbers")
    return min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)


WHOLE_MAP = MapQuery()
