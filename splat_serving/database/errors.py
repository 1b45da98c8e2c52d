"""What can go wrong with a question, beside what can go wrong with a store (`splat_assets.store.errors`)."""

from splat_assets.errors import InputError, SplatError


class ParameterError(InputError):
    """A parameter of a question has a value that means nothing; `parameter` is its name."""

    def __init__(self, parameter: str, why: str) -> None:
        self.parameter = parameter
        super().__init__(f"{parameter}: {why}")


class UnknownNameError(SplatError):
    """A run, version, token or weapon that is not there; the text says what is."""


class NotComputedError(SplatError):
    """A fact that this store or folder does not hold and that cannot be had from what it holds."""


class NotAllowedError(SplatError):
    """A change that this server was not started to make."""


class TooLargeError(SplatError):
    """A question with a larger answer than is given at once."""


class BusyError(SplatError):
    """A question that can be answered when others have taken their answers."""


class LabelConflictError(ParameterError):
    """A label that was written by somebody else meanwhile; both are in the history."""


class ServerError(SplatError):
    """An answer of an activation server that is no answer; `status` is its HTTP status, None when there was none."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)
