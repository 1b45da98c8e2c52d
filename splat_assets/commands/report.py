"""What commands print about a run: the table of artifacts, and what failed."""

from rich.console import Console
from rich.table import Table

from splat_assets.assets import ASSETS
from splat_assets.assets.asset import Asset, recorded_outcomes, status_of
from splat_assets.runs import Run
from splat_assets.store.receipts import read_receipt


def console() -> Console:
    """Where people read: as wide as it needs to be when it is not a terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=160)


def artifact_table(run: Run) -> Table:
    """One row per artifact: where, what shape, how large, how long it took, how its checks stand."""
    table = Table(title=f"run {run.name}", title_justify="left", title_style="bold")
    for column, justify in (("artifact", "left"), ("path", "left"), ("shape", "left"), ("size", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("seconds", justify="right")
    table.add_column("checks")
    for asset in ASSETS:
        table.add_row(*_artifact_row(asset, run))
    return table


def failed_checks(run: Run) -> list[str]:
    """One line for each check that did not pass on an artifact as it is now."""
    lines = []
    for asset in ASSETS:
        for name, outcome in recorded_outcomes(asset, run).items():
            if not outcome.passed:
                facts = "; ".join(f"{key}: {value}" for key, value in outcome.facts.items())
                lines.append(f"{asset.name}: {name} failed ({facts})")
    return lines


def size(n_bytes: int) -> str:
    """Bytes in the unit that people would use."""
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _artifact_row(asset: Asset, run: Run) -> tuple[str, ...]:
    receipt = read_receipt(run.layout.receipts, asset.name)
    if receipt is None:
        return asset.name, "", "not made", "", "", ""
    outcomes = recorded_outcomes(asset, run)
    passed = sum(outcomes[check.name].passed for check in asset.checks if check.name in outcomes)
    status, state = status_of(asset, run), f"{passed}/{len(asset.checks)} passed"
    if not status.is_up_to_date:
        state = f"{status}; {state}"
    shape = str(receipt.facts.get("shape", ""))
    where = receipt.outputs[0].path if receipt.outputs else ""
    return asset.name, where, shape, size(receipt.size_bytes), f"{receipt.seconds:.1f}", state
