"""The SAE's scorecard for people: every figure of `scorecard.json` with what it means."""

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from splat_assets.analysis.scorecard import MEANINGS
from splat_assets.compute.fit import NOT_COMPUTED
from splat_assets.store.scorecard import read_scorecard
from splat_assets.terminal import FittedTable
from splat_assets.wording import counted

_HEAD = (
    "architecture",
    "trained_as",
    "d_in",
    "d_sae",
    "sae_sha256",
    "n_train_samples",
    "n_test_samples",
    "n_fidelity_builds",
)
_PLACES = {"original": "nothing", "sae": "the SAE's reconstruction", "mean": "the mean", "zero": "zero"}
_PREDICTIONS = {
    "bce": "loss (BCE)",
    "kl": "KL per token",
    "top1_change": "top token changed",
    "top10_change": "top 10 changed",
}


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
    for title in _PREDICTIONS.values():
        predictions.add_column(title, justify="right")
    for place, words in _PLACES.items():
        cells = [f"{name}_{place}" for name in _PREDICTIONS]
        predictions.add_row(words, *(_shown(card[cell]) if cell in card else "" for cell in cells))
    return Group(figures, predictions)


def figures_shown() -> set[str]:
    """The names of all figures that the view shows."""
    return {*_HEAD, *MEANINGS, *(f"{name}_{place}" for name in _PREDICTIONS for place in _PLACES)}


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
