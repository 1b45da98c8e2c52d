"""What can go wrong with a question, beside what can go wrong with a store (`splat_assets.store.errors`)."""

from collections.abc import Mapping
from typing import Any

from splat_assets.errors import InputError, SplatError


class ParameterError(InputError):
    """A parameter of a question has a value that means nothing; `parameter` is its name."""

    code = "invalid_parameter"

    def __init__(self, parameter: str, why: str) -> None:
        self.parameter = parameter
        self.why = why
        super().__init__(f"{parameter}: {why}")

    @property
    def values(self) -> Mapping[str, Any]:
        """As `SplatError.values`."""
        return {"parameter": self.parameter, "why": self.why}


class UnknownNameError(SplatError):
    """A run, version, token or weapon that is not there; the text says what is."""

    code = "unknown_name"


class NotComputedError(SplatError):
    """A fact that this store or folder does not hold and that cannot be had from what it holds."""

    code = "not_computed"


class NotAllowedError(SplatError):
    """A change that this server was not started to make."""

    code = "not_allowed"


class TooLargeError(SplatError):
    """A question with a larger answer than is given at once."""

    code = "too_large"


class BusyError(SplatError):
    """A question that can be answered when others have taken their answers."""

    code = "busy"


class LabelConflictError(ParameterError):
    """A label that was written by somebody else meanwhile; both are in the history."""

    code = "label_conflict"


class ServerError(SplatError):
    """An answer of an activation server that is no answer; `status` is its HTTP status, None when there was none."""

    code = "server_error"

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)
