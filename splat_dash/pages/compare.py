"""Two features side by side: co-activation, differences in what they fire on, and effects."""

from typing import Any

from dash import dcc, html

from splat_assets.errors import InputError
from splat_dash import address, ui
from splat_dash.source import Source


def layout(source: Source, f: Any = "", **_: Any) -> Any:
    """The page, for `f=1,2`."""
    if not f:
        return ui.alert(
            "Compare two features",
            "Give two features in the address, as /compare?f=1,2, or use a compare link on a feature's page.",
        )
    left, right = pair(f)
    comparison = source.comparison(left, right)
    return html.Article(
        [
            html.Nav(
                [
                    dcc.Link(f"Feature {left}", href=address.feature_url(left)),
                    dcc.Link(f"Feature {right}", href=address.feature_url(right)),
                    dcc.Link("swap", href=address.of_comparison(right, left), className="to-previous"),
                ],
                className="ways",
                **ui.named("Features"),
            ),
            html.H1(comparison.title),
            *ui.result_parts(comparison, address.Files("/api/compare", f"f={left},{right}")),
        ]
    )


def pair(text: Any) -> tuple[int, int]:
    """Two features from `1,2`; InputError."""
    parts = text.split(",") if isinstance(text, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"f={str(text)[:40]!r} is not a pair of features: write two whole numbers, as f=1,2")
    return int(parts[0]), int(parts[1])
