"""Reading the scorecard of an SAE; what each figure means is in `splat_assets.analysis.scorecard`."""

from pathlib import Path
from typing import Any

from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.errors import CorruptStoreError

SCORECARD = "scorecard.json"
"""In the folder of an SAE."""
_NO_FIGURES = ("architecture", "sae_sha256", "trained_as", "training")


def read_scorecard(path: Path) -> dict[str, Any]:
    """The figures of a `scorecard.json`; FileNotFoundError, and CorruptStoreError for a file that is none."""
    try:
        card: dict[str, Any] = dict(read_json(path))
        texts = [card["sae_sha256"], card.get("architecture", ""), card.get("trained_as", "")]
        figures = [value for name, value in card.items() if name not in _NO_FIGURES]
        if not all(isinstance(text, str) for text in texts) or any(
            isinstance(one, str | list | dict) for one in figures
        ):
            raise TypeError("a figure is of another type")
    except FileNotFoundError:
        raise
    except WRONG_CONTENT as error:
        raise CorruptStoreError(f"{path} is not a scorecard ({type(error).__name__}: {error})") from error
    return card
