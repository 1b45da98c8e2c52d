"""The form of a label as the browser sends it: what was typed, and for which feature the form was made."""

from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field

from splat_assets.errors import InputError

_Number = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
_Text = Annotated[str, Field(max_length=40_000)] | None


class Made(BaseModel):
    """What a form was made for. based_on: the revision of the label that it began with. sae: content hash, None where the store
    has none."""

    model_config = ConfigDict(frozen=True)

    feature: _Number
    based_on: _Number
    sae: str | None


class Form(BaseModel):
    """feature: the number that the form itself carries. address: path of the page when it was sent. made: what Dash has of
    the form. All three name the same feature, or nothing is saved."""

    model_config = ConfigDict(frozen=True)

    feature: _Number
    address: str
    made: Made
    text: _Text = None
    category: _Text = None
    status: _Text = None
    confidence: float | str | None = None
    rule: _Text = None
    notes: _Text = None
    author: _Text = None

    def label(self) -> dict[str, Any]:
        """What the label is to say."""
        return self.model_dump(include={"text", "category", "status", "confidence", "rule", "notes"})

    def check_same_feature(self) -> None:
        """InputError where form, page and address are not of one feature."""
        number = unquote(self.address).strip("/").removeprefix("f/")
        named = number.isascii() and number.isdigit() and len(number) < 10 and int(number) == self.feature
        if self.made.feature != self.feature or not named:
            raise InputError(
                f"this form is of feature {self.feature}, and the address of the page is {self.address[:40]}: the page did not "
                f"follow its address, as happens while the dashboard does not answer. What is typed here is kept on the page of "
                f"feature {self.feature}: open /f/{self.feature} to save it there, or load this page again to see the other one"
            )
