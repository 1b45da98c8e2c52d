"""Events on features, such as a label: events are only ever added, and everything else is derived from them."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from splat_assets.domain.concepts import parse_rule
from splat_assets.errors import InputError
from splat_serving.database.plain_numbers import plain_number
from splat_serving.labels.written import check_all_texts, checked_line, checked_lines

Category = Literal["none", "mechanical", "tactical", "strategic", "auxiliary"]
Status = Literal["draft", "proposed", "accepted", "rejected"]
"""draft: a first thought. proposed: its author stands by it. accepted, rejected: a person reviewed it."""
Kind = Literal["label", "skip", "queue"]
FileKind = Literal["labels", "csv", "consolidated", "dashboard", "queue"]
"""Kinds of files that labels are read from: ours whole, CSV, and the upstream system's."""
MOST_AUTHOR = 200
"""Characters of an author's name."""
_MOST_EXTRA_BYTES = 100_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EvidenceFile(_Frozen):
    """A result file that a label rests on, and what it held."""

    path: Annotated[str, Field(min_length=1, max_length=1_000)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class LabelFields(_Frozen):
    """A label: what a feature stands for according to its author. rule: over builds, as JSON (`domain.concepts`)."""

    text: Annotated[str, Field(min_length=1, max_length=500)]
    category: Category = "none"
    notes: Annotated[str, Field(max_length=20_000)] = ""
    status: Status = "draft"
    confidence: Annotated[float, BeforeValidator(plain_number), Field(ge=0, le=1)] | None = None
    rule: dict[str, Any] | None = None
    evidence: Annotated[list[EvidenceFile], Field(max_length=200)] = []
    origin: Annotated[str, Field(max_length=500, description="Origin of the label, if not its author here.")] = ""

    @field_validator("rule")
    @classmethod
    def _is_a_rule(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                parse_rule(value)
                json.dumps(value, ensure_ascii=False).encode()
            except InputError as error:
                raise ValueError(str(error)) from error
            except UnicodeEncodeError as error:
                raise ValueError("a name in it contains half of a surrogate pair") from error
        return value


class Imported(_Frozen):
    """The file that an event was read from, and by whom and when: the event's own author and time are those of the file."""

    kind: FileKind
    file: Annotated[str, Field(max_length=500)]
    by: Annotated[str, Field(min_length=1, max_length=MOST_AUTHOR)]
    at: Annotated[str, Field(max_length=40)] = ""


class _EventFields(_Frozen):
    """The fields that new and written events share."""

    kind: Kind
    feature_id: Annotated[int, BeforeValidator(plain_number), Field(ge=0, lt=2**31)]
    author: Annotated[str, Field(min_length=1, max_length=MOST_AUTHOR)]
    label: LabelFields | None = None
    based_on: Annotated[int, BeforeValidator(plain_number), Field(ge=0, lt=2**31)] | None = None
    priority: Annotated[float, BeforeValidator(plain_number)] = 0.0
    reason: Annotated[str, Field(max_length=500)] = ""
    event_id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{8,64}$")] | None = None
    imported: Imported | None = None
    extra: Annotated[
        dict[FileKind, dict[str, Any]],
        Field(
            description="What a file holds beyond the fields here, unchanged, by the kind of file; it is exported again."
        ),
    ] = {}

    @model_validator(mode="after")
    def _has_a_label_if_it_is_one(self) -> Self:
        if (self.kind == "label") != (self.label is not None):
            raise ValueError("a label event needs a label, and other events must not have one")
        return self


class NewEvent(_EventFields):
    """An event to add. based_on: the revision of the label that its author read (0 for none); a label based on another revision
    is a conflict. None: any revision. at: the original time, for imported events; otherwise now. event_id: chosen by the
    sender; an event whose id exists already is not added again, and that event is returned, so a request may be repeated
    when its answer was lost."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "label", "feature_id": 1, "author": "ann", "label": {"text": "swims"}, "based_on": 0}]
        }
    )

    at: Annotated[str, Field(max_length=40)] | None = None

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        try:
            checked_line(self.author, "author")
            checked_line(self.reason, "reason", empty=True)
            if self.label is not None:
                _check_label(self.label)
            if self.imported is not None:
                checked_line(self.imported.file, "file")
                checked_line(self.imported.by, "imported.by")
                _check_time(self.imported.at or None)
            _check_time(self.at)
            if self.at is not None and self.imported is None:
                raise InputError("at is for imported events only: all others get the current time")
            _check_extra(self.extra)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self


class Event(_EventFields):
    """An event that was added. revision: of a label, 1 for the first of its feature. conflict: it was based on an old revision,
    and is kept but not current. Its texts are not checked: they may be older than the rules for them."""

    at: str
    revision: Annotated[int, Field(ge=0, lt=2**31)] = 0
    conflict: bool = False


def utc_timestamp() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def moment(text: str) -> datetime:
    """A time as text, in ISO 8601, to be compared with others; UTC where it names no zone. InputError."""
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(f"{text[:40]!r} is not a time in ISO 8601, for example 2026-01-31T12:00:00+00:00") from None


def checked_event(raw: Any, where: str = "") -> NewEvent:
    """The event; InputError says in one sentence what is wrong with it."""
    event: NewEvent = _checked(NewEvent, raw, where)
    return event


def checked_fields(raw: Any, where: str = "") -> LabelFields:
    """The label; InputError says in one sentence what is wrong with it."""
    label: LabelFields = _checked(LabelFields, raw, where)
    return label


def _check_time(text: str | None) -> None:
    if text is not None:
        moment(checked_line(text, "at"))


def _check_extra(extra: dict[FileKind, dict[str, Any]]) -> None:
    check_all_texts(extra, "extra")
    try:
        size = len(orjson.dumps(extra))
    except orjson.JSONEncodeError as error:
        raise InputError(f"extra: {error}") from error
    if size > _MOST_EXTRA_BYTES:
        raise InputError(f"extra has {size:,} bytes; the limit is {_MOST_EXTRA_BYTES:,}")


def _check_label(label: LabelFields) -> None:
    checked_line(label.text, "text")
    checked_lines(label.notes, "notes", empty=True)
    checked_line(label.origin, "origin", empty=True)
    check_all_texts(label.rule, "rule")
    check_all_texts([one.path for one in label.evidence], "evidence")


def _checked(kind: Any, raw: Any, where: str) -> Any:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # an error of the whole object names the field itself
            raise InputError(f"{where}{message}") from error
        raise InputError(f"{where}{'.'.join(map(str, first['loc']))}: {message}, not {first['input']!r:.80}") from error
