"""Reading the scorecard of an SAE; what each figure means is in `splat_assets.analysis.scorecard`."""

import json
from pathlib import Path
from typing import Any

from splat_assets.store.errors import CorruptStoreError

SCORECARD = "scorecard.json"
"""In the folder of an SAE."""


def read_scorecard(path: Path) -> dict[str, Any]:
    """The figures of a `scorecard.json`; FileNotFoundError, and CorruptStoreError for a file that is none."""
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        card["sae_sha256"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(f"{path} is no scorecard ({type(error).__name__}: {error})") from error
    return card
