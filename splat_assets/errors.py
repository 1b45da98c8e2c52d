"""The root of every error that a person can cause or mend.

A `SplatError` carries one clear sentence: what was asked, where, what is there, what to do. Commands print that sentence
and exit with code 2; everything else is a bug and keeps its traceback.
"""


class SplatError(Exception):
    """A mistake or a fault that one sentence explains; commands print it and exit with 2."""


class InputError(SplatError):
    """Something handed in (a file, an option, a build) breaks a rule; the text says which and where."""
