"""The text for a failed check: its figures and a remedy.

Commands, `splat doctor` and the Dagster page show the same text. A check can name its remedy in its facts as
`what_to_do`; the default remedy is the one for changed files.
"""

import re
from collections.abc import Mapping
from typing import Any

from splat_assets.store.receipts import Receipt

WHAT_TO_DO = "what_to_do"


def failure_in_words(name: str, facts: Mapping[str, Any], receipt: Receipt, run_name: str) -> str:
    """`<check> failed (<figures>): <remedy>`."""
    figures = shown_facts({each: value for each, value in facts.items() if each != WHAT_TO_DO})
    return f"{name} failed{f' ({figures})' if figures else ''}: {remedy(facts, receipt, run_name)}"


def remedy(facts: Mapping[str, Any], receipt: Receipt, run_name: str) -> str:
    """The remedy for a failed check on the artifact of the receipt."""
    outputs = ", ".join(output.path for output in receipt.outputs)
    return str(
        facts.get(WHAT_TO_DO)
        or f"if files of it were changed, delete {outputs or 'them'} below the run's folder and `splat materialize {run_name}` "
        "makes it again"
    )


def shown_facts(facts: Mapping[str, Any]) -> str:
    """Figures and offenders, shortened: no empty ones, four digits of a fraction, the first twelve of a sha256."""
    return "; ".join(f"{name}: {_shown(value)}" for name, value in facts.items() if value != "")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return value[:12]
    return str(value)
