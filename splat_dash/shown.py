"""The current source of the pages; it is replaced when a newer version of its run is published."""

import threading
from contextvars import ContextVar
from dataclasses import dataclass

from splat_assets.errors import SplatError
from splat_dash.source import Source

_source: ContextVar[Source] = ContextVar("source of the application that answers the request")
"""Dash keeps pages and callbacks per process: only the request tells which application answers it."""


def current_source() -> Source:
    """The source of the current request, the same from its first byte to its last."""
    return _source.get()


def answer_from(source: Source) -> None:
    """Set the source of the current request."""
    _source.set(source)


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """State of the store since a page was loaded. version: the version shown now. trouble: why the store or server does not
    answer, empty if it does."""

    version: str
    trouble: str = ""


class CurrentSource:
    """One source at a time, that of the current version. Safe to use from threads.

    Examples:
        >>> shown = CurrentSource(Source(subject))  # subject: `open_subject("small")`
        >>> shown.follow().trouble
        ''
    """

    def __init__(self, source: Source) -> None:
        """source: the first source; the caller closes it, and this object those that replace it."""
        self.source = source
        self._replaced: Source | None = None
        self._following = threading.Lock()

    def follow(self) -> VersionStatus:
        """Switch to the current version, if it is a newer one.

        Returns:
            The version that is shown from now on; SplatError is not raised, but becomes its `trouble`, and the source stays.
        """
        with self._following:
            shown = self.source
            try:
                if shown.subject.latest() != shown.about.version:
                    self._replace(Source(shown.subject.again(), shown.dagster_url))
            except SplatError as error:
                return VersionStatus(shown.about.version, str(error))
            return VersionStatus(self.source.about.version)

    def _replace(self, newer: Source) -> None:
        """The previous source stays open until the next change: requests may still read it."""
        if self._replaced is not None:
            self._replaced.subject.close()
        self._replaced, self.source = self.source, newer
