"""What an investigation returns: findings, tables and figures, with everything that is needed to reproduce them.

One class for all of them. It is written as JSON (`Result.model_json_schema()` is the published schema) and read back unchanged;
`rendering` makes text for a terminal, Markdown and HTML of it, `plotting` pictures.

Example:
    >>> made = dict(source="demo", run="demo", store_version="1a2b", fingerprints={}, splat_version="1", command="")
    >>> provenance = Provenance(**made, made_at="2026-01-31T12:00:00+00:00", seconds=0.1)
    >>> result = Result(kind="bands", title="Bands", spec={"feature_id": 7}, provenance=provenance, facts={"n": 3})
    >>> Result.model_validate_json(result.model_dump_json()) == result
    True
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

Evidence = Literal["observed", "causal", "weights", "people"]
"""observed: counted over all samples of the store. causal: builds were edited and run through the model. weights: computed from
the weights. people: labels and notes written by people."""
Scalar = bool | int | float | str | None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_OWN_NAMES: Mapping[str, str] = MappingProxyType({})


class Column(_Frozen):
    """A column of a table and what it holds. heading: shown above it instead of its name, if not empty."""

    name: str
    description: str
    heading: str = ""

    @property
    def shown(self) -> str:
        """The heading of the column."""
        return self.heading or self.name


class ResultTable(_Frozen):
    """A table. evidence: where its numbers come from. note: how to read it. None means "not known".

    detail: a long table, left out of terminal output; all other formats have it.
    """

    name: str
    title: str
    evidence: Evidence
    columns: list[Column]
    rows: list[list[Scalar]]
    note: str = ""
    detail: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        evidence: Evidence,
        rows: pl.DataFrame | Sequence[Sequence[Any]],
        columns: Mapping[str, str],
        note: str = "",
        detail: bool = False,
        headings: Mapping[str, str] = _OWN_NAMES,
    ) -> "ResultTable":
        """A table of the columns that are described, in the order of their descriptions; NaN and infinity become None.

        Args:
            name: Of the table, for `Result.table` and download addresses.
            title: Shown above it.
            rows: A frame, or the rows themselves, a value for each description. Where a frame has `x_low` and `x_high`, they
                follow a described `x` as its 95 % interval.
            columns: Descriptions by name.
            headings: Shown instead of names, by name.

        Raises:
            polars.exceptions.ColumnNotFoundError: When a frame lacks a described column.

        Examples:
            >>> described = {"token": "The token.", "n": "Samples with it."}
            >>> table = ResultTable.of("tokens", "Tokens", "observed", [("ninja_squid", 3)], described)
            >>> table.rows, table.frame["n"].to_list()
            ([['ninja_squid', 3]], [3])
        """
        if isinstance(rows, pl.DataFrame):
            columns = _with_intervals(columns, rows.columns)
            rows = rows.select(list(columns)).rows()
        described = [
            Column(name=column, description=text, heading=headings.get(column, "")) for column, text in columns.items()
        ]
        values = [[_scalar(value) for value in row] for row in rows]
        return cls(name=name, title=title, evidence=evidence, columns=described, rows=values, note=note, detail=detail)

    @property
    def frame(self) -> pl.DataFrame:
        """The table as a polars frame."""
        names = [column.name for column in self.columns]
        return pl.DataFrame(self.rows, schema=names, orient="row", infer_schema_length=None)


class Series(_Frozen):
    """A line or a set of bars. low, high: an interval of each y, where there is one."""

    name: str
    x: list[Scalar]
    y: list[float | None]
    low: list[float | None] | None = None
    high: list[float | None] | None = None


class LinesOrBars(_Frozen):
    """A figure of series over one axis."""

    kind: Literal["bars", "lines"]
    name: str
    title: str
    x_label: str
    y_label: str
    series: list[Series]


class Heatmap(_Frozen):
    """A figure of cells. z: one row for each y; None where nothing is known. n: samples in each cell, where they are counted."""

    kind: Literal["heatmap"] = "heatmap"
    name: str
    title: str
    x_label: str
    y_label: str
    z_label: str
    x: list[Scalar]
    y: list[Scalar]
    z: list[list[float | None]]
    n: list[list[int]] | None = None


Figure = Annotated[LinesOrBars | Heatmap, Field(discriminator="kind")]


class Provenance(_Frozen):
    """What a result was made from. fingerprints: of SAE, base model, data and vocabularies, as the store states them."""

    source: str
    run: str
    store_version: str
    fingerprints: dict[str, str]
    splat_version: str
    command: str
    made_at: str
    seconds: float


class Result(_Frozen):
    """The answer to one question. spec: the question; the same spec on the same store gives the same tables.

    findings: the conclusions, in sentences. facts: the figures that those sentences rest on. warnings: why not to trust it.
    """

    schema_name: Literal["splat.result/2"] = "splat.result/2"
    kind: str
    title: str
    spec: dict[str, Any]
    provenance: Provenance
    findings: list[str] = []
    facts: dict[str, Scalar] = {}
    tables: list[ResultTable] = []
    figures: list[Figure] = []
    warnings: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _of_schema_1(cls, value: Any) -> Any:
        """Files of schema 1 call the findings `said`."""
        if isinstance(value, dict) and value.get("schema_name") == "splat.result/1":
            return {**{name: one for name, one in value.items() if name != "said"}, "schema_name": "splat.result/2",
                    "findings": value.get("said", [])}  # fmt: skip
        return value

    def table(self, name: str) -> ResultTable:
        """The table of that name; KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Whether there is a table of that name."""
        return any(table.name == name for table in self.tables)


class Answer(_Frozen):
    """What an experiment returns: a `Result` without what its runner knows (question and provenance)."""

    title: str
    findings: list[str] = []
    facts: dict[str, Scalar] = {}
    tables: list[ResultTable] = []
    figures: list[Figure] = []
    warnings: list[str] = []


def bar_figure(
    name: str, title: str, x_label: str, y_label: str, x: Sequence[Scalar], y: Any, low: Any = None, high: Any = None
) -> LinesOrBars:
    """A figure of one set of bars. low, high: an interval of each y."""
    bounds = {"low": None if low is None else finite(low), "high": None if high is None else finite(high)}
    series = Series(name=y_label, x=list(x), y=finite(y), **bounds)
    return LinesOrBars(kind="bars", name=name, title=title, x_label=x_label, y_label=y_label, series=[series])


def finite(values: Any) -> list[float | None]:
    """Numbers as JSON has them: NaN and infinity become None, which stays None."""
    return [float(value) if value is not None and math.isfinite(value) else None for value in values]


def _with_intervals(columns: Mapping[str, str], there: Sequence[str]) -> dict[str, str]:
    """The descriptions, and after each `x` those of `x_low` and `x_high` where these columns exist and are not described."""
    described: dict[str, str] = {}
    for name, text in columns.items():
        described[name] = text
        for end, bound in (("low", "Lower bound of its 95 % interval."), ("high", "Upper bound.")):
            if f"{name}_{end}" in there and f"{name}_{end}" not in columns:
                described[f"{name}_{end}"] = bound
    return described


def _scalar(value: Any) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
