"""What is shown here: the store and what it was made from, and what the numbers mean."""

from typing import Any

from dash import html

from splat_dash import ui
from splat_dash.source import Source

TERMS = (
    ("activation", "Value of a feature on a sample, 0 where it does not fire."),
    ("sample", "A build as the model saw it: a weapon and a set of ability tokens."),
    ("density", "Share of all samples on which a feature fires."),
    ("dead", "A feature that fires on no sample."),
    ("lift", "How many times as often a feature fires on samples with a token or weapon as on all samples."),
    ("phi", "Correlation of two yes-or-no facts: the sample has it, the feature fires."),
    (
        "F1",
        "Harmonic mean of precision and recall of a rule for 'the feature fires', on builds that did not choose it.",
    ),
    ("q", "p-value adjusted for the number of things compared (Benjamini and Hochberg)."),
    ("band", "Samples by their activation as a share of the feature's effective maximum."),
    ("raises, lowers", "Change of a token's logit per unit of activation: W_dec @ W_out^T."),
)


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
            ui.numbers([(term, meaning, "") for term, meaning in TERMS]),
        ]
    )
