"""The label form as the browser sends it: the typed values, and the feature that the form belongs to."""

from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field

from splat_assets.errors import InputError

_Number = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
_Text = Annotated[str, Field(max_length=40_000)] | None


class FormOrigin(BaseModel):
    """The origin of a form. based_on: the revision of the label that it edits. sae: content hash, None if the store
    has none."""

    model_config = ConfigDict(frozen=True)

    feature: _Number
    based_on: _Number
    sae: str | None


class Form(BaseModel):
    """feature: the number in the form itself. address: path of the page when it was sent. made: the origin that Dash holds.
    All three must name the same feature, or nothing is saved."""

    model_config = ConfigDict(frozen=True)

    feature: _Number
    address: str
    made: FormOrigin
    text: _Text = None
    category: _Text = None
    status: _Text = None
    confidence: float | str | None = None
    rule: _Text = None
    notes: _Text = None
    author: _Text = None

    def label(self) -> dict[str, Any]:
        """The fields of the label."""
        return self.model_dump(include={"text", "category", "status", "confidence", "rule", "notes"})

    def check_same_feature(self) -> None:
        """InputError if form, page and address are not of one feature."""
        number = unquote(self.address).strip("/").removeprefix("f/")
        named = number.isascii() and number.isdigit() and len(number) < 10 and int(number) == self.feature
        if self.made.feature != self.feature or not named:
            raise InputError(
                f"this form belongs to feature {self.feature}, but the address of the page is {self.address[:40]}: the page was "
                f"not updated, probably because the dashboard did not answer. Your text is kept on the page of feature "
                f"{self.feature}: open /f/{self.feature} to save it there, or reload this page to see the other one"
            )
