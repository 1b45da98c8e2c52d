"""What is shown here: the store and what it was made from, and what the numbers mean."""

from typing import Any

from dash import html

from splat_dash import ui
from splat_dash.source import Source
from splat_dash.terms import TERMS


def layout(source: Source, **_: Any) -> html.Div:
    """The page."""
    found = source.about
    facts = [
        ("run", found.name or "—", "What the store belongs to."),
        ("version", found.version, "Its published version."),
        ("samples", f"{found.n_samples:,}", "All samples."),
        ("features", f"{found.n_features:,}", "Features of the SAE, dead ones included."),
        *((f"{name} (sha256)", str(value)[:16], "Fingerprint.") for name, value in found.provenance.items()
          if isinstance(value, str) and len(value) == 64),
    ]  # fmt: skip
    return html.Div(
        [
            html.H1("About"),
            html.H2("What is shown"),
            ui.numbers(facts),
            html.H2("What the words mean"),
            *(
                part
                for title, terms in TERMS.items()
                for part in (html.H3(title), ui.numbers([(term, meaning, "") for term, meaning in terms.items()]))
            ),
        ]
    )
