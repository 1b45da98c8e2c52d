"""The scorecard of the SAE that a version was made with: how faithful and how sparse it is, on test samples."""

import json
from collections.abc import Mapping
from typing import Any

from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.layout import RunLayout
from splat_serving.errors import NotComputedError


def scorecard_of(layout: RunLayout | None, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of `scorecard.json` of a run; see `splat scorecard` for what each one means.

    Raises NotComputedError where there is none, or one of another SAE than the version was made with; CorruptStoreError for a
    file that is no scorecard.
    """
    if layout is None:
        raise NotComputedError(
            "a store or a folder of guide formats by itself has no scorecard: the run's folder has it"
        )
    path = layout.sae / "scorecard.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        of = found["sae_sha256"]
    except FileNotFoundError as error:
        raise NotComputedError(
            f"{path} does not exist: `splat materialize RUN --select sae_checkpoint` measures it"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(f"{path} is no scorecard ({type(error).__name__}: {error})") from error
    if of != provenance.get("sae"):
        raise NotComputedError(f"{path} is of another SAE than this version was made with")
    card: dict[str, Any] = found
    return card
