"""The About page: the store, its provenance, and the definitions of terms."""

from typing import Any

from dash import html

from splat_dash import ui
from splat_dash.source import Source
from splat_dash.terms import TERMS


def layout(source: Source, **_: Any) -> html.Div:
    """The page."""
    about = source.about
    facts = [
        ("run", about.name or "—", "Run that the store belongs to."),
        ("version", about.version, "Its published version."),
        ("samples", f"{about.n_samples:,}", "All samples."),
        ("features", f"{about.n_features:,}", "Features of the SAE, dead ones included."),
        *((f"{name} (sha256)", str(value)[:16], "Fingerprint.") for name, value in about.provenance.items()
          if isinstance(value, str) and len(value) == 64),
    ]  # fmt: skip
    return html.Div(
        [
            html.H1("About"),
            html.H2("Data shown"),
            ui.numbers(facts),
            html.H2("Definitions"),
            *(
                part
                for title, terms in TERMS.items()
                for part in (html.H3(title), ui.numbers([(term, meaning, "") for term, meaning in terms.items()]))
            ),
        ]
    )
