"""One module per page: its layout, built from the URL, and its callbacks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dash import Dash


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the dashboard: a line of `_PAGES` in `splat_dash/app.py`.

    name: unique. path: `/features`, or a template with one variable, `/f/<fid>`. title: of the browser's window; a function is
    called with the variable.

    layout: the page, for the source of the request; parameters of the URL and the variable arrive as texts. It is called for each
    load, in several threads at once, ignores parameters that it does not know (`**_`) and changes nothing. It may raise
    SplatError, whose text the reader sees in place of the page; any other exception is logged, and the reader sees its number.

    register: adds the callbacks of the page, once per application. They read `current_source()` when called, and validate what
    the browser sends with `sent.value_of`.

    Examples:
        >>> from dash import html
        >>> page = Page("sizes", "/sizes", "Sizes", lambda source, **_: html.P(source.about.n_features))
        >>> page.path, page.register is None
        ('/sizes', True)
    """

    name: str
    path: str
    title: str | Callable[..., str]
    layout: Callable[..., Any]
    register: Callable[[Dash], None] | None = None
