"""What commands print about a run: the table of artifacts, what failed, and the scorecard of its SAE."""

from pathlib import Path, PurePosixPath
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.text import Text

from splat_assets.analysis.scorecard import MEANINGS
from splat_assets.assets import ASSETS
from splat_assets.assets.asset import Asset, failures, recorded_outcomes, status_of
from splat_assets.compute.fit import NOT_COMPUTED
from splat_assets.runs import Run
from splat_assets.store.receipts import Receipt, read_receipt
from splat_assets.store.scorecard import read_scorecard
from splat_assets.text.terminal import FittedTable
from splat_assets.text.wording import counted

LEAN: Final[dict[str, Any]] = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0), "show_edge": False}
"""A table without lines between its columns: what is long has more room in 80 columns."""
PLACES = {"original": "nothing", "sae": "the SAE's reconstruction", "mean": "the mean", "zero": "zero"}
PREDICTIONS = {
    "bce": "loss (BCE)",
    "kl": "KL per token",
    "top1_change": "top token changed",
    "top10_change": "top 10 changed",
}


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


def scorecard_view(path: Path) -> RenderableType:
    """The scorecard at path as tables: figures with their meaning, and the base model's predictions with and without the SAE."""
    card = read_scorecard(path)
    figures = FittedTable(
        "", "", "", title=_title(card), title_justify="left", title_style="bold", show_header=False, hide=()
    )
    for name, meaning in MEANINGS.items():
        figures.add_row(name, _shown(card.get(name)), meaning)
    predictions = FittedTable(
        "activations replaced by", title="Predictions of the base model", title_justify="left", title_style="bold"
    )
    for title in PREDICTIONS.values():
        predictions.add_column(title, justify="right")
    for place, words in PLACES.items():
        cells = [f"{name}_{place}" for name in PREDICTIONS]
        predictions.add_row(words, *(_shown(card[cell]) if cell in card else "" for cell in cells))
    return Group(figures, predictions)


def _counted(n: Any, things: str) -> str:
    return counted(n, things) if isinstance(n, int) else f"{_shown(n)} {things}"


def _title(card: dict[str, Any]) -> str:
    return (
        f"SAE scorecard: {_architecture(card)}, "
        f"{_counted(card.get('d_sae'), 'features')} of {_counted(card.get('d_in'), 'inputs')}, "
        f"sha256 {card['sae_sha256'][:12]}\n"
        f"{_counted(card.get('n_train_samples'), 'training samples')}, "
        f"{_counted(card.get('n_test_samples'), 'test samples')}, "
        f"predictions of {_counted(card.get('n_fidelity_builds'), 'builds')}"
    )


def _architecture(card: dict[str, Any]) -> str:
    """The saved architecture, with the training method where that differs or is unknown."""
    architecture, trained_as = card.get("architecture"), card.get("trained_as")
    if trained_as == architecture:
        return _shown(architecture)
    return f"{_shown(architecture)} ({f'trained as {trained_as}' if trained_as else 'training method not recorded'})"


def _shown(value: float | int | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or NOT_COMPUTED
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
