"""Errors of requests, in addition to those of a store (`splat_assets.store.errors`)."""

from collections.abc import Mapping
from typing import Any

from splat_assets.errors import InputError, SplatError


class ParameterError(InputError):
    """Invalid value of a parameter; `parameter` is its name."""

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
    """An unknown run, version, token or weapon; the text lists the known ones."""

    code = "unknown_name"


class NotComputedError(SplatError):
    """Data that this store or folder does not hold and that cannot be computed from what it holds."""

    code = "not_computed"


class NotAllowedError(SplatError):
    """A change that this server does not allow."""

    code = "not_allowed"


class TooLargeError(SplatError):
    """A request whose result exceeds the limit."""

    code = "too_large"


class BusyError(SplatError):
    """A request that can be answered later, when others have finished."""

    code = "busy"


class LabelConflictError(ParameterError):
    """A conflict: somebody else saved a label first; both are in the history."""

    code = "label_conflict"


class ServerError(SplatError):
    """A failed or invalid response of an activation server; `status` is its HTTP status, None when there was none."""

    code = "server_error"

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)
