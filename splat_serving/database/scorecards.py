"""The scorecard of the SAE that a version was made with: how faithful and how sparse it is, on test samples."""

from collections.abc import Mapping
from typing import Any

from splat_assets.store.scorecard import read_scorecard
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import NO_HOME, Home


def scorecard_of(home: Home | None, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of `scorecard.json` of a run, or beside a folder's SAE; see `splat scorecard` for what each one means.

    Raises NotComputedError where there is none, or one of another SAE than the version was made with; CorruptStoreError for a
    file that is no scorecard.
    """
    if home is None:
        raise NotComputedError(f"there is no scorecard: {NO_HOME}")
    path = home.scorecard
    try:
        card = read_scorecard(path)
    except FileNotFoundError as error:
        raise NotComputedError(
            f"{path} does not exist: `splat train-sae`, and in a run `splat materialize RUN --select sae_checkpoint`, measures it"
        ) from error
    if card["sae_sha256"] != provenance.get("sae"):
        raise NotComputedError(f"{path} is of another SAE than this version was made with")
    return card
