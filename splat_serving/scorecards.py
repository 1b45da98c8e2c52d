"""The scorecard of the SAE that a version was made with: how faithful and how sparse it is, on test samples."""

from collections.abc import Mapping
from typing import Any

from splat_assets.store.layout import RunLayout
from splat_assets.store.scorecard import read_scorecard
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
    path = layout.scorecard
    try:
        card = read_scorecard(path)
    except FileNotFoundError as error:
        raise NotComputedError(
            f"{path} does not exist: `splat materialize RUN --select sae_checkpoint` measures it"
        ) from error
    if card["sae_sha256"] != provenance.get("sae"):
        raise NotComputedError(f"{path} is of another SAE than this version was made with")
    return card
