"""The scorecard that commands print."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from splat_assets.analysis.scorecard import MEANINGS
from splat_assets.commands.report import PLACES, PREDICTIONS, scorecard_view
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot


@pytest.fixture
def scorecard(finished_root: DataRoot) -> Path:
    return open_run(finished_root, "small").layout.sae / "scorecard.json"


def printed(path: Path) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(scorecard_view(path))
    return capture.get()


def test_every_figure_of_the_scorecard_is_shown(scorecard: Path) -> None:
    card = json.loads(scorecard.read_text(encoding="utf-8"))

    figures = {name for name, value in card.items() if not isinstance(value, dict)}

    title = {
        "architecture",
        "trained_as",
        "d_in",
        "d_sae",
        "sae_sha256",
        "n_train_samples",
        "n_test_samples",
        "n_fidelity_builds",
    }
    assert figures <= {*title, *MEANINGS, *(f"{name}_{place}" for name in PREDICTIONS for place in PLACES)}


def test_figures_stand_beside_their_meaning(scorecard: Path) -> None:
    card = json.loads(scorecard.read_text(encoding="utf-8"))

    shown = printed(scorecard)

    (line,) = [line for line in shown.splitlines() if line.startswith("│ fvu ")]
    assert f"{card['fvu']:.4g}" in line and "unexplained" in line
    (line,) = [line for line in shown.splitlines() if "the SAE's reconstruction" in line]
    assert f"{card['bce_sae']:.4g}" in line and f"{card['kl_sae']:.4g}" in line


def test_a_figure_without_a_value_is_not_computed(scorecard: Path, tmp_path: Path) -> None:
    card = json.loads(scorecard.read_text(encoding="utf-8"))
    (tmp_path / "card.json").write_text(json.dumps({**card, "bce_recovered": None}), encoding="utf-8")

    (line,) = [line for line in printed(tmp_path / "card.json").splitlines() if line.startswith("│ bce_recovered")]

    assert "not computed" in line
