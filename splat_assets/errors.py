"""The root of every error that a user can cause or fix.

A `SplatError` carries one sentence: the request, the place, what is there, the remedy. Commands print that sentence and
exit with code 2; everything else is a bug and keeps its traceback.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class SplatError(Exception):
    """A mistake or a fault that one sentence explains; commands print it and exit with 2.

    It can be sent from one process to another whatever its class is made from. code: names the kind of error in answers over
    HTTP; it stays as it is when texts change.

    Examples:
        >>> error = InputError("--k is 'many': whole numbers, separated by commas")
        >>> error.code, isinstance(error, SplatError)
        ('invalid_input', True)
    """

    code: ClassVar[str] = "error"

    @property
    def values(self) -> Mapping[str, Any]:
        """The arguments that the error was made from, by name, as JSON has them; empty where that is the text alone."""
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_was, (type(self), self.args, self.__dict__)


class InputError(SplatError):
    """An input (a file, an option, a build) is invalid; the message says which and where."""

    code = "invalid_input"


def _as_it_was(kind: type[SplatError], args: tuple[Any, ...], held: dict[str, Any]) -> SplatError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(held)
    return error
