"""What commands print about a run: the table of artifacts, and what failed."""

from pathlib import PurePosixPath
from typing import Any, Final

from rich import box
from rich.text import Text

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import Asset, failures, recorded_outcomes, status_of
from splat_assets.runs import Run
from splat_assets.store.receipts import Receipt, read_receipt
from splat_assets.terminal import FittedTable

LEAN: Final[dict[str, Any]] = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0), "show_edge": False}
"""A table without lines between its columns: what is long has more room in 80 columns."""


def artifact_table(run: Run) -> FittedTable:
    """One row per artifact: path, shape, size, duration and checks."""
    table = FittedTable("artifact", "path", "shape", hide=("seconds", "size", "shape"), title_justify="left", **LEAN)
    table.title = Text(f"run {run.name}: paths are below {run.layout.root}", style="bold")
    for column in ("size", "seconds"):
        table.add_column(column, justify="right")
    table.add_column("checks passed")
    for asset in ASSETS:
        table.add_row(*_artifact_row(asset, run))
    return table


def failed_checks(run: Run) -> list[str]:
    """One line per failed check of the current artifacts: its figures and its remedy."""
    return [f"{asset.name}: {words}" for asset in ASSETS for words in failures(asset, run)]


def size(n_bytes: int) -> str:
    """Bytes in a readable unit."""
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _where(receipt: Receipt) -> str:
    """The output, or the folder that holds all of them; their folders where only the run holds all."""
    if receipt.path != ".":
        return receipt.path
    return ", ".join(dict.fromkeys(str(PurePosixPath(output.path).parent) for output in receipt.outputs))


def _artifact_row(asset: Asset, run: Run) -> tuple[str, ...]:
    receipt = read_receipt(run.layout.receipts, asset.name)
    if receipt is None:
        return asset.name, "", "not made", "", "", ""
    outcomes = recorded_outcomes(asset, run)
    passed = sum(outcomes[check.name].passed for check in asset.checks if check.name in outcomes)
    status, state = status_of(asset, run), f"{passed} of {len(asset.checks)}"
    if not status.is_up_to_date:
        state = f"{status}; {state}"
    shape = str(receipt.facts.get("shape", ""))
    return asset.name, _where(receipt), shape, size(receipt.size_bytes), f"{receipt.seconds:.1f}", state
