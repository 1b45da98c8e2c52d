"""Strict numbers for models of requests, as `splat_assets.text.numerals`."""

from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationInfo, field_validator

from splat_assets.text.numerals import is_number


def plain_number(value: Any) -> Any:
    """The value itself; ValueError for a bool, and for a text that is not a number. For pydantic's BeforeValidator."""
    if isinstance(value, bool) or (isinstance(value, str) and not is_number(value)):
        raise ValueError("must be a number")
    return value


class PlainNumbers(BaseModel):
    """A model whose numbers are written as numbers: as `plain_number`, for every field that is one or a list of some."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_written_as_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _leaves(cls.model_fields[str(info.field_name)].annotation)
        if kinds & {int, float} and not kinds & {bool, str}:
            for one in value if isinstance(value, list | tuple) else [value]:
                plain_number(one)
        return value


def _leaves(annotation: Any) -> set[Any]:
    """The types within an annotation."""
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _leaves(parts[0])
    return {annotation} if not parts else set().union(*(_leaves(part) for part in parts))
