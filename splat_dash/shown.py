"""The source that is shown, which is another one once a newer version of its run is published."""

import threading
from contextvars import ContextVar
from dataclasses import dataclass

from splat_assets.errors import SplatError
from splat_dash.source import Source

_asked: ContextVar[Source] = ContextVar("source of the application that is asked")
"""Dash keeps pages and callbacks without saying whose they are: which application is asked is known of the request alone."""


def current_source() -> Source:
    """What the request that is being answered is answered from, from its first byte to its last."""
    return _asked.get()


def answer_from(source: Source) -> None:
    """Say what the current request is answered from."""
    _asked.set(source)


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What has become of the store since a page was loaded. version: the one that is shown by now. trouble: why what is behind
    the pages does not answer, empty if it does."""

    version: str
    trouble: str = ""


class CurrentSource:
    """One source at a time. Safe to use from threads."""

    def __init__(self, source: Source) -> None:
        """source: what is shown first; whoever opened it closes it."""
        self.source = source
        self._replaced: Source | None = None
        self._following = threading.Lock()

    def follow(self) -> VersionStatus:
        """Show the version that is current by now."""
        with self._following:
            shown = self.source
            try:
                if shown.subject.latest() != shown.about.version:
                    self._replace(Source(shown.subject.again(), shown.dagster_url))
            except SplatError as error:
                return VersionStatus(shown.about.version, str(error))
            return VersionStatus(self.source.about.version)

    def _replace(self, newer: Source) -> None:
        """What was shown stays open until the next change: there are requests that still read it."""
        if self._replaced is not None:
            self._replaced.subject.close()
        self._replaced, self.source = self.source, newer
